//! A call that `SQLite` makes for the spill fails as the kernel lets it fail, once, for a while, or for good: opening,
//! reading, writing, syncing, cutting and deleting, on segments, the index, and what lies beside them. Publishing goes
//! on, nothing that was accepted is lost or doubled, and once the fault is gone, so are its effects, without help. What
//! can never be read again is counted and announced.
//!
//! The codes are those of `os_unix.c`: a read that fails with `EIO` is `SQLITE_IOERR_CORRUPTFS` there, which reaches
//! the caller as `SQLITE_CORRUPT`, like damage; with other errors it is `SQLITE_IOERR_READ`. A full disk is
//! `SQLITE_FULL`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stderr, reason = "said by the test itself")]

#[path = "failing_calls/faults.rs"]
mod faults;
#[path = "failing_calls/story.rs"]
mod story;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crash_tests::Fault;

use faults::{
    CHECKPOINT, CHECKPOINT_FULL, CHECKPOINT_SYNC, CUT, DELETE, FULL, INDEX_FULL, INDEX_OPEN,
    INDEX_OPEN_LOG, INDEX_READ, INDEX_READ_EIO, INDEX_READ_LOG, INDEX_SYNC, INDEX_WRITE,
    JOURNAL_DELETE, JOURNAL_OPEN, JOURNAL_SYNC, JOURNAL_WRITE, OPEN, OPEN_LOG, READ, READ_EIO,
    READ_LOG, READ_LOG_EIO, SYNC, WRITE,
};
use story::{Losses, STRETCH, Weather, When, scenario};
use test_support::bench::{LIMIT, eventually, until_delivered};
use test_support::sinks::Mode;

/// Scenarios at the same time: most of it is waiting.
const WORKERS: usize = 12;

const WEATHERS: [Weather; 3] = [Weather::Up, Weather::Down, Weather::Flapping];

#[test]
fn a_sync_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(SYNC, &[0, 1, 2, 5, 11]);
    once(INDEX_SYNC, &[0]);
}

#[test]
fn a_write_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(WRITE, &[0, 1, 3, 8, 21]);
    once(INDEX_WRITE, &[0, 1]);
}

#[test]
fn a_checkpoint_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(CHECKPOINT, &[0, 3, 8]);
    once(CHECKPOINT_SYNC, &[0, 1]);
}

/// Sealing carries the log into the segment, cuts it and deletes it.
#[test]
fn a_segment_that_cannot_be_sealed_loses_nothing() {
    once(CUT, &[0, 1]);
    once(DELETE, &[0]);
}

#[test]
fn a_segment_that_cannot_be_made_at_first_loses_nothing() {
    once(OPEN, &[0, 1]);
    once(OPEN_LOG, &[0, 1]);
    once(JOURNAL_OPEN, &[0]);
    once(JOURNAL_WRITE, &[0, 1]);
    once(JOURNAL_SYNC, &[0, 1]);
    once(JOURNAL_DELETE, &[0]);
}

#[test]
fn a_disk_that_is_full_for_one_write_loses_nothing() {
    once(FULL, &[0, 2, 9]);
    once(CHECKPOINT_FULL, &[0, 4]);
    once(INDEX_FULL, &[0]);
}

#[test]
fn a_read_that_fails_once_loses_nothing() {
    once(READ, &[0, 1, 3]);
    once(READ_EIO, &[0, 1, 3]);
}

#[test]
fn calls_that_fail_for_a_while_lose_nothing() {
    let faults = [
        SYNC,
        WRITE,
        FULL,
        CUT,
        DELETE,
        CHECKPOINT,
        CHECKPOINT_FULL,
        CHECKPOINT_SYNC,
        READ,
        READ_EIO,
        OPEN,
        OPEN_LOG,
        JOURNAL_OPEN,
        JOURNAL_WRITE,
        JOURNAL_SYNC,
        JOURNAL_DELETE,
        INDEX_SYNC,
        INDEX_WRITE,
        INDEX_FULL,
    ];
    let scenarios = faults.map(|fault| (vec![fault], When::Stretch));
    all(&scenarios);
}

