//! Entries arrive once and in order, through memory or through the spill; a frozen disk costs the sink nothing;
//! flushes.

use super::bench::{RING_BYTES_MAX, config};
use super::*;
use crate::control::Until;
use crate::policy::OPEN_RUNS_MAX;
use crate::stats::State;

#[test]
fn a_healthy_sink_gets_everything_and_nothing_is_spilled() {
    let mut bench = Bench::new();
    for round in 0..10 {
        bench.publish(round * 20..(round + 1) * 20);
        bench.run_for(SECOND / 100);
    }
    assert_eq!(bench.numbers(), (0..200).collect::<Vec<_>>());
    assert_eq!((bench.count("append"), bench.count("settle")), (0, 0));
    assert_eq!(bench.stats().state, State::Live);
}

#[test]
fn an_outage_goes_through_the_spill_in_order() {
    let mut bench = Bench::new();
    bench.sink = Sink::Fails(SinkError::Unavailable("down".to_owned()));
    for round in 0..20 {
        bench.publish(round * 40..(round + 1) * 40);
        bench.run_for(SECOND / 10);
    }
    assert_eq!(bench.stats().spilled, 800, "{:#?}", bench.stats());
    assert_eq!(bench.stats().state, State::Spilling);
    bench.sink = Sink::Takes;
    bench.publish(800..820);
    bench.run_until("all is delivered", |bench| bench.stored.len() == 820);
    assert_eq!(bench.numbers(), (0..820).collect::<Vec<_>>());
    bench.run_for(SECOND);
    assert_eq!(bench.stats().spilled, 0);
    assert!(bench.rows.is_empty(), "the spill knows");
    assert_eq!(bench.stats().state, State::Live);
}

/// New entries come while the backlog is replayed, and never overtake it.
#[test]
fn nothing_overtakes_the_backlog() {
    let mut bench = Bench::new();
    bench.sink = Sink::Frozen;
    bench.publish(0..60);
    bench.run_for(SECOND);
    bench.sink = Sink::Takes;
    for round in 0..20 {
        bench.publish(60 + round * 30..60 + (round + 1) * 30);
        bench.run_for(SECOND / 1_000);
    }
    bench.run_for(SECOND);
    assert_eq!(bench.numbers(), (0..660).collect::<Vec<_>>());
}

#[test]
fn a_frozen_disk_costs_the_sink_nothing() {
    let mut bench = Bench::new();
    bench.publish(0..1);
    bench.run_for(SECOND / 10);
    bench.disk = Disk::Frozen;
    for round in 0..100 {
        bench.publish(1 + round * 20..1 + (round + 1) * 20);
        bench.run_for(SECOND / 100);
    }
    assert_eq!(bench.numbers(), (0..2_001).collect::<Vec<_>>());
}

/// It froze while entries were being appended: they go to the sink from memory, and are counted once.
#[test]
fn entries_at_a_frozen_disk_are_delivered_from_memory() {
    let mut bench = Bench::new();
    bench.publish(0..1);
    bench.run_for(SECOND / 10);
    bench.sink = Sink::Frozen;
    bench.disk = Disk::Frozen;
    bench.publish(1..50);
    bench.run_for(SECOND);
    assert_eq!(bench.under_way(), Some("append"));
    bench.sink = Sink::Takes;
    bench.run_for(SECOND);
    assert_eq!(bench.numbers(), (0..50).collect::<Vec<_>>());
    assert_eq!(bench.stats().in_memory, 0);
    bench.disk = Disk::Works;
    bench.run_for(SECOND);
    let stats = bench.stats();
    assert_eq!((stats.delivered, stats.spilled), (50, 0), "{stats:#?}");
    assert!(bench.rows.is_empty(), "the spill knows");
}

/// Nobody knows what a failed append has written: the next start must not deliver it again.
#[test]
fn after_a_failed_append_the_spill_learns_what_was_delivered() {
    let mut bench = Bench::new();
    bench.publish(0..1);
    bench.run_for(SECOND / 10);
    bench.sink = Sink::Frozen;
    bench.disk = Disk::Fails;
    bench.publish(1..5);
    bench.run_for(SECOND / 10);
    assert!(bench.count("append") > 0);
    bench.sink = Sink::Takes;
    bench.run_until("the delivery", |bench| bench.stored.len() == 5);
    bench.disk = Disk::Works;
    bench.orders.clear();
    bench.run_for(SECOND * 20);
    assert_eq!(bench.count("settle"), 1);
}

