//! A publisher on a temporary directory with a sink that is told what to do, and what every scenario asserts.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spillring::config::SpillDurability;
use spillring::durable::{Pack, Packer, Unpacker};
use spillring::error::{SpillError, StartError};
use spillring::event::{EncodeError, LossReason, RunEnd};
use spillring::{Config, Drainer, Durable, Event, Publisher, State, Stats};
use tempfile::TempDir;

use super::law::assert_law;
use super::sinks::{Cursor, Mode, Remote, Stored};

/// How long anything may take before a test gives up on it. Never how long something takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a condition, with a limit.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An entry: its text is what is stored.
#[derive(Debug, Clone)]
pub struct Note {
    pub text: String,
    pub flaw: Flaw,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    #[default]
    None,
    Fails,
    /// Its error panics when it is looked at.
    FailsAndPanics,
    Panics,
    /// Panics with a payload that panics when it is dropped.
    PanicsWithBomb,
    PanicsAtSubject,
    PanicsWhenDropped,
    /// The same with a payload that panics when it is dropped.
    BombsWhenDropped,
    /// Takes a millisecond.
    Slow,
}

/// What a panic may carry: it panics once more when it is dropped.
#[derive(Debug)]
pub struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as the test wants it");
    }
}

#[derive(Debug)]
struct Unspeakable;

impl std::error::Error for Unspeakable {}

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("as the test wants it");
    }
}

impl Note {
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            flaw: Flaw::None,
        }
    }

    pub fn flawed(flaw: Flaw) -> Self {
        let text = "never seen".to_owned();
        Self { text, flaw }
    }
}

impl Event for Note {
    fn subject(&self) -> String {
        assert!(self.flaw != Flaw::PanicsAtSubject, "as the test wants it");
        "tenant.agent".to_owned()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self.text.as_bytes());
        match self.flaw {
            Flaw::Fails => Err(EncodeError("as the test wants it".into())),
            Flaw::FailsAndPanics => Err(EncodeError(Box::new(Unspeakable))),
            Flaw::Panics => panic!("as the test wants it"),
            Flaw::PanicsWithBomb => std::panic::panic_any(Bomb),
            Flaw::Slow => {
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            }
            Flaw::None
            | Flaw::PanicsAtSubject
            | Flaw::PanicsWhenDropped
            | Flaw::BombsWhenDropped => Ok(()),
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

impl Pack for Note {
    fn packed_words(&self) -> usize {
        Packer::words_of(self.text.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        assert!(!self.text.is_empty(), "as the test wants it");
        out.put_bytes(self.text.as_bytes());
    }
}

impl Durable for Note {
    const FORMAT: u32 = 2;

    fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        (format == 2).then_some(())?;
        from.str().map(Self::new)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.flaw == Flaw::BombsWhenDropped {
            std::panic::panic_any(Bomb);
        }
        assert!(self.flaw != Flaw::PanicsWhenDropped, "as the test wants it");
    }
}

/// Where a scenario takes place.
#[derive(Debug)]
pub struct Bench {
    pub dir: TempDir,
    pub remote: Remote,
    pub config: Config,
}

impl Bench {
    /// Small and quick: rings, batches and waits are far below the defaults.
    pub fn new() -> Self {
        Self::with_cursor(Cursor::Kept)
    }

    pub fn with_cursor(cursor: Cursor) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            config: quick(&dir.path().join("spill")),
            remote: Remote::in_memory(cursor),
            dir,
        }
    }

    pub fn down() -> Self {
        let bench = Self::new();
        bench.remote.set(Mode::Down);
        bench
    }

    /// Starts once the directory is free: on a busy machine, an end leaves the spill's thread to its last order.
    pub fn start(&self) -> Drainer<Note> {
        let mut started = None;
        eventually("the directory is free", || {
            match spillring::start(self.config.clone(), self.remote.sink()) {
                Err(StartError::Spill(SpillError::InUse { .. })) => false,
                other => {
                    started = Some(other.unwrap());
                    true
                }
            }
        });
        started.unwrap()
    }

    pub fn spill(&self) -> PathBuf {
        self.config.spill_dir.clone()
    }

    /// Kills a run, as far as the next start can see: that one finds a copy of the files as they are now.
    pub fn kill(&mut self, drainer: Drainer<Note>) {
        // Its first word is out, and the next comes a second later: no file vanishes while it is copied.
        let said = |dir: &Path| dir.join("status.json");
        eventually("its first word", || said(&self.spill()).exists());
        let killed = fs::read_dir(self.dir.path()).unwrap().count();
        let copy = self.dir.path().join(format!("after kill {killed}"));
        copy_folder(&self.spill(), &copy);
        if let Err(error) = fs::remove_file(said(&copy)) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
        self.config.spill_dir = copy;
    }
}

