//! Records that the sink will never take become dead letters, and the next one announces them.

use super::*;
use crate::spill::{Keep, Room};

#[test]
fn a_refused_record_becomes_a_dead_letter_and_the_next_announces_it() {
    let mut bench = Bench::new();
    bench.refused = vec![3, 4, 10];
    bench.publish(1..13);
    bench.run_for(SECOND / 10);
    let expected = (1..13).filter(|number| ![3, 4, 10].contains(number));
    assert_eq!(bench.numbers(), expected.collect::<Vec<_>>());
    let kept: Vec<_> = [3, 4, 10].map(|n| (n, Keep::Yes)).into();
    assert_eq!(bench.letters, kept);
    for (at, count) in [(2, 2), (7, 1)] {
        let announced = losses(bench.stored[at].losses_before());
        assert_eq!(announced, [(count, DeadLettered)]);
    }
    assert_eq!(bench.stats().rejected, 3);
}

#[test]
fn oversize_neighbours_go_in_one_order() {
    let mut bench = Bench::new();
    for number in 1..10 {
        bench.publish_large(number, 2_000);
    }
    bench.publish(10..12);
    bench.run_for(SECOND / 10);
    assert_eq!(bench.numbers(), [10, 11]);
    assert_eq!((bench.letters.len(), bench.count("dead letter")), (9, 1));
    let announced = losses(bench.stored[0].losses_before());
    assert_eq!(announced, [(9, DeadLettered)]);
    assert_eq!(bench.stats().oversize, 9);
}

/// The record stays at the front until the disk has it, and nothing passes it.
#[test]
fn nothing_passes_a_record_that_the_disk_does_not_keep_yet() {
    for disk in [Disk::Frozen, Disk::Fails] {
        let mut bench = Bench::new();
        bench.publish(1..2);
        bench.run_for(SECOND / 10);
        bench.disk = disk;
        bench.refused = vec![3];
        bench.publish(2..6);
        bench.run_for(SECOND);
        assert_eq!(bench.numbers(), [1, 2], "{disk:?}");
        bench.disk = Disk::Works;
        bench.run_until("the others", |bench| bench.stored.len() == 4);
        assert_eq!(bench.numbers(), [1, 2, 4, 5], "{disk:?}");
        let announced = losses(bench.stored[2].losses_before());
        assert_eq!(announced, [(1, DeadLettered)]);
    }
}

/// With nothing after it, the loss waits for the next entry.
#[test]
fn the_loss_of_the_last_record_waits_for_the_next_one() {
    let mut bench = Bench::new();
    bench.refused = vec![1];
    bench.publish(1..2);
    bench.run_for(SECOND / 10);
    assert_eq!(bench.letters.len(), 1);
    bench.publish(2..3);
    bench.run_for(SECOND / 10);
    let announced = losses(bench.stored[0].losses_before());
    assert_eq!(announced, [(1, DeadLettered)]);
}

/// The next record is in the spill, and includes the losses from there: reading continues before the dead letters.
#[test]
fn losses_of_spilled_records_are_announced_from_the_spill() {
    let mut bench = Bench::new();
    bench.sink = Sink::Fails(SinkError::Unavailable("down".to_owned()));
    bench.publish(1..11);
    for number in 11..21 {
        bench.publish_large(number, 2_000);
    }
    bench.publish(21..60);
    bench.run_for(SECOND);
    assert_eq!(bench.rows.len(), 59);
    bench.sink = Sink::Takes;
    bench.run_until("all", |bench| bench.stored.len() == 49);
    assert_eq!(bench.letters.len(), 10);
    assert_eq!(bench.numbers(), (1..11).chain(21..60).collect::<Vec<_>>());
    let announced = losses(bench.stored[10].losses_before());
    assert_eq!(announced, [(10, DeadLettered)]);
}

#[test]
fn at_the_cap_a_record_that_has_no_room_is_not_kept() {
    let mut bench = Bench::new();
    bench.view.totals.dead_letters.bytes = bench.view.bytes_max;
    bench.run_for(SECOND * 2);
    bench.refused = vec![1];
    bench.publish(1..3);
    bench.run_for(SECOND);
    assert_eq!(bench.letters, [(1, Keep::NoRoom)]);
    assert_eq!(bench.numbers(), [2]);
    let stats = bench.stats();
    assert_eq!((stats.dead_lettered, stats.discarded.total()), (0, 1));
    assert_eq!(stats.count(DeadLettered), 1);
}

#[test]
fn without_a_spill_a_refused_record_is_dropped_and_counted() {
    let mut bench = Bench::new();
    bench.view.room = Room::Absent;
    bench.run_for(SECOND * 2);
    bench.refused = vec![1];
    bench.publish(1..3);
    bench.run_for(SECOND);
    let stats = bench.stats();
    assert_eq!((stats.dead_lettered, stats.discarded.total()), (0, 1));
    assert_eq!(bench.numbers(), [2]);
}
