//! An end at any moment: with time it delivers, without it spills, and in either case it accounts for everything; the
//! next start delivers what was left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use spillring::error::{SinkError, SpillError, StartError};
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{Sink, State, Stats};

use test_support::bench::{
    Bench, Flaw, LIMIT, Note, assert_announced, end, end_within, eventually, names, publish,
    until_delivered,
};
use test_support::law::assert_law;
use test_support::sinks::{Mode, Remote};

/// Whatever the sink does, the end comes soon after its limit, and nothing accepted is missing afterwards.
#[test]
fn an_end_without_time_spills_what_is_left() {
    for mode in [Mode::Down, Mode::Stalled, Mode::Misconfigured] {
        for entries in [0, 1, 99, 1_500, 4_000] {
            let (mut bench, stats) = not_held_up(|| {
                let bench = Bench::new();
                let drainer = bench.start();
                publish(&drainer.publisher(), 0..1);
                until_delivered(&drainer);
                bench.remote.set(mode);
                publish(&drainer.publisher(), 1..=entries);
                let stats = end_within(drainer, Duration::ZERO, 1 + entries as u64);
                (bench, stats)
            });
            assert_eq!(stats.state, State::Stopped);
            assert_eq!(
                (stats.delivered, stats.spilled),
                (1, entries as u64),
                "{mode:?}"
            );
            another_sink(&mut bench);
            let stats = end(bench.start(), 0);
            assert_eq!(stats.inherited, entries as u64);
            assert_eq!(bench.remote.texts(), names(0..=entries));
            assert_announced(&bench.remote.stored());
        }
    }
}

/// One that is up and has what the other one has, which may store what it was given last whenever it wakes.
fn another_sink(bench: &mut Bench) {
    bench.remote = Remote::holding(bench.remote.stored());
}

/// A busy machine may hold up an order of the disk for longer than an end waits: then the end gives up what is in
/// memory, and is tried once more.
fn not_held_up<T>(mut end: impl FnMut() -> (T, Stats)) -> (T, Stats) {
    let gave_up = |stats: &Stats| stats.in_ring + stats.in_memory > 0;
    let mut ends = (0..20).map(|_| end());
    let found = ends.find(|(_, stats)| !gave_up(stats));
    found.expect("an end that gives nothing up")
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
        end_within(bench.start(), Duration::from_secs(10 * 60), 0);
        assert!(start.elapsed() < LIMIT, "{mode:?}");
    }
}

/// Entries that are slow to encode are no reason to take a working disk for a dead one.
#[test]
fn slow_encoding_does_not_make_the_disk_look_dead() {
    let ((), stats) = not_held_up(|| {
        let bench = Bench::down();
        let drainer = bench.start();
        let publisher = drainer.publisher();
        for _ in 0..3_500 {
            publisher.publish(Note::flawed(Flaw::Slow));
        }
        let stats = drainer.shutdown(Duration::ZERO).wait(10 * LIMIT).unwrap();
        assert_law(&stats, 3_500);
        ((), stats)
    });
    assert_eq!(stats.spilled, 3_500);
}

/// The drainer sleeps when its time is up, and the sink has its batch: it wakes in time to spill.
#[test]
fn a_sleeping_drainer_wakes_in_time_to_spill_at_the_end() {
    let ((), stats) = not_held_up(|| {
        let mut bench = Bench::new();
        bench.config.poll_max = Duration::from_secs(1);
        bench.config.pending_max = LIMIT;
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..1);
        until_delivered(&drainer);
        bench.remote.set(Mode::Stalled);
        publish(&drainer.publisher(), 1..11);
        eventually("a batch at the sink", || drainer.stats().in_memory > 0);
        ((), end_within(drainer, Duration::from_millis(700), 11))
    });
    assert_eq!((stats.delivered, stats.spilled), (1, 10));
}

/// What a sink has left blocking a thread of its runtime's pool is not waited for.
#[test]
fn an_end_does_not_wait_for_a_sink_that_blocks_a_thread() {
    let (_, stats) = not_held_up(|| {
        let bench = Bench::new();
        let (release, released) = mpsc::channel();
        let (blocked, is_blocked) = mpsc::channel();
        let sink = Blocking(Some((blocked, released)));
        let drainer = spillring::start::<Note>(bench.config.clone(), sink).unwrap();
        publish(&drainer.publisher(), 0..5);
        is_blocked.recv_timeout(LIMIT).unwrap();
        let stats = end_within(drainer, Duration::ZERO, 5);
        (release, stats)
    });
    assert_eq!(stats.spilled, 5);
}

struct Blocking(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Sink for Blocking {
    fn position<'a>(
        &'a mut self,
        _: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        let once = self.0.take();
        Box::pin(async move {
            // Until the test ends.
            let wait = || once.map(|(blocked, released)| (blocked.send(()), released.recv()));
            drop(tokio::task::spawn_blocking(wait).await);
            Delivery::all(batch)
        })
    }
}

/// Publishers that never notice do not keep the end from coming, and their attempts are counted.
#[test]
fn an_end_comes_while_publishers_go_on() {
    for mode in [Mode::Up, Mode::Down, Mode::Stalled] {
        let (mut bench, stats) = not_held_up(|| end_while_publishing(mode));
        another_sink(&mut bench);
        let after = end(bench.start(), 0);
        assert_eq!(after.inherited, stats.spilled);
        let stored = bench.remote.stored().len() as u64;
        assert_eq!(stored, stats.accepted, "{mode:?}");
        assert_announced(&bench.remote.stored());
    }
}

fn end_while_publishing(mode: Mode) -> (Bench, Stats) {
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
    (bench, stats)
}

/// Dropped without a word, the last handle spills, and the next start delivers.
#[test]
fn the_last_handle_that_is_dropped_spills() {
    for mode in [Mode::Down, Mode::Stalled] {
        let (mut bench, _) = not_held_up(|| {
            let bench = Bench::new();
            bench.remote.set(mode);
            let drainer = bench.start();
            publish(&drainer.publisher(), 0..700);
            drop(drainer);
            let at_rest = || {
                let status = spillring::operate::status(&bench.spill()).ok();
                status.filter(|status| status.pid.is_none())
            };
            eventually("the directory is free", || at_rest().is_some());
            let mut stats = Stats::default();
            stats.in_memory = 700 - at_rest().unwrap().stats.spilled;
            (bench, stats)
        });
        another_sink(&mut bench);
        let stats = end(bench.start(), 0);
        assert_eq!((stats.inherited, stats.delivered), (700, 700));
        assert_eq!(bench.remote.texts(), names(0..700));
        assert_announced(&bench.remote.stored());
    }
}

/// `start(…)?.publisher()` drops the drainer at once.
#[test]
fn a_publisher_goes_on_without_its_drainer() {
    let bench = Bench::new();
    let publisher = bench.start().publisher();
    let another = publisher.clone();
    publish(&publisher, 0..50);
    drop(publisher);
    publish(&another, 50..100);
    eventually("all is delivered", || bench.remote.texts().len() == 100);
    assert_eq!(bench.remote.texts(), names(0..100));
    bench.remote.set(Mode::Down);
    publish(&another, 100..150);
    drop(another);
    bench.remote.set(Mode::Up);
    let stats = end(bench.start(), 0);
    assert_eq!((stats.inherited, stats.delivered), (50, 50));
    assert_announced(&bench.remote.stored());
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
        spillring::operate::status(&bench.spill()).is_ok_and(|status| status.pid.is_none())
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
