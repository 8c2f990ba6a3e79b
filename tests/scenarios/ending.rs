//! An end at any moment: with time it delivers, without it spills, and in either case it accounts for everything; the
//! next start delivers what was left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spillring::{
    Batch, BoxFuture, Delivery, Position, PublisherId, Sink, SinkError, SpillError, StartError,
    State,
};

use crate::support::bench::{
    Bench, Flaw, LIMIT, Note, assert_told, end, end_within, eventually, names, publish,
    until_delivered,
};
use crate::support::law::assert_law;
use crate::support::sinks::Mode;

/// Whatever the sink does, the end comes soon after its limit, and nothing accepted is missing afterwards.
#[test]
fn an_end_without_time_spills_what_is_left() {
    for mode in [Mode::Down, Mode::Stalled, Mode::Misconfigured] {
        for entries in [0, 1, 99, 1_500, 4_000] {
            let bench = Bench::new();
            let drainer = bench.start();
            publish(&drainer.publisher(), 0..1);
            until_delivered(&drainer);
            bench.remote.set(mode);
            publish(&drainer.publisher(), 1..=entries);
            let stats = end_within(drainer, Duration::ZERO, 1 + entries as u64);
            assert_eq!(stats.state, State::Stopped);
            assert_eq!(
                (stats.delivered, stats.spilled),
                (1, entries as u64),
                "{mode:?}"
            );
            bench.remote.set(Mode::Up);
            let stats = end(bench.start(), 0);
            assert_eq!(stats.inherited, entries as u64);
            assert_eq!(bench.remote.texts(), names(0..=entries));
            assert_told(&bench.remote.stored());
        }
    }
}

/// It goes on delivering until its limit, not only what is at the sink already.
#[test]
fn an_end_with_time_delivers_everything() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..2_000);
    let ticket = drainer.shutdown(LIMIT);
    assert!(ticket.wait(Duration::from_millis(100)).is_err());
    bench.remote.set(Mode::Slow(Duration::from_millis(2)));
    let stats = ticket.wait(LIMIT).unwrap();
    assert_law(&stats, 2_000);
    assert_eq!((stats.delivered, stats.spilled), (2_000, 0));
    assert_eq!(bench.remote.texts(), names(0..2_000));
}

/// An end with nothing left to do does not wait for its limit, nor for a sink that is away.
#[test]
fn an_end_with_nothing_to_do_is_quick() {
    for mode in [Mode::Up, Mode::Down] {
        let bench = Bench::new();
        bench.remote.set(mode);
        let start = Instant::now();
        end_within(bench.start(), Duration::from_mins(10), 0);
        assert!(start.elapsed() < LIMIT, "{mode:?}");
    }
}

/// Entries that are slow to encode are no reason to take a working disk for a dead one.
#[test]
fn a_slow_way_to_the_disk_is_no_dead_end() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    for _ in 0..3_500 {
        publisher.publish(Note::flawed(Flaw::Slow));
    }
    let stats = end_within(drainer, Duration::ZERO, 3_500);
    assert_eq!(
        (stats.spilled, stats.in_ring, stats.in_memory),
        (3_500, 0, 0)
    );
}

/// The drainer sleeps when its time is up, and the sink has its batch: it wakes in time to spill.
#[test]
fn an_end_in_a_long_sleep_spills_what_is_left() {
    let mut bench = Bench::new();
    bench.config.poll_max = Duration::from_secs(1);
    bench.config.pending_max = LIMIT;
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1);
    until_delivered(&drainer);
    bench.remote.set(Mode::Stalled);
    publish(&drainer.publisher(), 1..11);
    eventually("a batch at the sink", || drainer.stats().in_memory > 0);
    let stats = end_within(drainer, Duration::from_millis(700), 11);
    assert_eq!((stats.delivered, stats.spilled), (1, 10));
}

/// What a sink has left blocking a thread of its runtime's pool is not waited for.
#[test]
fn an_end_does_not_wait_for_a_sink_that_blocks_a_thread() {
    let bench = Bench::new();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let sink = Blocking(Some(blocked));
    let drainer = spillring::start::<Note>(bench.config.clone(), sink).unwrap();
    publish(&drainer.publisher(), 0..5);
    eventually("a batch at the sink", || drainer.stats().in_memory > 0);
    let stats = end_within(drainer, Duration::ZERO, 5);
    assert_eq!(stats.spilled, 5);
    drop(release);
}

struct Blocking(Option<std::sync::mpsc::Receiver<()>>);

impl Sink for Blocking {
    fn position<'a>(
        &'a mut self,
        _: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        let blocked = self.0.take();
        Box::pin(async move {
            // Until the test ends.
            let wait = move || blocked.is_some_and(|blocked| blocked.recv().is_ok());
            drop(tokio::task::spawn_blocking(wait).await);
            Delivery::all(batch)
        })
    }
}

/// Publishers that never notice do not keep the end from coming, and their attempts are counted.
#[test]
fn an_end_comes_while_publishers_go_on() {
    for mode in [Mode::Up, Mode::Down, Mode::Stalled] {
        let bench = Bench::new();
        bench.remote.set(mode);
        let drainer = bench.start();
        let publisher = drainer.publisher();
        let stop = AtomicBool::new(false);
        let attempted = AtomicU64::new(0);
        let stats = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        publisher.publish(Note::new("entry"));
                        attempted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("some are accepted", || drainer.stats().accepted > 500);
            let stats = drainer.shutdown(Duration::from_millis(100)).wait(LIMIT);
            stop.store(true, Ordering::Relaxed);
            stats.unwrap()
        });
        assert_eq!(stats.entered(), stats.accounted());
        assert_law(&publisher.stats(), attempted.into_inner());
        bench.remote.set(Mode::Up);
        let stored = bench.remote.stored().len() as u64;
        let after = end(bench.start(), 0);
        assert_eq!(after.inherited, stats.spilled);
        assert_eq!(stored + after.delivered, stats.accepted, "{mode:?}");
        assert_told(&bench.remote.stored());
    }
}

/// Dropped without a word, it spills, and the next start delivers.
#[test]
fn a_dropped_drainer_spills() {
    for mode in [Mode::Down, Mode::Stalled] {
        let bench = Bench::new();
        bench.remote.set(mode);
        let drainer = bench.start();
        let publisher = drainer.publisher();
        publish(&publisher, 0..700);
        drop(drainer);
        assert!(publisher.try_publish(Note::new("late")).is_err());
        bench.remote.set(Mode::Up);
        let stats = end(bench.start(), 0);
        assert_eq!((stats.inherited, stats.delivered), (700, 700));
        assert_eq!(bench.remote.texts(), names(0..700));
        assert_told(&bench.remote.stored());
    }
}

/// A ticket that nobody waits for is kept all the same.
#[test]
fn a_shutdown_whose_ticket_is_dropped_is_carried_out() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    drop(drainer.shutdown(LIMIT));
    eventually("the end", || bench.remote.texts().len() == 10);
    eventually("the directory is free", || {
        spillring::status(&bench.spill()).is_ok_and(|status| status.pid.is_none())
    });
}

#[test]
fn a_directory_is_for_one_publisher_at_a_time() {
    let bench = Bench::new();
    let drainer = bench.start();
    let second = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    match second {
        Err(StartError::Spill(SpillError::InUse { dir, pid })) => {
            assert_eq!((dir, pid), (bench.spill(), Some(std::process::id())));
        }
        other => panic!("{other:?}"),
    }
    publish(&drainer.publisher(), 0..5);
    end(drainer, 5);
    assert_eq!(bench.remote.texts(), names(0..5));
    end(bench.start(), 0);
}
