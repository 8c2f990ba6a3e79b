//! The power fails after each call that a publisher's spill makes, and the disk has kept any part of what was not
//! synced yet: whatever counted as safe comes out after the restart, once and in order, and nothing that the sink has
//! comes again. See the crate's docs for what a power cut is here.
//!
//! Covered is a sample of the disks after every call, with `SPILLRING_ALL_CUTS=1` each: the making of index and
//! segments, checkpoints with restarts of their logs, sealing, unlinking, a clean end, and a second life. Of the calls
//! not synced at that point all subsets are tried if they are few, else some; disks that are the same, with the same
//! true of them, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stdout, reason = "said by the test itself")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crash_tests::{
    ActKind, Age, Disk, Event, Fault, FileKind, Mark, SPILL_BYTES_MAX, Step, Trace, check_each,
    memory, vfs,
};
use rusqlite::ffi;
use spillring::config::SpillDurability;
use spillring::error::SinkError;
use spillring::event::{Batch, LossReason, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{Config, Drainer, Sink};

use test_support::bench::{
    LIMIT, Note, announced, assert_announced, end, eventually, name, quick, until_delivered,
};
use test_support::sinks::{Double, Mode, Remote, Stored};

/// A run as it was recorded.
struct Recorded {
    events: Vec<Event>,
    stored: Vec<Stored>,
    durability: SpillDurability,
}

/// Which power cuts are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// All, also while index and first segment are made.
    Start,
    /// Those since the first flush.
    Flushed,
}

#[test]
fn what_was_flushed_survives_a_power_cut_at_any_call() {
    let recorded = record(SpillDurability::PowerLoss, [11, 5], None);
    assert_eventful(&recorded.events, 5);
    check_all(&recorded, Since::Start);
}

/// Flushed entries may be gone here, but only from the end, and nothing is doubled or out of order. What is gone is
/// counted and announced, unless the watermark that knew of it is gone as well.
#[test]
fn unsynced_commits_vanish_from_the_end_only() {
    let recorded = record(SpillDurability::ProcessCrash, [8, 4], None);
    assert_eventful(&recorded.events, 4);
    check_all(&recorded, Since::Flushed);
}

/// A sync fails, and what was written before it may be gone whatever is synced later: only what was flushed by another
/// sync counts as safe.
#[test]
fn what_was_flushed_after_a_failed_sync_survives_a_power_cut() {
    for (file, after) in [(FileKind::SegmentLog, 3), (FileKind::Segment, 0)] {
        let fault = Fault {
            file,
            act: ActKind::Sync,
            code: ffi::SQLITE_IOERR_FSYNC,
        };
        let recorded = record(SpillDurability::PowerLoss, [5, 2], Some((fault, after)));
        let failed = |event: &Event| matches!(event.step, Step::SyncFailed { .. });
        assert!(recorded.events.iter().any(failed));
        check_all(&recorded, Since::Flushed);
    }
}

/// Two lives of a publisher on one directory, of so many commits each; a call may fail in the first.
fn record(
    durability: SpillDurability,
    rounds: [usize; 2],
    fault: Option<(Fault, u64)>,
) -> Recorded {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let trace = Trace::of(dir.path());
    let _watching = vfs::watch(dir.path(), Arc::clone(&trace) as _);
    let remote = Remote::holding(Vec::new());
    let mut config = config(dir.path(), durability);
    config.batch_max = 4;
    let mut next = 0;
    for rounds in rounds {
        remote.set(Mode::Down);
        let sink = Told {
            double: remote.sink(),
            remote: remote.clone(),
            trace: Arc::clone(&trace),
        };
        let drainer = spillring::start(config.clone(), sink).unwrap();
        if let (Some((fault, after)), 0) = (fault, next) {
            trace.faults().once(fault, after);
        }
        publish_flushed(&drainer, &trace, &mut next, rounds);
        remote.set(Mode::Prefixes(2));
        eventually("some are stored", || drainer.stats().delivered > 4);
        remote.set(Mode::Up);
        until_delivered(&drainer);
        // All but the one that is written to.
        eventually("segments are unlinked", || {
            segments(dir.path(), ".sqlite3") <= 1
        });
        // To the sink from memory, with nothing on disk.
        publish_flushed(&drainer, &trace, &mut next, 2);
        remote.set(Mode::Down);
        publish_flushed(&drainer, &trace, &mut next, rounds / 2);
        // A clean end, with a backlog.
        let stats = drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
        assert!(stats.spilled > 0, "{stats:#?}");
    }
    Recorded {
        events: trace.events(),
        stored: remote.stored(),
        durability,
    }
}

fn publish_flushed(drainer: &Drainer<Note>, trace: &Trace, next: &mut usize, rounds: usize) {
    for round in 0..rounds {
        for _ in 0..=round % 3 {
            drainer.publisher().publish(Note::new(text(*next)));
            *next += 1;
        }
        drainer.publisher().flush().wait(LIMIT).unwrap();
        trace.mark(Mark::Flushed(*next));
    }
}

