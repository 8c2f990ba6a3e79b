//! The watermark: how far delivery has come, and how far writing, in a file that is overwritten in place.
//!
//! Delivering deletes nothing from a segment: it moves `delivered`, at once, and the file is synced once a second. So a
//! kill repeats nothing. A power cut may set the watermark back by a second, for sinks that cannot say how far they
//! came. Overwriting needs no room: a full disk drains all the same.
//!
//! `newest` says what the segments must hold. Rows that have vanished from their end, with a deleted log for example,
//! leave no other trace: `SQLite` opens what is left without a word.
//!
//! The file has two slots of 72 bytes, at 0 and 512. Writes alternate between them, so a torn write leaves the other:
//!
//! ```text
//! "spillwm1" | turn | delivered | newest | entries | bytes | dead letters | taken | CRC-32 of all that, u32 | 0 u32
//! ```
//!
//! All numbers are u64 and little-endian, but the checksum and the zero are u32. `entries` and `bytes` are those
//! between `delivered` and `newest`. `taken` is how many were ever taken out of the backlog, as of `entries` and
//! `bytes`: the index may know more, because it is written first.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::error::SpillError;
use crate::event::Key;
use crate::host::log;

use super::directory::WATERMARK;
use super::files::{FileId, io_error, sync_folder};
use super::patience::patiently;
use super::tally::Tally;
use crate::change::Change;

const MAGIC: [u8; 8] = *b"spillwm1";
const SLOT_BYTES: usize = 72;
/// Between two slots: a sector, which a disk writes as one.
const STRIDE: u64 = 512;

