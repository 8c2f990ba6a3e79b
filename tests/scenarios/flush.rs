//! A flush that has returned is a promise: everything published before is acknowledged, or on disk. It is checked
//! against what a kill at that moment would leave.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, assert_announced, end, end_within, eventually, name, names,
    publish, until_delivered,
};
use test_support::sinks::{Mode, Stored};

/// In each state of the sink: rounds of entries, each flushed, and after each one a kill.
#[test]
fn what_was_flushed_survives_a_kill() {
    for mode in [Mode::Up, Mode::Down, Mode::Stalled, Mode::Misconfigured] {
        let bench = Bench::new();
        let drainer = bench.start();
        let publisher = drainer.publisher();
        publish(&publisher, 0..10);
        until_delivered(&drainer);
        bench.remote.set(mode);
        for round in 1..=5 {
            publish(&publisher, round * 50..round * 50 + 50);
            publisher.flush().wait(LIMIT).unwrap();
            let survivors = after_a_kill(&bench);
            let expected = (0..10).chain(50..round * 50 + 50);
            assert_eq!(texts(&survivors), names(expected), "{mode:?} {round}");
            assert_announced(&survivors);
        }
        bench.remote.set(Mode::Up);
        end(drainer, 260);
    }
}

/// With a backlog on disk that leaves slowly, a flush waits for the disk, not for the backlog.
#[test]
fn a_flush_does_not_wait_for_the_backlog() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..3_000);
    publisher.flush().wait(LIMIT).unwrap();
    bench.remote.set(Mode::Stalled);
    publish(&publisher, 3_000..3_010);
    publisher.flush().wait(LIMIT).unwrap();
    assert_eq!(bench.remote.stored().len(), 0);
    assert_eq!(texts(&after_a_kill(&bench)), names(0..3_010));
    end_within(drainer, Duration::ZERO, 3_010);
}

/// Publishers that go on calling do not keep a flush from coming to an end.
#[test]
fn a_flush_returns_while_publishers_go_on() {
    for mode in [Mode::Up, Mode::Down, Mode::Stalled] {
        let bench = Bench::new();
        bench.remote.set(mode);
        let drainer = bench.start();
        let publisher = drainer.publisher();
        let stop = AtomicBool::new(false);
        let attempted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    publish(&publisher, [attempted.fetch_add(1, Ordering::Relaxed)]);
                    if attempted.load(Ordering::Relaxed).is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                }
            });
            for _ in 0..5 {
                let before = attempted.load(Ordering::Relaxed);
                publisher.flush().wait(LIMIT).unwrap();
                eventually("more is published", || {
                    attempted.load(Ordering::Relaxed) > before
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        bench.remote.set(Mode::Up);
        end(drainer, attempted.into_inner() as u64);
        assert_announced(&bench.remote.stored());
    }
}

#[test]
fn a_flush_of_nothing_returns_and_one_after_the_end_says_so() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publisher.flush().wait(LIMIT).unwrap();
    publish(&publisher, 0..3);
    let flush = publisher.flush();
    end_within(drainer, Duration::ZERO, 3);
    flush.wait(LIMIT).unwrap();
    assert_eq!(
        publisher.flush().wait(LIMIT),
        Err(spillring::error::TicketError::DrainerEnded)
    );
}

/// A flush is content with the disk; delivery waits for the sink, and not for what is published later.
#[test]
fn delivery_is_promised_once_the_sink_has_what_came_before() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publisher.delivered().wait(LIMIT).unwrap();
    publish(&publisher, 0..100);
    let delivered = publisher.delivered();
    publisher.flush().wait(LIMIT).unwrap();
    assert_eq!(
        delivered.wait(Duration::ZERO),
        Err(spillring::error::TicketError::Elapsed)
    );
    bench.remote.set(Mode::Up);
    delivered.wait(LIMIT).unwrap();
    assert_eq!(texts(&bench.remote.stored()), names(0..100));
    bench.remote.set(Mode::Stalled);
    publish(&publisher, 100..110);
    let never = publisher.delivered();
    end_within(drainer, Duration::ZERO, 110);
    assert_eq!(
        never.wait(LIMIT),
        Err(spillring::error::TicketError::DrainerEnded)
    );
}

/// An entry that cannot be encoded, or is buried, does not hold up a flush.
#[test]
fn dropped_and_dead_lettered_entries_hold_up_no_flush_or_delivery() {
    let mut bench = Bench::new();
    bench.config.entry_bytes_max = 100;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    bench.remote.refuse(name(1));
    publish(&publisher, 0..2);
    publisher.publish(Note::flawed(test_support::bench::Flaw::Panics));
    publisher.publish(Note::new("x".repeat(200)));
    publisher.flush().wait(LIMIT).unwrap();
    publisher.delivered().wait(LIMIT).unwrap();
    let stats = end(drainer, 4);
    assert_eq!((stats.delivered, stats.dead_lettered), (1, 2));
}

fn texts(stored: &[Stored]) -> Vec<String> {
    stored.iter().map(|stored| stored.text.clone()).collect()
}
