//! Faults around the drainer: panics, threads that have ended, a ring that gives nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bench::{Entry, config};
use super::*;
use crate::control::Until;
use crate::drainer::sequencer::Sequencer;
use crate::drainer::source::{Bounds, Entrance};
use crate::drainer::{PANICS_MAX, Source};
use crate::error::TicketError;
use crate::event::{Key, Record};
use crate::policy::Step;
use crate::stats::State;

/// A source whose releases panic, or whose pops give nothing, this many times.
struct Faulty {
    source: Box<dyn Source>,
    panics: Arc<AtomicU32>,
    stalls: Arc<AtomicU32>,
}

fn counted_down(count: &AtomicU32) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

impl Source for Faulty {
    fn pop(
        &mut self,
        bounds: Bounds,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize {
        if counted_down(&self.stalls) {
            return 0;
        }
        self.source.pop(bounds, sequencer, put)
    }

    fn release(&mut self, memory_only_from: Option<Key>) {
        assert!(!counted_down(&self.panics), "on purpose");
        self.source.release(memory_only_from);
    }

    fn entrance(&self) -> &dyn Entrance {
        self.source.entrance()
    }
}

fn faulty() -> (Bench, Arc<AtomicU32>, Arc<AtomicU32>) {
    let panics = Arc::new(AtomicU32::new(0));
    let stalls = Arc::new(AtomicU32::new(0));
    let (ours, theirs) = (Arc::clone(&panics), Arc::clone(&stalls));
    let bench = Bench::with(config(), Vec::new(), |source| {
        Box::new(Faulty {
            source,
            panics,
            stalls,
        })
    });
    (bench, ours, theirs)
}

/// Runs the drainer as its thread does, while the test serves its desks.
fn run_thread(bench: &mut Bench, mut until: impl FnMut(&mut Bench) -> bool) {
    let drainer = bench.drainer.take().unwrap();
    let control = Arc::clone(&bench.control);
    let thread = std::thread::spawn(move || drainer.run());
    let limit = std::time::Instant::now() + SECOND * 30;
    while !until(bench) {
        assert!(std::time::Instant::now() < limit, "never happened");
        bench.serve();
        std::thread::yield_now();
    }
    drop(control.shutdown(SECOND));
    while !thread.is_finished() {
        bench.serve();
        std::thread::yield_now();
    }
    thread.join().unwrap();
    control.end();
}

#[test]
fn a_panic_in_a_turn_loses_nothing() {
    let (mut bench, panics, _) = faulty();
    bench.publish(0..30);
    panics.store(PANICS_MAX, Ordering::Relaxed);
    run_thread(&mut bench, |bench| bench.stored.len() == 30);
    assert_eq!(bench.numbers(), (0..30).collect::<Vec<_>>());
    assert!(bench.ended.is_some());
}

/// The drainer ends, with everything on disk; waiting callers learn that it has ended.
#[test]
fn after_too_many_panics_everything_goes_to_the_disk() {
    let (mut bench, panics, _) = faulty();
    bench.sink = Sink::Frozen;
    bench.publish(0..30);
    bench.run_for(SECOND / 1_000);
    bench.publish(30..60);
    let ticket = bench.control.flush(Until::Safe);
    panics.store(PANICS_MAX + 1, Ordering::Relaxed);
    run_thread(&mut bench, |bench| !bench.rows.is_empty());
    assert_eq!(bench.rows.len(), 60);
    assert_eq!(bench.ended, None);
    assert_eq!(ticket.wait(SECOND), Err(TicketError::DrainerEnded));
    let late = Entry {
        number: 60,
        bytes: 8,
    };
    assert!(bench.publisher.try_publish(late).is_err());
}

/// A publisher was stopped in the middle of its push: the drainer tries again later, and does not spin.
#[test]
fn a_ring_that_gives_nothing_is_waited_for() {
    let (mut bench, _, stalls) = faulty();
    bench.run_for(SECOND / 100);
    stalls.store(5, Ordering::Relaxed);
    bench.publish(0..5);
    let mut waits = 0;
    while bench.stored.is_empty() {
        waits += u32::from(matches!(bench.turn(), Step::Wait(_)));
        assert!(waits < 1_000);
    }
    assert!(waits >= 5, "{waits}");
    bench.run_for(SECOND);
    assert_eq!(bench.numbers(), (0..5).collect::<Vec<_>>());
}

/// Records are spilled from then on, and nothing hangs.
#[test]
fn a_sink_whose_thread_has_ended_counts_as_away() {
    let mut bench = Bench::new();
    bench.publish(0..1);
    bench.run_for(SECOND / 10);
    bench.sink = Sink::Frozen;
    bench.publish(1..5);
    bench.run_for(SECOND / 100);
    bench.end_sink();
    bench.publish(5..30);
    let ticket = bench.control.flush(Until::Safe);
    bench.run_for(SECOND / 100);
    assert_eq!(ticket.wait(Duration::ZERO), Ok(()), "at once");
    let stats = bench.stats();
    assert_eq!((stats.delivered, stats.spilled), (1, 29), "{stats:#?}");
    assert_eq!(stats.delivery_errors, 1);
    let ticket = bench.control.shutdown(Duration::ZERO);
    bench.run_for(SECOND);
    assert_eq!(ticket.wait(Duration::ZERO).unwrap().spilled, 29);
}

/// The sink still takes everything.
#[test]
fn a_spill_whose_thread_has_ended_counts_as_absent() {
    let mut bench = Bench::new();
    bench.run_for(SECOND / 10);
    bench.end_disk();
    bench.refused = vec![3];
    for round in 0..5 {
        bench.publish(round * 10 + 1..(round + 1) * 10 + 1);
        bench.run_for(SECOND / 2);
    }
    let expected = (1..51).filter(|number| *number != 3);
    assert_eq!(bench.numbers(), expected.collect::<Vec<_>>());
    let ticket = bench.control.shutdown(SECOND);
    bench.run_for(SECOND * 2);
    let stats = ticket.wait(Duration::ZERO).unwrap();
    let dropped = stats.discarded.dead_letters_full;
    assert_eq!((stats.delivered, dropped), (49, 1));
}

/// An answer to a question may be all that a sink is good for. So it is up again once it has taken something.
#[test]
fn the_stats_say_that_the_sink_is_down_and_why() {
    let mut bench = Bench::new();
    bench.publish(0..5);
    bench.run_for(SECOND);
    let stats = bench.stats();
    assert_eq!((stats.sink_up, stats.sink_trouble), (true, None));

    let full = SinkError::Unavailable("the stream is full".to_owned());
    bench.sink = Sink::Fails(full.clone());
    bench.publish(5..10);
    bench.run_for(SECOND);
    let stats = bench.stats();
    let trouble = Some(full.to_string());
    assert_eq!((stats.sink_up, stats.sink_trouble), (false, trouble));
    assert_eq!(stats.state, State::Spilling);

    bench.sink = Sink::Takes;
    bench.run_for(SECOND * 30);
    let stats = bench.stats();
    assert_eq!((stats.sink_up, stats.sink_trouble), (true, None));
    assert_eq!((stats.state, stats.delivered), (State::Live, 10));
}
