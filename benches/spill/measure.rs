//! What is published, and what is looked at from outside: files, memory, medians.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spillring::{EncodeError, Event, Publisher};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(10);

/// An entry of 300 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Note([u8; 300]);

impl Note {
    pub(crate) fn new(n: u64) -> Self {
        let mut bytes = [b'.'; 300];
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

/// Publishes them, waits until they are on disk or delivered, and answers the rate.
pub(crate) fn publish<E: Event>(
    publisher: &Publisher<E>,
    entries: impl ExactSizeIterator<Item = E>,
) -> f64 {
    let count = entries.len();
    let begin = Instant::now();
    for entry in entries {
        publisher.publish_timeout(entry, LIMIT).expect("room");
    }
    publisher.flush().wait(LIMIT).expect("a flush");
    count as f64 / begin.elapsed().as_secs_f64()
}

pub(crate) fn notes(count: u64) -> impl ExactSizeIterator<Item = Note> {
    let count = u32::try_from(count).expect("not that many");
    (0..count).map(|n| Note::new(u64::from(n)))
}

/// So many turns in an order by chance: none always follows the same one, and meets what it has left to the disk.
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

/// The database of a spill directory.
pub(crate) fn database(spill: &Path) -> PathBuf {
    spill.join("db").join("spill.sqlite3")
}

/// Bytes of all files under the directory; one that is just being renamed may be missed.
pub(crate) fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Does the work, and answers the largest size that the WAL of the spill was seen to have meanwhile.
pub(crate) fn watching_wal<T>(spill: &Path, work: impl FnOnce() -> T) -> (T, u64) {
    let wal = database(spill).with_extension("sqlite3-wal");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                largest = largest.max(std::fs::metadata(&wal).map_or(0, |file| file.len()));
                std::thread::sleep(Duration::from_millis(5));
            }
            largest
        });
        let value = work();
        done.store(true, Ordering::Relaxed);
        (value, watcher.join().expect("the watcher"))
    })
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
