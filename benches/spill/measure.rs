//! What is published, and what is looked at from outside: files, memory, medians.

pub(crate) use crate::support::bench::eventually;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spillring::durable::{Pack, Packer, Unpacker};
use spillring::event::EncodeError;
use spillring::{Durable, Event, Publisher};

use crate::support::bench::LIMIT;

/// An entry of 300 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Note([u8; 300]);

impl Note {
    /// What a note consists of, but for its number.
    pub(crate) const FILLING: u8 = b'.';

    pub(crate) fn new(n: u64) -> Self {
        let mut bytes = [Self::FILLING; 300];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Self(bytes)
    }
}

impl Event for Note {
    fn subject(&self) -> String {
        "default.0191f3c2-0000-7000-8000-000000000000".to_owned()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Pack for Note {
    fn packed_words(&self) -> usize {
        Packer::words_of(self.0.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        out.put_bytes(&self.0);
    }
}

impl Durable for Note {
    const FORMAT: u32 = 1;

    fn unpack(_: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        from.bytes()?.try_into().ok().map(Self)
    }
}

/// Publishes them, waits until they are on disk or delivered, and answers the rate.
pub(crate) fn publish<E: Event>(
    publisher: &Publisher<E>,
    entries: impl ExactSizeIterator<Item = E>,
) -> f64 {
    let count = entries.len();
    let begin = Instant::now();
    publish_all(publisher, entries);
    publisher.flush().wait(LIMIT).expect("a flush");
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Publishes them, waiting for room.
pub(crate) fn publish_all<E: Event>(publisher: &Publisher<E>, entries: impl Iterator<Item = E>) {
    for entry in entries {
        publisher.publish_timeout(entry, LIMIT).expect("room");
    }
}

pub(crate) fn notes(count: u64) -> impl ExactSizeIterator<Item = Note> {
    let count = u32::try_from(count).expect("not that many");
    (0..count).map(|n| Note::new(u64::from(n)))
}

/// This many turns in random order, so that none always follows the same one and inherits its load on the disk.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut turns: Vec<_> = (0..count).collect();
    fastrand::shuffle(&mut turns);
    turns
}

/// The middle of the turns' results.
pub(crate) fn median(results: &[f64]) -> f64 {
    let mut results = results.to_vec();
    results.sort_by(f64::total_cmp);
    results[results.len() / 2]
}

/// All files under the directory, with their sizes. One that is just being renamed may be missed.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(self::files(&entry.path())),
            Ok(metadata) => files.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    files
}

/// Bytes of all files under the directory.
pub(crate) fn size(dir: &Path) -> u64 {
    files(dir).iter().map(|(_, bytes)| bytes).sum()
}

/// The largest database of a spill directory that holds a backlog.
pub(crate) fn largest_database(spill: &Path) -> PathBuf {
    let rows = |file: &Path| {
        file.extension().is_some_and(|end| end == "sqlite3") && !file.ends_with("index.sqlite3")
    };
    let databases = files(spill).into_iter().filter(|(file, _)| rows(file));
    let largest = databases.max_by_key(|(_, bytes)| *bytes);
    largest.expect("a database").0
}

/// Does the work, and answers the largest size that the SQLite logs of the spill were seen to have together.
pub(crate) fn watching_logs<T>(spill: &Path, work: impl FnOnce() -> T) -> (T, u64) {
    let is_log = |file: &Path| file.to_string_lossy().ends_with("-wal");
    let logs = || -> u64 {
        let logs = files(spill).into_iter().filter(|(file, _)| is_log(file));
        logs.map(|(_, bytes)| bytes).sum()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                largest = largest.max(logs());
                std::thread::sleep(Duration::from_millis(5));
            }
            largest
        });
        let value = work();
        done.store(true, Ordering::Relaxed);
        (value, watcher.join().expect("the watcher"))
    })
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Whether the disk that holds the spills has twice the room that these rows need; says so if not.
pub(crate) fn room_for(rows: u64) -> bool {
    let disk = rustix::fs::statvfs(env!("CARGO_TARGET_TMPDIR")).expect("a disk");
    let free = disk.f_bavail * disk.f_frsize;
    let needed = rows * 2 * 400;
    if free < needed {
        println!("skipped: {rows} rows need {needed} bytes of free disk, there are {free}");
    }
    free >= needed
}