/// The settings of [`Bench`].
pub fn quick(spill: &Path) -> Config {
    let mut config = Config::new(spill);
    config.ring_capacity = 4_096;
    config.batch_max = 100;
    config.pending_max = Duration::from_millis(50);
    config.poll_max = Duration::from_millis(1);
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(20);
    config.spill_durability = SpillDurability::ProcessCrash;
    config
}

pub fn publish(publisher: &Publisher<Note>, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        publisher.publish(Note::new(name(number)));
    }
}

/// Publishes from this number on, until entries are refused and will be: once the spill is full, nothing leaves the
/// ring any more. Answers the next number.
pub fn publish_until_refused(
    drainer: &Drainer<Note>,
    mut next: usize,
    text: fn(usize) -> String,
) -> usize {
    let publisher = drainer.publisher();
    eventually("the ring refuses", || {
        let full = drainer.stats().state == State::SpillFull;
        while publisher.try_publish(Note::new(text(next))).is_ok() {
            next += 1;
        }
        full
    });
    next
}

/// The text of the entry with this number.
pub fn name(number: usize) -> String {
    format!("entry {number} né")
}

pub fn names(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(name).collect()
}

/// Waits until nothing is under way but in the spill.
#[track_caller]
pub fn until_spilled(drainer: &Drainer<Note>) {
    eventually("all is on disk", || {
        let stats = drainer.stats();
        stats.in_ring + stats.in_memory == 0 && stats.accounted() == stats.entered()
    });
}

/// Waits until all that was accepted has come to its end.
#[track_caller]
pub fn until_delivered(drainer: &Drainer<Note>) {
    let delivered = || {
        let stats = drainer.stats();
        stats.in_ring + stats.in_memory + stats.spilled == 0 && stats.accounted() == stats.entered()
    };
    let start = Instant::now();
    while !delivered() {
        let stats = drainer.stats();
        assert!(start.elapsed() < LIMIT, "not delivered: {stats:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends the run with all the time it may need, and asserts the law.
#[track_caller]
pub fn end(drainer: Drainer<Note>, attempted: u64) -> Stats {
    end_within(drainer, LIMIT, attempted)
}

#[track_caller]
pub fn end_within(drainer: Drainer<Note>, limit: Duration, attempted: u64) -> Stats {
    let stats = drainer.shutdown(limit).wait(limit + LIMIT).unwrap();
    assert_law(&stats, attempted);
    stats
}

/// What a reader of the stream asserts: each number is the previous one plus the announced losses plus one; each run
/// is opened once, by its first record, names its publisher and the run before, and how that ended.
#[track_caller]
pub fn assert_announced(stored: &[Stored]) {
    let mut runs = HashSet::new();
    let mut last: Option<&Stored> = None;
    for record in stored {
        let before = last.filter(|last| last.run == record.run);
        let expected = before.map_or(0, |last| last.n) + 1 + record.lost();
        assert_eq!(record.n, expected, "a jump at {record:#?} after {last:#?}");
        assert_eq!(record.opens.is_some(), before.is_none(), "{record:#?}");
        if let Some(opening) = &record.opens {
            assert!(runs.insert(record.run), "a run comes back: {record:#?}");
            assert_chain(opening.previous, last);
        }
        last = Some(record);
    }
}

/// A clean end tells a number, and it is not below the last one seen.
#[track_caller]
fn assert_chain(
    previous: Option<(spillring::event::RunId, Option<u64>, RunEnd)>,
    last: Option<&Stored>,
) {
    let Some((id, n, end)) = previous else {
        return assert!(last.is_none(), "no run before, but records of one");
    };
    assert!(n.is_some() || end != RunEnd::Clean);
    if let (Some(n), Some(last)) = (n, last.filter(|last| last.run == id)) {
        assert!(last.n <= n, "the run ended at {n}, before {last:#?}");
    }
}

/// All losses that records tell, by reason.
pub fn announced(stored: &[Stored], reason: LossReason) -> u64 {
    let losses = stored.iter().flat_map(|stored| &stored.losses);
    losses
        .filter(|&&(_, of)| of == reason)
        .map(|&(count, _)| count)
        .sum()
}

/// What is on disk now, as if the process were killed: the files are copied, and delivered from the copy to a sink
/// that has what this one has.
pub fn after_a_kill(bench: &Bench) -> Vec<Stored> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("spill");
    copy_folder(&bench.spill(), &copy);
    let journal = dir.path().join("journal");
    let lines: String = bench
        .remote
        .stored()
        .iter()
        .map(|row| serde_json::to_string(row).unwrap() + "\n")
        .collect();
    fs::write(&journal, lines).unwrap();
    let remote = Remote::in_file(&journal);
    let drainer = spillring::start::<Note>(quick(&copy), remote.sink()).unwrap();
    until_delivered(&drainer);
    end(drainer, 0);
    remote.stored()
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), target) {
            // A running publisher renames a new status.json into place meanwhile.
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }
}
