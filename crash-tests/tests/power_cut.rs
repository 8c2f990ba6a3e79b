//! The power fails after each call that a publisher's spill makes, and the disk has kept any part of what was not synced
//! yet: whatever counted as safe comes out after the restart, once and in order, and nothing that the sink has comes
//! again. See the crate's docs for what a power cut is here.
//!
//! Covered is every prefix of every recorded run: the making of the database, several checkpoints with a restart and a
//! cut of the WAL, clean ends that delete it, and a second life that makes it anew. Of the calls not synced at that
//! point all subsets if they are up to 8, else 32; disks that are the same, with the same true of them, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stdout, reason = "said by the test itself")]

#[path = "../../tests/support/core.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crash_tests::{
    ActKind, Disk, Event, Fault, FileKind, Mark, Step, Trace, check_each, memory, vfs,
};
use rusqlite::ffi;
use spillring::{
    Batch, BoxFuture, Config, Delivery, Drainer, Position, PublisherId, Sink, SinkError,
    SpillDurability,
};

use support::bench::{LIMIT, Note, assert_told, end, name, quick, until_delivered};
use support::sinks::{Double, Mode, Remote, Stored};

/// A run as it was recorded.
struct Recorded {
    events: Vec<Event>,
    stored: Vec<Stored>,
    durability: SpillDurability,
}

#[test]
fn what_was_flushed_survives_a_power_cut_at_any_call() {
    let recorded = record(SpillDurability::PowerLoss, [11, 5], None);
    assert_eventful(&recorded.events, 2);
    check_all(&recorded);
}

/// Flushed entries may be gone here, but only from the end, and nothing is doubled or out of order.
#[test]
fn unsynced_commits_vanish_from_the_end_only() {
    let recorded = record(SpillDurability::ProcessCrash, [6, 3], None);
    assert_eventful(&recorded.events, 1);
    check_all(&recorded);
}

/// A sync fails, and what was written before it may be gone whatever is synced later: only what was flushed by another
/// sync counts as safe.
#[test]
fn what_was_flushed_after_a_failed_sync_survives_a_power_cut() {
    for (file, after) in [(FileKind::Wal, 3), (FileKind::Database, 0)] {
        let fault = Fault {
            file,
            act: ActKind::Sync,
            code: ffi::SQLITE_IOERR_FSYNC,
        };
        let recorded = record(SpillDurability::PowerLoss, [5, 2], Some((fault, after)));
        let failed = |event: &Event| matches!(event.step, Step::SyncFailed { .. });
        assert!(recorded.events.iter().any(failed));
        check_all(&recorded);
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
        support::bench::eventually("some are stored", || drainer.stats().delivered > 4);
        remote.set(Mode::Up);
        until_delivered(&drainer);
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

/// One in nine is longer than two pages.
fn text(number: usize) -> String {
    let padding = if number % 9 == 4 { 40_000 } else { 0 };
    name(number) + &"x".repeat(padding)
}

/// All that a power cut is interesting for has happened, some of it so many times.
fn assert_eventful(events: &[Event], times: usize) {
    let count = |wanted: fn(&Step, FileKind) -> bool| {
        let kinds = events.iter().filter_map(|event| match &event.step {
            Step::Open { file, .. }
            | Step::Write { file, .. }
            | Step::Truncate { file, .. }
            | Step::Sync { file }
            | Step::SyncFailed { file }
            | Step::Delete { file, .. } => Some((&event.step, FileKind::of(file))),
            Step::Mark(_) => None,
        });
        kinds.filter(|(step, kind)| wanted(step, *kind)).count()
    };
    let starts =
        count(|step, kind| kind == FileKind::Wal && matches!(step, Step::Write { offset: 0, .. }));
    let cuts = count(|step, kind| kind == FileKind::Wal && matches!(step, Step::Truncate { .. }));
    let deletes = count(|step, kind| kind == FileKind::Wal && matches!(step, Step::Delete { .. }));
    let carried =
        count(|step, kind| kind == FileKind::Database && matches!(step, Step::Write { .. }));
    println!(
        "{starts} starts and {cuts} cuts of the WAL, {carried} pages carried into the database"
    );
    assert_eq!(deletes, 2, "each life ends clean");
    // The first of each life is no restart.
    assert!(
        starts >= 2 + times,
        "restarts of the WAL: {starts} with the starts"
    );
    assert!(cuts >= 1, "cuts of the WAL: {cuts}");
    assert!(carried > 10, "pages carried into the database: {carried}");
}

fn check_all(recorded: &Recorded) {
    let disks = check_each(&recorded.events, |disk| check(disk, recorded));
    println!(
        "{:?}: {disks} disks rebuilt, of {} events",
        recorded.durability,
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
    assert_told(&stored);
    let (last, before) = stored.split_last().unwrap();
    assert_eq!(last.text, "afterwards");
    for (number, found) in before.iter().enumerate() {
        assert!(
            found.text == text(number),
            "{} stands at {number}",
            found.text
        );
    }
    assert!(before.len() >= disk.stored);
    if recorded.durability == SpillDurability::PowerLoss {
        assert_eq!(stats.discarded.total(), 0);
        assert!(before.len() >= disk.flushed, "lost from {}", before.len());
    }
}

fn config(spill: &Path, durability: SpillDurability) -> Config {
    let mut config = quick(spill);
    config.spill_durability = durability;
    // Its reserve is a part of this, and made anew on each of the disks.
    config.spill_bytes_max = 8 << 20;
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
