//! A publisher is killed with SIGKILL inside a call that `SQLite` makes for its spill, before it or with half of a
//! write done: while it makes a segment, appends, commits, checkpoints, seals or writes to the index, or when it has
//! just unlinked a segment. After each kill, and so again after every later one, whatever had been flushed, as a
//! journal of the publisher says, comes out once and in order; of the rest, only the newest may be missing.
//!
//! The process to be killed is this test binary, started again with a variable that says where it works. It works on a
//! file system of a disk; what each kill has left is delivered from a copy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stdout, reason = "said by the test itself")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_tests::{Killer, Landing, SPILL_BYTES_MAX, vfs};
use spillring::Config;
use spillring::config::SpillDurability;

use test_support::bench::{
    LIMIT, Note, assert_announced, copy_folder, end, name, quick, until_delivered,
};
use test_support::sinks::{Mode, Remote};

const WHERE: &str = "CRASH_TESTS_DIR";
/// A number of [`Landing::ALL`], or nothing, and at which call.
const LANDING: &str = "CRASH_TESTS_LANDING";
const AT: &str = "CRASH_TESTS_AT";
const SEED: &str = "CRASH_TESTS_SEED";

/// Publishers that are killed again and again, each on a directory of its own.
const DIRS: u64 = 8;
/// How often each.
const KILLS: u64 = 24;
/// The call that a kill without a landing comes at is below this.
const CALLS_MAX: u64 = 250;

const SIGKILL: i32 = 9;

#[test]
fn what_was_flushed_before_a_kill_inside_a_call_comes_out_once_and_in_order() {
    let landed: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..DIRS)
            .map(|seed| scope.spawn(move || kill_again_and_again(seed)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut counts = BTreeMap::new();
    for number in landed.iter().flatten() {
        *counts.entry(Landing::ALL[*number]).or_insert(0) += 1;
    }
    println!("{} kills landed: {counts:?}", DIRS * KILLS);
    for landing in Landing::ALL {
        let count = counts.get(&landing).copied().unwrap_or(0);
        assert!(count >= 5, "{landing:?}: {count}");
    }
}

/// Answers where the kills have landed.
fn kill_again_and_again(seed: u64) -> Vec<usize> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    for kill in 0..KILLS {
        let (landing, at) = plan(seed, kill, &mut random);
        let killed_before = Journal::read(dir.path()).landed.len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(WHERE, dir.path())
            .env(
                LANDING,
                landing.map_or(String::new(), |number| number.to_string()),
            )
            .env(AT, at.to_string())
            .env(SEED, (seed * KILLS + kill).to_string())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let status = child.wait().unwrap();
        let what = format!("directory {seed}, kill {kill}, {landing:?} at {at}");
        let said = fs::read_to_string(dir.path().join("said")).unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "{what}: {said}");
        let journal = Journal::read(dir.path());
        assert_eq!(journal.landed.len(), killed_before + 1, "{what}");
        assert_delivered(dir.path(), &journal, &what);
    }
    Journal::read(dir.path()).landed
}

/// Every other kill comes anywhere, the others by turns at each landing.
fn plan(seed: u64, kill: u64, random: &mut fastrand::Rng) -> (Option<usize>, u64) {
    if kill.is_multiple_of(2) {
        return (None, random.u64(0..CALLS_MAX));
    }
    let number = usize::try_from((kill / 2 + seed * 2) % Landing::ALL.len() as u64).unwrap();
    let at = match Landing::ALL[number] {
        Landing::Made | Landing::Seal | Landing::DeleteLog | Landing::Unlinked => random.u64(0..3),
        Landing::Tables | Landing::SyncSegment | Landing::CommitIndex => random.u64(0..6),
        _ => random.u64(0..20),
    };
    (Some(number), at)
}

/// The parent takes over, on a copy, with a sink that is up.
fn assert_delivered(dir: &Path, journal: &Journal, what: &str) {
    let copy = tempfile::tempdir().unwrap();
    let spill = copy.path().join("spill");
    copy_folder(&dir.join("spill"), &spill);
    fs::copy(dir.join("sink"), copy.path().join("sink")).ok();
    let remote = Remote::in_file(&copy.path().join("sink"));
    let mut config = quick(&spill);
    config.spill_bytes_max = SPILL_BYTES_MAX;
    let drainer = spillring::start(config, remote.sink()).expect(what);
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    let stats = end(drainer, 1);
    let lost = stats.discarded.total() + stats.dead_lettered;
    assert_eq!(lost, 0, "{what}: {stats:#?}, {journal:?}");
    let left = spillring::operate::status(&spill).unwrap();
    assert_eq!(
        (left.damage, left.quarantined),
        (None, Vec::new()),
        "{what}"
    );
    assert_announced(&remote.stored());
    let mut texts = remote.texts();
    assert_eq!(texts.pop().as_deref(), Some("afterwards"), "{what}");
    let mut at = 0;
    for (first, last_flushed) in &journal.runs {
        let expected: Vec<_> = (*first..=*last_flushed).map(text).collect();
        let found = texts.get(at..at + expected.len());
        assert_eq!(found, Some(&*expected), "{what}: flushed by one process");
        at += expected.len();
        // After what was flushed, a prefix of what was published without a flush.
        let mut next = last_flushed + 1;
        while texts.get(at) == Some(&text(next)) {
            (at, next) = (at + 1, next + 1);
        }
    }
    assert_eq!(
        at,
        texts.len(),
        "{what}: something comes twice or out of order"
    );
}

