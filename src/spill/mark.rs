//! The high-water mark: what the database holds, written down beside it.
//!
//! A write-ahead log that is deleted, cut or damaged takes committed rows along, and `SQLite` opens what is left without
//! a word. So after each commit the mark says, in a file of its own, how many commits there were and what stretch of
//! rows was in the database; it is synced once a second. A database that knows of fewer commits than the mark has lost
//! some.
//!
//! The file has two slots of 48 bytes, at 0 and at 512, which take turns, so that a torn write leaves the other one:
//!
//! ```text
//! "spillmrk" | commits u64 | entries u64 | low u64 | high u64 | CRC-32 of all that u32 | 0 u32     (little-endian)
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::event::Key;

const MAGIC: [u8; 8] = *b"spillmrk";
const SLOT_BYTES: usize = 48;
/// Between two slots: a sector, which a disk writes as one.
const STRIDE: u64 = 512;

/// What the database held as of a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// How many commits there were.
    pub(super) commits: u64,
    /// How many entries the backlog had.
    pub(super) entries: u64,
    /// Everything up to here had left it again.
    pub(super) low: Key,
    /// The newest entry that was ever in it.
    pub(super) high: Key,
}

/// The mark, and what it last said.
#[derive(Debug)]
pub(super) struct Mark {
    file: Option<File>,
    level: Level,
    dirty: bool,
}

impl Mark {
    /// Reads the mark, or makes it. One that cannot be read says nothing.
    pub(super) fn open(path: &Path) -> Self {
        let file = open(path);
        if let Err(error) = &file {
            tracing::warn!(target: "spillring", %error, path = %path.display(), "the spill goes without its high-water mark");
        }
        let file = file.ok();
        Self {
            level: file.as_ref().and_then(read).unwrap_or_default(),
            file,
            dirty: false,
        }
    }

    /// One that is written nowhere.
    pub(super) fn absent() -> Self {
        Self {
            file: None,
            level: Level::default(),
            dirty: false,
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Reads the mark, and makes none. None if there is none that can be read.
    pub(super) fn look(path: &Path) -> Option<Level> {
        File::open(path).ok().as_ref().and_then(read)
    }

    /// Says how things stand after a commit. Not synced.
    pub(super) fn note(&mut self, level: Level) {
        self.level = level;
        self.dirty = true;
        if let Err(error) = self.write() {
            tracing::debug!(target: "spillring", %error, "the high-water mark could not be written");
        }
    }

    /// Syncs what was noted since the last time.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty)
            && let Some(file) = &self.file
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Says the same again, to see whether the disk takes anything.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.write()?;
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Goes on in a directory that was made anew.
    pub(super) fn reopen(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(open(path)?);
        self.dirty = true;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(&encode(self.level), self.level.commits % 2 * STRIDE)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The newer of the two slots that are sound.
fn read(file: &File) -> Option<Level> {
    [0, STRIDE]
        .into_iter()
        .filter_map(|offset| {
            let mut slot = [0; SLOT_BYTES];
            file.read_exact_at(&mut slot, offset).ok()?;
            decode(&slot)
        })
        .max_by_key(|level| level.commits)
}

fn encode(level: Level) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC);
    let numbers = [
        level.commits,
        level.entries,
        level.low.number(),
        level.high.number(),
    ];
    for (at, number) in numbers.into_iter().enumerate() {
        slot[8 + at * 8..16 + at * 8].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc32fast::hash(&slot[..40]);
    slot[40..44].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Level> {
    let number = |at: usize| {
        let bytes = slot[at..at + 8].try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let level = Level {
        commits: number(8)?,
        entries: number(16)?,
        low: Key::from_number(number(24)?),
        high: Key::from_number(number(32)?),
    };
    (*slot == encode(level)).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(commits: u64) -> Level {
        Level {
            commits,
            entries: commits + 1,
            low: Key::new(3, commits),
            high: Key::new(3, 2 * commits),
        }
    }

    #[test]
    fn a_torn_write_leaves_the_mark_before_it() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("mark");
        let mut mark = Mark::open(&path);
        assert_eq!(mark.level(), Level::default());
        for commits in 1..=7 {
            mark.note(level(commits));
        }
        mark.sync()?;
        assert_eq!(Mark::open(&path).level(), level(7));
        for byte in 0..44 {
            let whole = std::fs::read(&path)?;
            let mut torn = whole.clone();
            torn[512 + byte] ^= 1;
            std::fs::write(&path, &torn)?;
            assert_eq!(Mark::open(&path).level(), level(6), "byte {byte}");
            std::fs::write(&path, &whole)?;
        }
        std::fs::write(&path, b"spillmrk")?;
        assert_eq!(Mark::open(&path).level(), Level::default());
        Ok(())
    }
}