/// How many files of segments have a name that ends like this.
fn segments(dir: &Path, end: &str) -> usize {
    let Ok(files) = fs::read_dir(dir.join("segments")) else {
        return 0;
    };
    let names = files.map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(end))
        .count()
}

/// One in two is longer than a page.
fn text(number: usize) -> String {
    let padding = if number % 2 == 1 { 20_000 } else { 0 };
    name(number) + &"x".repeat(padding)
}

/// All that a power cut is interesting for has happened.
fn assert_eventful(events: &[Event], segments: usize) {
    use FileKind::{IndexLog, Segment, SegmentLog};
    let count = |wanted: fn(&Step, FileKind) -> bool| {
        let kinds = events.iter().filter_map(|event| match &event.step {
            Step::Open { file }
            | Step::Write { file, .. }
            | Step::Truncate { file, .. }
            | Step::Sync { file }
            | Step::SyncFailed { file }
            | Step::Delete { file, .. } => Some((&event.step, FileKind::of(file))),
            Step::Mark(_) => None,
        });
        kinds.filter(|(step, kind)| wanted(step, *kind)).count()
    };
    let made = count(|step, kind| kind == Segment && matches!(step, Step::Open { .. }));
    let unlinked = count(|step, kind| kind == Segment && matches!(step, Step::Delete { .. }));
    let starts =
        count(|step, kind| kind == SegmentLog && matches!(step, Step::Write { offset: 0, .. }));
    let cuts = count(|step, kind| kind == SegmentLog && matches!(step, Step::Truncate { .. }));
    let carried = count(|step, kind| kind == Segment && matches!(step, Step::Write { .. }));
    let index = count(|step, kind| kind == IndexLog && matches!(step, Step::Sync { .. }));
    println!(
        "{made} segments made and {unlinked} unlinked, {starts} starts and {cuts} cuts of their logs, \
         {carried} pages carried into them, {index} syncs of the log of the index"
    );
    assert!(made >= segments, "segments made: {made}");
    assert!(unlinked >= 2, "segments unlinked: {unlinked}");
    assert!(starts > made, "restarts of logs: {starts} with the starts");
    assert!(cuts >= 3, "cuts of logs: {cuts}");
    assert!(carried > 10, "pages carried into segments: {carried}");
    assert!(index >= 3, "syncs of the log of the index: {index}");
}

fn check_all(recorded: &Recorded, since: Since) {
    let checked = AtomicUsize::new(0);
    check_each(&recorded.events, |disk| {
        if since == Since::Start || disk.flushed > 0 {
            check(disk, recorded);
            checked.fetch_add(1, Ordering::Relaxed);
        }
    });
    println!(
        "{:?}: {} disks checked, of {} events",
        recorded.durability,
        checked.into_inner(),
        recorded.events.len(),
    );
}

/// Starts on that disk, with what the sink had by then.
fn check(disk: &Disk, recorded: &Recorded) {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let spill = dir.path().join("spill");
    disk.write(&spill);
    let remote = Remote::holding(recorded.stored[..disk.stored].to_vec());
    let config = config(&spill, recorded.durability);
    let drainer = spillring::start(config, remote.sink()).unwrap();
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    let stats = end(drainer, 1);
    assert_eq!(stats.dead_lettered, 0);
    let stored = remote.stored();
    assert_announced(&stored);
    let (last, before) = stored.split_last().unwrap();
    assert_eq!(last.text, "afterwards");
    for (number, found) in before.iter().enumerate() {
        assert!(found.text == text(number), "{} at {number}", found.text);
    }
    assert!(before.len() >= disk.stored);
    let gone = stats.discarded.total();
    assert_eq!(gone, announced(&stored[disk.stored..], LossReason::Corrupt));
    if disk.watermark == Age::Newest {
        let count = before.len() + usize::try_from(gone).unwrap();
        assert!(count >= disk.flushed, "lost in silence from {count}");
    }
    if recorded.durability == SpillDurability::PowerLoss {
        assert_eq!(gone, 0);
        assert_eq!(segments(&spill, ".damaged"), 0);
        assert!(before.len() >= disk.flushed, "lost from {}", before.len());
    }
}

fn config(spill: &Path, durability: SpillDurability) -> Config {
    let mut config = quick(spill);
    config.spill_durability = durability;
    config.spill_bytes_max = SPILL_BYTES_MAX;
    config
}

/// A sink that puts into the trace what it has stored, before anybody hears of it.
struct Told {
    double: Double,
    remote: Remote,
    trace: Arc<Trace>,
}

impl Sink for Told {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        self.double.position(of)
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let delivery = self.double.deliver(batch).await;
            self.trace.mark(Mark::Stored(self.remote.stored().len()));
            delivery
        })
    }
}