/// After an error, files cannot be opened again, or cannot be read, for a while.
#[test]
fn files_that_cannot_be_opened_again_for_a_while_lose_nothing() {
    all(&[
        (vec![SYNC, OPEN], When::Stretch),
        (vec![WRITE, OPEN_LOG], When::Stretch),
        (vec![CUT, READ_LOG], When::Stretch),
        (vec![CUT, READ_LOG_EIO], When::Stretch),
        (vec![SYNC, READ_LOG_EIO], When::Stretch),
        (vec![READ, OPEN, OPEN_LOG], When::Stretch),
        (vec![INDEX_SYNC, INDEX_OPEN], When::Stretch),
        (vec![INDEX_SYNC, INDEX_OPEN_LOG], When::Stretch),
        (vec![INDEX_SYNC, INDEX_READ], When::Stretch),
        (vec![INDEX_SYNC, INDEX_READ_EIO], When::Stretch),
        (vec![INDEX_SYNC, INDEX_READ_LOG], When::Stretch),
    ]);
}

/// Then everything goes to the sink from memory.
#[test]
fn a_disk_that_takes_nothing_for_good_loses_nothing() {
    let faults = [
        SYNC,
        WRITE,
        FULL,
        CUT,
        DELETE,
        CHECKPOINT,
        CHECKPOINT_SYNC,
        JOURNAL_WRITE,
        INDEX_SYNC,
        INDEX_WRITE,
        INDEX_FULL,
    ];
    let scenarios = faults.map(|fault| (vec![fault], When::ForGood));
    all(&scenarios);
}

/// After ten seconds of trying, what can be read is delivered, and what cannot is announced.
#[test]
fn segments_that_cannot_be_read_for_good_are_announced() {
    all(&[
        (vec![READ], When::ForGood),
        (vec![READ_EIO], When::ForGood),
        (vec![OPEN], When::ForGood),
    ]);
}

/// The entries of a commit that failed, and has happened all the same, reach the sink from memory before another
/// segment can be made.
#[test]
fn a_commit_that_failed_is_overtaken_by_the_sink() {
    let outcome = scenario(Losses::None, |story, drainer| {
        story.remote.set(Mode::Up);
        until_delivered(drainer);
        story.remote.set(Mode::Stalled);
        // The first commit of a log syncs its header as well.
        story.publish(drainer, 5);
        drainer.publisher().flush().wait(LIMIT).unwrap();
        story.failing.once(SYNC, 0);
        story.failing.always(OPEN);
        story.publish(drainer, 15);
        drainer.publisher().flush().wait(STRETCH).unwrap_err();
        eventually("another segment is tried", || story.failing.hits() > 1);
        story.remote.set(Mode::Up);
        until_delivered(drainer);
        story.failing.none();
    });
    assert!(outcome.hits > 1 && outcome.segments > 0, "{outcome:?}");
}

fn once(fault: Fault, after: &[u64]) {
    let scenarios = after.iter().map(|&after| (vec![fault], When::After(after)));
    all(&scenarios.collect::<Vec<_>>());
}

/// Each in each weather, in at least one of which the calls in question are made.
fn all(scenarios: &[(Vec<Fault>, When)]) {
    let hits: Vec<_> = scenarios.iter().map(|_| AtomicU64::new(0)).collect();
    let segments = AtomicUsize::new(0);
    let lost = AtomicU64::new(0);
    let left = scenarios.iter().zip(&hits);
    let left = Mutex::new(left.flat_map(|scenario| WEATHERS.map(|weather| (scenario, weather))));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((((faults, when), hits), weather)) = next() {
                    let label = Label(format!("{faults:?} {when:?}, sink {weather:?}"));
                    let outcome = scenario(Losses::of(faults, *when), |story, drainer| {
                        story.suffer(drainer, faults, *when, weather);
                    });
                    hits.fetch_add(outcome.hits, Ordering::Relaxed);
                    segments.fetch_add(outcome.segments, Ordering::Relaxed);
                    lost.fetch_add(outcome.lost, Ordering::Relaxed);
                    drop(label);
                }
            });
        }
    });
    for (scenario, hits) in scenarios.iter().zip(&hits) {
        assert!(
            hits.load(Ordering::Relaxed) > 0,
            "no call has failed: {scenario:?}"
        );
    }
    let loses = |(faults, when): &(Vec<Fault>, When)| Losses::of(faults, *when) == Losses::Corrupt;
    let loses = scenarios.iter().any(loses);
    assert_eq!(lost.load(Ordering::Relaxed) > 0, loses);
    // Of a commit that failed nobody knows what it has done.
    let commits = scenarios
        .iter()
        .any(|(faults, _)| faults.iter().any(|fault| [SYNC, WRITE].contains(fault)));
    assert!(
        !commits || segments.load(Ordering::Relaxed) > 0,
        "no segment was abandoned"
    );
}

/// Says which scenario it was, if it panics.
struct Label(String);

impl Drop for Label {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed: {}", self.0);
        }
    }
}
