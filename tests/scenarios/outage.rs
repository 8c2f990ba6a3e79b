//! The sink is away for longer than memory reaches: publishers notice nothing, what is on disk has no gap, and all of
//! it comes out in order once the sink is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spillring::State;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, announced, assert_announced, end, end_within, eventually,
    name, names, publish, until_delivered, until_spilled,
};
use test_support::sinks::Mode;

#[test]
fn a_sink_that_is_down_at_the_start_gets_everything_later() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1_000);
    until_spilled(&drainer);
    eventually("the outage shows", || {
        drainer.stats().state == State::Spilling
    });
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    eventually("it is live again", || drainer.stats().state == State::Live);
    publish(&drainer.publisher(), 1_000..1_010);
    let stats = end(drainer, 1_010);
    assert_eq!(bench.remote.texts(), names(0..1_010));
    assert_announced(&bench.remote.stored());
    assert!(stats.delivery_errors > 0);
    assert!(stats.replayed >= 1_000, "{stats:?}");
}

#[test]
fn a_misconfigured_sink_is_asked_again() {
    let bench = Bench::new();
    bench.remote.set(Mode::Misconfigured);
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    eventually("two attempts", || bench.remote.questions() > 1);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 10);
    assert_eq!(bench.remote.texts(), names(0..10));
}

/// The batch in flight and what stands behind it go to the disk together: a kill at any moment of the stall loses the
/// newest only. Three times the ring goes through, and nothing is refused.
#[test]
fn a_stall_longer_than_memory_costs_nothing_and_leaves_no_gap_on_disk() {
    let bench = Bench::new();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..10);
    until_delivered(&drainer);
    bench.remote.set(Mode::Stalled);
    publish(&publisher, 10..60);
    eventually("a batch at the sink", || bench.remote.deliveries() > 1);
    for number in 60..12_000 {
        let note = Note::new(name(number));
        publisher
            .publish_timeout(note, Duration::from_secs(20))
            .unwrap();
    }
    until_spilled(&drainer);
    let survivors = after_a_kill(&bench);
    assert_announced(&survivors);
    let texts: Vec<_> = survivors.into_iter().map(|stored| stored.text).collect();
    assert_eq!(texts, names(0..12_000));
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = drainer.stats();
    let attempted = stats.accepted + stats.returned;
    end(drainer, attempted);
    assert_eq!(stats.lost.total(), 0);
    assert_eq!(bench.remote.texts(), names(0..12_000));
    assert_announced(&bench.remote.stored());
}

/// While the backlog leaves, new entries go on coming, and queue up behind it.
#[test]
fn new_entries_do_not_overtake_the_backlog() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..2_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Slow(Duration::from_millis(1)));
    for number in 2_000..4_000 {
        publish(&publisher, [number]);
        if number % 100 == 0 {
            eventually("room", || drainer.stats().in_ring < 50);
        }
    }
    end(drainer, 4_000);
    assert_eq!(bench.remote.texts(), names(0..4_000));
    assert_announced(&bench.remote.stored());
}

/// At its cap the spill takes nothing more: the ring fills, and only then entries are lost, for that reason. What was
/// accepted comes out, and the losses are told where they happened.
#[test]
fn a_spill_at_its_cap_refuses_and_keeps_what_it_has() {
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 1 << 20;
    bench.config.ring_capacity = 256;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let big = |number| Note::new(format!("{} {}", name(number), "x".repeat(2_000)));
    let mut taken = Vec::new();
    eventually("the cap is reached", || {
        while publisher.try_publish(big(taken.len())).is_ok() {
            taken.push(big(taken.len()).text.clone());
        }
        drainer.stats().state == State::SpillFull
    });
    eventually("the ring is full", || {
        let number = taken.len();
        let accepted = publisher.try_publish(big(number)).is_ok();
        if accepted {
            taken.push(big(number).text.clone());
        }
        !accepted
    });
    for _ in 0..10 {
        publisher.publish(big(0));
    }
    let stats = drainer.stats();
    assert_eq!((stats.lost.spill_full, stats.lost.queue_full), (10, 0));
    assert!(stats.spill_bytes >= 1 << 20);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publisher.publish(Note::new("last"));
    taken.push("last".to_owned());
    let returned = drainer.stats().returned;
    end(drainer, taken.len() as u64 + returned + 10);
    assert_eq!(bench.remote.texts(), taken);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(announced(&stored, LossReason::SpillFull), 10);
    assert_eq!(
        stored.last().map(test_support::sinks::Stored::lost),
        Some(10)
    );
}

/// A cap that has been reached is no reason to forget what stands in memory when the end comes.
#[test]
fn an_end_at_the_cap_still_spills_what_was_accepted() {
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 1 << 20;
    bench.config.ring_capacity = 256;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let big = |number: u64| Note::new(format!("{number} {}", "x".repeat(2_000)));
    let mut accepted = 0;
    eventually("the ring is full at the cap", || {
        while publisher.try_publish(big(accepted)).is_ok() {
            accepted += 1;
        }
        let stats = drainer.stats();
        stats.state == State::SpillFull && stats.in_ring == 256
    });
    let returned = drainer.stats().returned;
    let stats = end_within(drainer, Duration::ZERO, accepted + returned);
    assert_eq!(
        (stats.spilled, stats.in_ring, stats.in_memory),
        (accepted, 0, 0)
    );
    bench.remote.set(Mode::Up);
    let stats = end(bench.start(), 0);
    assert_eq!((stats.inherited, stats.delivered), (accepted, accepted));
    assert_announced(&bench.remote.stored());
}

/// Entries keep coming at half of what the sink can take: the backlog of an outage returns to nothing, and what comes
/// afterwards goes to the sink without touching the disk again.
#[test]
fn a_backlog_is_caught_up_with_while_entries_keep_coming() {
    let mut bench = Bench::down();
    bench.config.pending_max = LIMIT;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let stop = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let agent = scope.spawn(|| {
            let mut next = 0;
            while !stop.load(Ordering::Relaxed) {
                publish(&publisher, next..next + 10);
                next += 10;
                std::thread::sleep(Duration::from_millis(10));
            }
            next
        });
        eventually("a backlog", || drainer.stats().spilled > 2_000);
        // A hundred entries each.
        bench.remote.set(Mode::Slow(Duration::from_millis(50)));
        eventually("the backlog is gone", || {
            let stats = drainer.stats();
            stats.state == State::Live && stats.spilled == 0
        });
        let caught_up = drainer.stats();
        eventually("a thousand more", || {
            drainer.stats().delivered > caught_up.delivered + 1_000
        });
        assert_eq!(drainer.stats().appended, caught_up.appended);
        stop.store(true, Ordering::Relaxed);
        agent.join().unwrap()
    });
    end(drainer, count as u64);
    assert_eq!(bench.remote.texts(), names(0..count));
}