/// What the watermark says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// Everything up to here is delivered.
    pub(super) delivered: Key,
    /// The newest entry that was ever written.
    pub(super) newest: Key,
    pub(super) backlog: Tally,
    pub(super) dead_letters: u64,
    /// Entries that were ever taken out: dead letters, evicted and damaged ones.
    pub(super) taken: u64,
}

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct Watermark {
    file: Option<File>,
    turn: u64,
    level: Level,
    state: WriteState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteState {
    Synced,
    /// Survives a kill.
    Written,
    /// Must be written again: the last write or sync failed, or there is no file.
    Failed,
}

impl Watermark {
    /// Makes the file if it is missing. Also returns what it says, if that can be read.
    pub(super) fn open(path: &Path) -> (Self, Option<Level>) {
        let file = open(path)
            .inspect_err(|error| log::error!(%error, "the watermark cannot be opened"))
            .ok();
        // A disk that cannot be written to may still be read.
        let found = match &file {
            Some(file) => read(file),
            None => File::open(path).ok().as_ref().and_then(read),
        };
        if found.is_none() {
            keep_name(path);
        }
        let state = match (&file, found) {
            // A new watermark is written before the first segment: an unreadable one next to a segment was damaged.
            (None, _) | (_, None) => WriteState::Failed,
            // A publisher that was killed may not have synced it.
            (Some(_), Some(_)) => WriteState::Written,
        };
        let (turn, level) = found.unwrap_or_default();
        let watermark = Self {
            file,
            turn,
            level,
            state,
        };
        (watermark, found.map(|(_, level)| level))
    }

    /// One that is written nowhere.
    pub(super) fn nowhere() -> Self {
        Self {
            file: None,
            turn: 0,
            level: Level::default(),
            state: WriteState::Synced,
        }
    }

    /// What a file says, if it can be read.
    pub(super) fn inspect(path: &Path) -> Option<Level> {
        let found = File::open(path).ok().as_ref().and_then(read);
        found.map(|(_, level)| level)
    }

    /// Writes the level if it has changed since the last write. Does not sync.
    pub(super) fn set(&mut self, level: Level) {
        if level == self.level && self.state != WriteState::Failed {
            return;
        }
        self.level = level;
        // The other slot is the newest one until this one is written.
        let turn = self.turn + 1;
        let slot = encode(turn, level);
        let Some(file) = &self.file else {
            self.state = WriteState::Failed;
            return;
        };
        let offset = turn % 2 * STRIDE;
        let change = Change::Write(Path::new(WATERMARK), offset, &slot);
        let written = change.make(|| file.write_all_at(&slot, offset));
        if let (Err(error), true) = (&written, self.state != WriteState::Failed) {
            log::error!(%error, "the watermark cannot be written");
        }
        if written.is_ok() {
            self.turn = turn;
        }
        self.state = written.map_or(WriteState::Failed, |()| WriteState::Written);
    }

    /// Syncs what was written. Returns whether everything that was set survives a power cut now.
    pub(super) fn sync(&mut self) -> bool {
        if self.state == WriteState::Failed {
            self.set(self.level);
        }
        if self.state == WriteState::Written
            && let Some(file) = &self.file
        {
            match Change::Sync(Path::new(WATERMARK)).make(|| file.sync_data()) {
                Ok(()) => self.state = WriteState::Synced,
                Err(error) => {
                    // The kernel may have dropped what it could not write: the next sync writes it again.
                    self.state = WriteState::Failed;
                    log::debug!(%error, "the watermark cannot be synced");
                }
            }
        }
        self.state == WriteState::Synced
    }

    /// Whether the file says what was set last.
    pub(super) fn is_written(&self) -> bool {
        self.state != WriteState::Failed
    }

    /// Goes on in a directory that was made again.
    pub(super) fn reopen(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(open(path)?);
        keep_name(path);
        self.state = WriteState::Failed;
        self.set(self.level);
        Ok(())
    }

    /// Whether the file is no longer where it was.
    pub(super) fn has_left(&self, path: &Path) -> bool {
        let id = self.file.as_ref().map(FileId::of_open);
        id.is_none_or(|id| id.is_ok_and(|id| id.has_left(path)))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    Change::Make(path).make(|| options.open(path))
}

/// Syncing a file that was just made does not keep its name through a power cut.
fn keep_name(path: &Path) {
    if let Some(Err(error)) = path.parent().map(sync_folder) {
        log::debug!(%error, "the name of the watermark may not survive a power cut");
    }
}

/// The newer of the sound slots. A slot that cannot be read for a moment does not count as torn.
fn read(file: &File) -> Option<(u64, Level)> {
    let slots = [0, STRIDE].map(|offset| patiently(|| read_slot(file, offset)));
    let slots = slots.map(|slot| {
        slot.inspect_err(|error| log::error!(%error, "the watermark cannot be read"))
            .ok()?
    });
    slots.into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

/// `None` if it is torn, or was never written.
fn read_slot(file: &File, offset: u64) -> Result<Option<(u64, Level)>, SpillError> {
    let mut slot = [0; SLOT_BYTES];
    match file.read_exact_at(&mut slot, offset) {
        Ok(()) => Ok(decode(&slot)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(io_error("read", Path::new(WATERMARK))(error)),
    }
}

fn encode(turn: u64, level: Level) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC);
    let numbers = [
        turn,
        level.delivered.number(),
        level.newest.number(),
        level.backlog.entries,
        level.backlog.bytes,
        level.dead_letters,
        level.taken,
    ];
    for (at, number) in numbers.into_iter().enumerate() {
        slot[8 + at * 8..16 + at * 8].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc32fast::hash(&slot[..64]);
    slot[64..68].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Level)> {
    let number = |at: usize| {
        let bytes = slot[8 + at * 8..16 + at * 8].try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let turn = number(0)?;
    let level = Level {
        delivered: Key::from_number(number(1)?),
        newest: Key::from_number(number(2)?),
        backlog: Tally {
            entries: number(3)?,
            bytes: number(4)?,
        },
        dead_letters: number(5)?,
        taken: number(6)?,
    };
    (*slot == encode(turn, level)).then_some((turn, level))
}

#[cfg(test)]
mod tests;