/// What the processes have written down.
#[derive(Debug, Default)]
struct Journal {
    /// Per process: the first number that it published, and the last that it had flushed.
    runs: Vec<(usize, usize)>,
    /// Where each kill has landed, as a number of [`Landing::ALL`].
    landed: Vec<usize>,
}

impl Journal {
    fn read(dir: &Path) -> Self {
        let mut journal = Self::default();
        let text = fs::read_to_string(dir.join("journal")).unwrap_or_default();
        for line in text.lines() {
            let (what, number) = line.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            match what {
                "first" => journal.runs.push((number, number - 1)),
                "flushed" => journal.runs.last_mut().unwrap().1 = number,
                "killed" => journal.landed.push(number),
                other => panic!("{other}"),
            }
        }
        journal
    }

    fn open(dir: &Path) -> File {
        let path = dir.join("journal");
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(path).unwrap()
    }
}

/// Not a test, but the process that is killed: nothing happens without the variable.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(WHERE).map(PathBuf::from) else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<u64>();
    let landing = number(LANDING).ok();
    let landing = landing.map(|number| Landing::ALL[usize::try_from(number).unwrap()]);
    let killer = Killer::new(landing, number(AT).unwrap(), Journal::open(&dir));
    let _watching = vfs::watch(&dir, Arc::new(killer));
    let mut journal = Journal::open(&dir);
    // Numbers go on where no earlier process can have come to.
    let mut next = (Journal::read(&dir).runs.len() + 1) * 1_000_000;
    note(&mut journal, "first", next);
    let mut random = fastrand::Rng::with_seed(number(SEED).unwrap());
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        live(&dir, &mut journal, &mut next, &mut random);
    }
}

/// One life, with a clean end if it comes to that.
fn live(dir: &Path, journal: &mut File, next: &mut usize, random: &mut fastrand::Rng) {
    let remote = Remote::in_file(&dir.join("sink"));
    let drainer = spillring::start(config(&dir.join("spill"), random), remote.sink()).unwrap();
    let publisher = drainer.publisher();
    for _ in 0..random.usize(4..16) {
        let full = drainer.stats().spill_bytes > SPILL_BYTES_MAX / 2;
        remote.set(match random.u8(0..4) {
            _ if full => Mode::Up,
            0 => Mode::Up,
            1 => Mode::Prefixes(random.usize(0..4)),
            2 => Mode::Stalled,
            _ => Mode::Down,
        });
        for _ in 0..random.usize(1..8) {
            publisher
                .publish_timeout(Note::new(text(*next)), LIMIT)
                .unwrap();
            *next += 1;
        }
        publisher.flush().wait(LIMIT).unwrap();
        note(journal, "flushed", *next - 1);
        // Entries that nobody waits for: in the ring, in memory, at the sink, when the kill comes.
        for _ in 0..random.usize(0..8) {
            publisher
                .publish_timeout(Note::new(text(*next)), LIMIT)
                .unwrap();
            *next += 1;
        }
    }
    remote.set(Mode::Up);
    let limit = [Duration::ZERO, LIMIT][random.usize(0..2)];
    drainer.shutdown(limit).wait(LIMIT).unwrap();
    note(journal, "flushed", *next - 1);
}

/// One in five is long, so that segments become full.
fn text(number: usize) -> String {
    let padding = if number.is_multiple_of(5) { 10_000 } else { 0 };
    name(number) + &"x".repeat(padding)
}

fn config(spill: &Path, random: &mut fastrand::Rng) -> Config {
    let mut config = quick(spill);
    config.batch_max = 8;
    config.spill_bytes_max = SPILL_BYTES_MAX;
    if random.bool() {
        config.spill_durability = SpillDurability::PowerLoss;
    }
    config
}

/// One write, so that a kill leaves a whole line or none.
fn note(journal: &mut File, what: &str, number: usize) {
    let line = format!("{what} {number}\n");
    journal.write_all(line.as_bytes()).unwrap();
}