/// A few entries may be many bytes.
#[test]
fn a_ring_with_many_bytes_in_it_is_spilled_though_slots_are_free() {
    let mut config = config();
    config.pending_max = SECOND * 1_000;
    config.entry_bytes_max = u64::from(RING_BYTES_MAX);
    let mut bench = Bench::with(config, Vec::new(), |source| source);
    bench.sink = Sink::Frozen;
    bench.publish(0..10);
    bench.run_for(SECOND);
    assert_eq!(bench.stats().in_memory, 10, "a batch is staged");
    for (number, left) in [(10, 1), (11, 2), (12, 3), (13, 0)] {
        bench.publish_large(number, RING_BYTES_MAX as usize / 8);
        bench.run_for(SECOND);
        assert_eq!(bench.stats().in_ring, left, "{number}");
    }
}

/// Encoding runs while the disk syncs: a chunk waits, and no more.
#[test]
fn memory_is_bounded_while_the_disk_is_frozen() {
    let mut bench = Bench::new();
    bench.run_for(SECOND / 10);
    bench.sink = Sink::Frozen;
    bench.disk = Disk::Frozen;
    for round in 0..100 {
        bench.publish(round * 60..(round + 1) * 60);
        bench.run_for(SECOND / 10);
    }
    let stats = bench.stats();
    assert!(stats.lost.queue_full > 0, "{stats:#?}");
    assert!(
        (1_024..=20 + 2 * 1_024).contains(&stats.in_memory),
        "{stats:#?}"
    );
}

#[test]
fn the_first_batch_waits_for_the_run_to_be_open_but_not_for_long() {
    let mut bench = Bench::new();
    bench.disk = Disk::Frozen;
    bench.publish(0..5);
    bench.run_for(OPEN_RUNS_MAX / 2);
    assert!(bench.numbers().is_empty());
    bench.run_for(OPEN_RUNS_MAX);
    assert_eq!(bench.numbers(), (0..5).collect::<Vec<_>>());
    bench.disk = Disk::Works;
    bench.run_for(SECOND);
    assert_eq!(bench.count("open runs"), 1);
    bench.publish(5..10);
    bench.run_for(SECOND);
    assert_eq!(bench.count("open runs"), 1, "once a run");
}

#[test]
fn a_flush_is_kept_with_the_acknowledgement() {
    let mut bench = Bench::new();
    bench.publish(0..30);
    let ticket = bench.control.flush(Until::Safe);
    bench.run_for(SECOND / 10);
    assert_eq!(ticket.wait(Duration::ZERO), Ok(()));
    assert_eq!((bench.stored.len(), bench.count("check")), (30, 0));
}

/// The second one finds everything on disk, and has the files checked.
#[test]
fn a_flush_is_done_once_entries_are_on_disk_and_the_files_in_place() {
    let mut bench = Bench::new();
    bench.sink = Sink::Fails(SinkError::Unavailable("down".to_owned()));
    bench.publish(0..30);
    let ticket = bench.control.flush(Until::Safe);
    bench.run_for(SECOND / 100);
    assert_eq!(ticket.wait(Duration::ZERO), Ok(()));
    assert_eq!(bench.rows.len(), 30);
    bench.run_for(SECOND);
    let checks = bench.count("check");
    let ticket = bench.control.flush(Until::Safe);
    bench.run_for(SECOND / 100);
    assert_eq!(ticket.wait(Duration::ZERO), Ok(()));
    assert_eq!(bench.count("check"), checks + 1);

    bench.disk = Disk::Fails;
    let ticket = bench.control.flush(Until::Safe);
    bench.run_for(SECOND);
    assert!(ticket.wait(Duration::ZERO).is_err(), "the files are away");
}

/// Losses of a full ring are announced where they happened.
#[test]
fn the_rings_losses_are_announced_by_the_next_entry() {
    let mut bench = Bench::new();
    bench.publish(0..70);
    bench.run_for(SECOND / 100);
    bench.publish(70..71);
    bench.run_for(SECOND / 100);
    let last = bench.stored.last().unwrap();
    assert_eq!((last.n, last.subject()), (71, "70"));
    assert_eq!(losses(last.losses_before()), [(6, LossReason::QueueFull)]);
}

/// Something is acknowledged in each second, and the disk has no idle moment.
#[test]
fn the_spill_knows_of_deliveries_within_a_second() {
    let mut bench = Bench::new();
    bench.sink = Sink::Frozen;
    bench.publish(0..60);
    bench.run_for(SECOND);
    bench.sink = Sink::Takes;
    let mut rows = bench.rows.len();
    assert!(rows > 0);
    for _ in 0..3 {
        bench.run_for(SECOND);
        assert!(bench.rows.len() < rows || bench.rows.is_empty());
        rows = bench.rows.len();
    }
}
