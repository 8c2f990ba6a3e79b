//! Directories of the first versions of spillring, which kept one database in `db/` and a file `mark` beside it.
//!
//! The database is read in place, as the first segment, and deleted once it is delivered. Its runs, dead letters and
//! imports are copied into the index once. One that was set aside, with rows still to be carried over, comes before it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension};

use crate::error::SpillError;
use crate::event::{Key, PublisherId};
use crate::host::log;

use super::files::remove;
use super::index::Index;
use super::row::uint;
use super::schema::{self, database_error};
use super::tally::Tally;
use super::watermark::Level;
use super::{runs, salvage};

const MARK: &str = "mark";
/// Room for a full disk, which is no longer needed.
const RESERVE: &str = "reserve";

/// Copies what belongs into the index, once for each database.
pub(super) fn copy_to_index(index: &mut Index, databases: &[PathBuf], now: Instant) {
    for file in databases {
        if let Err(error) = copy_one(index, file, now) {
            log::error!(%error, file = %file.display(), "a spill of an earlier version is not adopted yet; it is read all the same");
        }
    }
}

/// Idempotent: a second call, also after a kill, changes nothing.
pub(super) fn copy_one(index: &mut Index, file: &Path, now: Instant) -> Result<(), SpillError> {
    // Only the name: the directory may be moved.
    let folder = file.parent().and_then(Path::file_name);
    let source = folder.unwrap_or_default().to_string_lossy().into_owned();
    let old = schema::open_to_read(file).map_err(database_error("adopt"))?;
    let known = index.read(|conn| {
        let sql = "SELECT 1 FROM adopted WHERE source = ?1";
        conn.query_row(sql, [&source], |_| Ok(())).optional()
    });
    if known?.is_some() {
        return Ok(());
    }
    for known in runs::read_all(&old, index.publisher).0 {
        let local = known.run.local;
        index.runs.load(known);
        index.runs.unsaved.insert(local);
    }
    let expected = meta(&old, "dead_letters").unwrap_or(0);
    let before = index.dead_letters.entries;
    index.change_dead_letters("adopt a spill into", now, |conn| {
        salvage::dead_letters(&old, conn)?;
        salvage::imported(&old, conn)?;
        conn.execute("INSERT INTO adopted (source) VALUES (?1)", [&source])
    })?;
    let lost = (before + expected).saturating_sub(index.dead_letters.entries);
    if lost > 0 {
        log::error!(lost, kept = %file.display(), "dead letters of an earlier version cannot be read");
    }
    Ok(())
}

/// The runs of databases that are not adopted yet, for a disk that takes nothing.
pub(super) fn runs_of(file: &Path, publisher: PublisherId) -> Vec<runs::RunState> {
    schema::open_to_read(file)
        .map_or_else(|_| Vec::new(), |conn| runs::read_all(&conn, publisher).0)
}

/// What the watermark would say of an earlier version's spill.
pub(super) fn level(dir: &Path, databases: &[PathBuf]) -> Option<Level> {
    let mark = read_mark(&dir.join(MARK));
    let (first, rest) = databases.split_first()?;
    let conn = schema::open_to_read(first).ok();
    let found = conn.as_ref().and_then(|conn| summarise(conn).ok());
    let (commits, level) = match (mark, found) {
        (Some(mark), Some(found)) if rest.is_empty() && mark.0 <= found.0 => found,
        (Some((commits, mut mark)), found) => {
            // The mark knows more: what is missing is found by reading.
            mark.backlog.bytes = found.map_or(0, |(_, level)| level.backlog.bytes);
            (commits, mark)
        }
        (None, Some(found)) => found,
        (None, None) => return None,
    };
    log::info!(
        commits,
        entries = level.backlog.entries,
        "the spill of an earlier version is taken over"
    );
    Some(level)
}

/// Removes what is no longer of use.
pub(super) fn clean(dir: &Path) {
    for name in [MARK, RESERVE] {
        if let Err(error) = remove(&dir.join(name)) {
            log::debug!(%error, name, "a file of an earlier version cannot be removed");
        }
    }
}

fn summarise(conn: &Connection) -> rusqlite::Result<(u64, Level)> {
    let key = |sql: &str| -> rusqlite::Result<Option<Key>> {
        let found = conn.query_row(sql, (), |row| row.get(0)).optional()?;
        Ok(found.and_then(Key::from_row))
    };
    let first = key("SELECT key FROM rows ORDER BY key LIMIT 1")?;
    let newest = key("SELECT key FROM rows WHERE kind = 0 ORDER BY key DESC LIMIT 1")?;
    let level = Level {
        delivered: first.or(newest).map_or(Key::default(), Key::before),
        newest: newest.unwrap_or_default(),
        backlog: Tally {
            entries: meta(conn, "entries")?,
            bytes: meta(conn, "bytes")?,
        },
        dead_letters: meta(conn, "dead_letters")?,
        ..Level::default()
    };
    Ok((meta(conn, "commits").unwrap_or(0), level))
}

fn meta(conn: &Connection, name: &str) -> rusqlite::Result<u64> {
    conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
        row.get(0).map(uint)
    })
}

/// The newer of the two slots of 48 bytes at 0 and 512: magic, commits, entries, everything up to here had left, newest
/// entry, CRC-32; little-endian. Also returns how many commits there were.
fn read_mark(path: &Path) -> Option<(u64, Level)> {
    let file = File::open(path).ok()?;
    let slots = [0, 512].into_iter().filter_map(|offset| {
        let mut slot = [0; 48];
        file.read_exact_at(&mut slot, offset).ok()?;
        let number = |at: usize| Some(u64::from_le_bytes(slot[at..at + 8].try_into().ok()?));
        let crc = u32::from_le_bytes(slot[40..44].try_into().ok()?);
        let sound = slot.starts_with(b"spillmrk") && crc == crc32fast::hash(&slot[..40]);
        let level = Level {
            delivered: Key::from_number(number(24)?),
            newest: Key::from_number(number(32)?),
            backlog: Tally {
                entries: number(16)?,
                bytes: 0,
            },
            ..Level::default()
        };
        sound.then_some((number(8)?, level))
    });
    slots.max_by_key(|(commits, _)| *commits)
}
