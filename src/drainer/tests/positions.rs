//! The position that the sink answers; losses of earlier runs; a change of runs.

use std::sync::Arc;

use uuid::Uuid;

use super::bench::{PUBLISHER, config, run};
use super::*;
use crate::event::{Key, Position, RunEnd, RunId};
use crate::spill::Orphan;

fn unknown_run(at: u128, n: u64) -> Position {
    Position {
        run: RunId(Uuid::from_u128(at)),
        n,
    }
}

#[test]
fn nothing_is_delivered_before_the_sink_was_asked() {
    let mut bench = Bench::new();
    bench.sink = Sink::Fails(SinkError::Unavailable("down".to_owned()));
    bench.publish(0..5);
    bench.run_for(SECOND);
    assert!(bench.questions > 0);
    bench.sink = Sink::Takes;
    bench.run_until("the entries", |bench| bench.stored.len() == 5);
    assert_eq!(bench.numbers(), (0..5).collect::<Vec<_>>());
}

/// The sink has stored a part of each batch, and its answers were lost: it is asked, and nothing comes twice.
#[test]
fn a_batch_with_a_lost_answer_is_neither_doubled_nor_lost() {
    for (stored, disk) in [(0, Disk::Works), (4, Disk::Works), (4, Disk::Frozen)] {
        let mut bench = Bench::new();
        bench.publish(0..1);
        bench.run_for(SECOND / 10);
        bench.disk = disk;
        bench.sink = Sink::AnswerLost(stored);
        bench.publish(1..40);
        bench.run_for(SECOND * 3);
        bench.sink = Sink::Takes;
        bench.disk = Disk::Works;
        bench.run_for(SECOND * 30);
        assert_eq!(bench.numbers(), (0..40).collect::<Vec<_>>(), "{stored}");
        let stats = bench.stats();
        assert_eq!((stats.delivered, stats.spilled), (40, 0), "{stats:#?}");
        assert!(bench.rows.is_empty());
    }
}

#[test]
fn a_position_ahead_of_the_run_is_a_clones() {
    let mut bench = Bench::new();
    bench.cursor = Some(Position {
        run: run(1).id,
        n: 1_000,
    });
    bench.disk = Disk::Fails;
    bench.publish(0..5);
    bench.run_for(SECOND * 3);
    assert!(bench.stored.is_empty(), "nothing is sent under the old id");
    bench.disk = Disk::Works;
    bench.run_until("the entries", |bench| bench.stored.len() == 5);
    let publisher = bench.stored[0].run().publisher();
    assert_ne!(publisher, PUBLISHER);
    assert_eq!(bench.questions, 1);
}

/// No disk would know another id, and the old one is another publisher's.
#[test]
fn a_clone_whose_disk_is_lost_delivers_nothing() {
    let mut bench = Bench::new();
    bench.end_disk();
    bench.cursor = Some(Position {
        run: run(1).id,
        n: 1_000,
    });
    bench.publish(0..5);
    bench.run_for(SECOND * 30);
    assert!(bench.stored.is_empty());
    assert_eq!((bench.questions, bench.stats().accepted), (1, 5));
}

/// The entries that are numbered already announce the previous run as well.
#[test]
fn a_run_that_the_directory_has_missed_becomes_the_previous_one() {
    let mut bench = Bench::new();
    bench.cursor = Some(unknown_run(99, 7));
    bench.publish(0..5);
    bench.run_until("the entries", |bench| bench.stored.len() == 5);
    let opened = bench.stored[0].opens_run().unwrap();
    let previous = opened.previous().unwrap();
    assert_eq!(previous.id, RunId(Uuid::from_u128(99)));
    assert_eq!((previous.last, previous.end), (None, RunEnd::Killed));
    assert_eq!(opened.publisher(), PUBLISHER);
    assert_eq!(bench.count("renew identity"), 0);
}

#[test]
fn losses_of_earlier_runs_are_announced_first_and_noted() {
    let orphan = Orphan {
        first: Key::new(0, 5),
        count: 3,
    };
    let mut bench = Bench::with(config(), vec![orphan], |source| source);
    bench.disk = Disk::Fails;
    bench.publish(0..1);
    bench.run_for(SECOND);
    bench.disk = Disk::Works;
    bench.run_for(SECOND * 20);
    let first = &bench.stored[0];
    assert_eq!(first.n, 4);
    assert_eq!(losses(first.losses_before()), [(3, LossReason::Corrupt)]);
    assert_eq!(bench.renumbered, [Key::new(1, 1)], "under the same numbers");
    assert!(bench.count("renumber") > 1, "it was tried again");
}

/// Losses at the end of the spill's rows are announced by the next record, wherever that is.
#[test]
fn losses_after_the_last_row_are_announced_by_the_next_entry() {
    let mut bench = Bench::new();
    bench.sink = Sink::Fails(SinkError::Unavailable("down".to_owned()));
    bench.publish(0..30);
    bench.run_for(SECOND);
    // The last two vanish.
    for n in [29, 30] {
        bench.rows.remove(&Key::new(1, n));
    }
    bench.view.corrupt = 2;
    bench.trailing = vec![Loss {
        count: 2,
        reason: LossReason::Corrupt,
    }];
    bench.orphans = vec![Orphan {
        first: Key::new(0, 9),
        count: 1,
    }];
    bench.run_until("the view", |bench| bench.stats().spilled == 28);
    bench.sink = Sink::Takes;
    bench.run_for(SECOND * 30);
    bench.publish(30..31);
    bench.run_for(SECOND);
    let last = bench.stored.last().unwrap();
    assert_eq!((last.n, last.lost_before()), (32, 3));
    assert_eq!(bench.renumbered, [Key::new(1, 31)]);
}

/// Entries that were numbered in the old run keep their numbers, later ones get those of the new run.
#[test]
fn a_run_whose_numbers_are_used_up_is_followed_by_another() {
    let orphan = Orphan {
        first: Key::new(0, 1),
        count: Key::N_MAX - 1_100,
    };
    let mut bench = Bench::with(config(), vec![orphan], |source| source);
    for round in 0..4 {
        bench.publish(round * 50..(round + 1) * 50);
        bench.run_for(SECOND / 10);
    }
    assert_eq!(bench.numbers(), (0..200).collect::<Vec<_>>());
    assert_eq!(bench.count("turn over"), 1);
    let last = bench.stored.last().unwrap();
    assert_eq!(last.run, Arc::clone(&run(2)));
    assert!(last.n < 200);
}
