//! A call that `SQLite` makes for the spill fails, once or for a while: a sync, so that nobody knows whether a commit has
//! happened, a write to the WAL, one of a checkpoint, a full disk, a read, and opening the files again meanwhile. Publishing
//! goes on, nothing that was accepted is lost or doubled, and once the fault is gone, so are its effects, without help.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stderr, reason = "said by the test itself")]

#[path = "../../tests/support/core.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crash_tests::{ActKind, Fault, Faults, FileKind, vfs};
use rusqlite::ffi;
use spillring::{Drainer, SpillDurability, State};

use support::bench::{LIMIT, Note, assert_told, end, eventually, name, quick, until_delivered};
use support::sinks::{Mode, Remote};

/// How long a fault lasts that lasts for a while.
const STRETCH: Duration = Duration::from_millis(300);
/// Scenarios at the same time: most of it is waiting.
const WORKERS: usize = 6;

const SYNC: Fault = fault(FileKind::Wal, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
const WRITE: Fault = fault(FileKind::Wal, ActKind::Write, ffi::SQLITE_IOERR_WRITE);
const FULL: Fault = fault(FileKind::Wal, ActKind::Write, ffi::SQLITE_FULL);
const CHECKPOINT: Fault = fault(FileKind::Database, ActKind::Write, ffi::SQLITE_IOERR_WRITE);
const CHECKPOINT_SYNC: Fault = fault(FileKind::Database, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
const READ: Fault = fault(FileKind::Database, ActKind::Read, ffi::SQLITE_IOERR_READ);
const READ_WAL: Fault = fault(FileKind::Wal, ActKind::Read, ffi::SQLITE_IOERR_READ);
const OPEN: Fault = fault(FileKind::Database, ActKind::Open, ffi::SQLITE_CANTOPEN);
const OPEN_WAL: Fault = fault(FileKind::Wal, ActKind::Open, ffi::SQLITE_READONLY);

/// What the sink does while calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Up,
    Down,
    Flapping,
}

/// When calls fail.
#[derive(Debug, Clone, Copy)]
enum When {
    /// The first after so many.
    After(u64),
    /// For a while.
    Stretch,
}

const WEATHERS: [Weather; 3] = [Weather::Up, Weather::Down, Weather::Flapping];

#[test]
fn a_sync_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(SYNC, &[0, 1, 2, 5, 11]);
}

#[test]
fn a_write_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(WRITE, &[0, 1, 3, 8, 21]);
}

#[test]
fn a_checkpoint_that_fails_once_leaves_nothing_lost_or_doubled() {
    once(CHECKPOINT, &[0, 3, 8]);
    once(CHECKPOINT_SYNC, &[0, 1]);
}

#[test]
fn a_disk_that_is_full_for_one_write_loses_nothing() {
    once(FULL, &[0, 2, 9]);
}

#[test]
fn a_read_that_fails_once_loses_nothing() {
    once(READ, &[0, 1, 3]);
}

#[test]
fn calls_that_fail_for_a_while_lose_nothing() {
    let faults = [
        SYNC,
        WRITE,
        FULL,
        CHECKPOINT,
        CHECKPOINT_SYNC,
        READ,
        READ_WAL,
    ];
    let scenarios = faults.map(|fault| vec![fault]).into_iter();
    all(&scenarios
        .map(|faults| (faults, When::Stretch))
        .collect::<Vec<_>>());
}

/// Whoever opens the files again after an error finds that it cannot, for a while.
#[test]
fn files_that_cannot_be_opened_again_for_a_while_lose_nothing() {
    all(&[
        (vec![SYNC, OPEN], When::Stretch),
        (vec![WRITE, OPEN_WAL], When::Stretch),
        (vec![READ, OPEN, OPEN_WAL], When::Stretch),
    ]);
}

/// The entries of a commit that failed, and has happened all the same, reach the sink from memory before the spill is
/// opened again.
#[test]
fn a_commit_that_failed_is_overtaken_by_the_sink() {
    let told = scenario(|story, drainer| {
        story.remote.set(Mode::Up);
        until_delivered(drainer);
        story.remote.set(Mode::Stalled);
        // The first commit of a log syncs its header as well.
        story.publish(drainer, 5);
        drainer.publisher().flush().wait(LIMIT).unwrap();
        story.publish(drainer, 15);
        story.failing.once(SYNC, 0);
        story.failing.always(OPEN);
        drainer.publisher().flush().wait(STRETCH).unwrap_err();
        story.remote.set(Mode::Up);
        until_delivered(drainer);
        story.failing.none();
    });
    assert!(told.hits > 1 && told.reopened > 0, "{told:?}");
}

fn once(fault: Fault, after: &[u64]) {
    let scenarios = after.iter().map(|&after| (vec![fault], When::After(after)));
    all(&scenarios.collect::<Vec<_>>());
}

/// Each in each weather, in at least one of which the calls in question are made.
fn all(scenarios: &[(Vec<Fault>, When)]) {
    let hits: Vec<_> = scenarios.iter().map(|_| AtomicU64::new(0)).collect();
    let reopened = AtomicU64::new(0);
    let left = scenarios.iter().zip(&hits);
    let left = Mutex::new(left.flat_map(|scenario| WEATHERS.map(|weather| (scenario, weather))));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((((faults, when), hits), weather)) = next() {
                    let label = Label(format!("{faults:?} {when:?}, sink {weather:?}"));
                    let told = scenario(|story, drainer| {
                        story.suffer(drainer, faults, *when, weather);
                    });
                    hits.fetch_add(told.hits, Ordering::Relaxed);
                    reopened.fetch_add(told.reopened, Ordering::Relaxed);
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
    // Of a commit that failed nobody knows what it has done.
    let commits = scenarios
        .iter()
        .any(|(faults, _)| faults.iter().any(|fault| [SYNC, WRITE].contains(fault)));
    assert!(
        !commits || reopened.load(Ordering::Relaxed) > 0,
        "no connection was given up"
    );
}

/// What a scenario has come to.
#[derive(Debug)]
struct Told {
    /// Calls that have failed.
    hits: u64,
    /// How often the database was opened once more.
    reopened: u64,
}

fn scenario(suffer: impl FnOnce(&mut Story, &Drainer<Note>)) -> Told {
    let dir = tempfile::tempdir().unwrap();
    let failing = Faults::new();
    let _watching = vfs::watch(dir.path(), Arc::clone(&failing) as _);
    let mut story = Story {
        next: 0,
        failing,
        remote: Remote::holding(Vec::new()),
    };
    let mut config = quick(&dir.path().join("spill"));
    config.spill_durability = SpillDurability::PowerLoss;
    config.batch_max = 10;
    story.remote.set(Mode::Down);
    // A backlog of an earlier life, so that there is something to be read.
    let drainer = spillring::start(config.clone(), story.remote.sink()).unwrap();
    story.publish(&drainer, 60);
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    let drainer = spillring::start(config, story.remote.sink()).unwrap();
    story.publish(&drainer, 10);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    let opened = story.failing.opened();
    suffer(&mut story, &drainer);
    story.remote.set(Mode::Up);
    until_delivered(&drainer);
    // What comes now is as if nothing had been.
    story.publish(&drainer, 10);
    until_delivered(&drainer);
    eventually("it is live again", || drainer.stats().state == State::Live);
    let stats = end(drainer, story.next as u64 - 60);
    assert_eq!(
        stats.discarded.total() + stats.dead_lettered,
        0,
        "{stats:#?}"
    );
    assert_told(&story.remote.stored());
    let stored = story.remote.texts();
    let published: Vec<_> = (0..story.next).map(text).collect();
    assert!(
        stored == published,
        "{} of {}",
        stored.len(),
        published.len()
    );
    Told {
        hits: story.failing.hits(),
        reopened: story.failing.opened() - opened,
    }
}

struct Story {
    next: usize,
    failing: Arc<Faults>,
    remote: Remote,
}

impl Story {
    fn publish(&mut self, drainer: &Drainer<Note>, count: usize) {
        for _ in 0..count {
            let note = Note::new(text(self.next));
            drainer
                .publisher()
                .try_publish(note)
                .expect("room in the ring");
            self.next += 1;
        }
    }

    /// Publishes all the while; what is flushed meanwhile may have to wait for the fault to be gone.
    fn suffer(&mut self, drainer: &Drainer<Note>, faults: &[Fault], when: When, weather: Weather) {
        for &fault in faults {
            match when {
                When::After(after) => self.failing.once(fault, after),
                When::Stretch => self.failing.always(fault),
            }
        }
        let begun = Instant::now();
        let mut round = 0;
        while begun.elapsed() < STRETCH {
            self.remote.set(match weather {
                Weather::Up => Mode::Up,
                Weather::Down => Mode::Down,
                Weather::Flapping => [Mode::Down, Mode::Prefixes(3), Mode::Up][round % 3],
            });
            self.publish(drainer, 5);
            drainer
                .publisher()
                .flush()
                .wait(Duration::from_millis(10))
                .ok();
            round += 1;
        }
        self.failing.none();
        drainer.publisher().flush().wait(LIMIT).unwrap();
    }
}

/// Long enough that a few dozen do not fit into one page.
fn text(number: usize) -> String {
    name(number) + &"x".repeat(2_000)
}

const fn fault(file: FileKind, act: ActKind, code: i32) -> Fault {
    Fault { file, act, code }
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
