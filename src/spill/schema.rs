//! What the database looks like, and how `SQLite` is told to keep it.

use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

use crate::config::SpillDurability;
use crate::error::SpillError;

use super::database::database_error;

/// The schema's number, kept in `user_version`.
pub(super) const VERSION: i64 = 2;

/// Bytes of a page. Seventeen entries of 850 bytes fit into one; smaller pages took a tenth to a fifth fewer a second.
pub(super) const PAGE_BYTES: i64 = 16_384;
/// Pages in the WAL, 16 MiB, at which a commit carries them into the database. With fewer the syncs of the database
/// weigh more on a slow disk; with more one commit in many waits longer (60 ms and over for 64 MiB).
const CHECKPOINT_PAGES: i64 = 1_024;
/// What the WAL's file is cut back to once it is empty. Not zero: writing over blocks that a file already has is
/// cheaper to sync than growing it anew.
const WAL_BYTES: i64 = CHECKPOINT_PAGES * PAGE_BYTES * 2;
/// Memory for pages, in KiB, as `SQLite` wants it: negative.
const CACHE: i64 = -8_192;
/// How long one who looks at the database waits for another to recover it, or to tidy it up when leaving.
const LOOKERS_MAX: Duration = Duration::from_secs(1);

/// - `rows`: the backlog. `kind` 0 is an entry; any other is a stretch of `count` losses that begins at `key`, and says
///   their reason. `key` is `local run << 40 | n`. `requeued` is the number that an entry had before it was a dead letter:
///   16 bytes of the run's id, and 8 of the number, big-endian.
/// - `dead_letters`: entries that were given up but kept; they outlive their run's row, hence the run's id.
/// - `runs`: the starts of this publisher; `last_n` is null until one has ended clean; `opened` is 1 once an entry of it
///   may be in the stream, `heard` once the sink's cursor has been seen in it.
/// - `meta`: totals, kept in each transaction, so that nothing is ever counted by scanning.
const TABLES: &str = "
CREATE TABLE rows (
    key INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    count INTEGER NOT NULL,
    popped_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    requeued BLOB,
    subject TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE dead_letters (
    key INTEGER PRIMARY KEY,
    run BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    popped_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    requeued BLOB,
    subject TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
    local INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    previous_id BLOB,
    previous_last INTEGER,
    killed_starts INTEGER NOT NULL,
    opened INTEGER NOT NULL DEFAULT 0,
    heard INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    last_n INTEGER
) STRICT;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('entries', 0), ('bytes', 0), ('dead_letters', 0), ('dead_letter_bytes', 0), ('losses', 0);
";

/// Opens the database, which must exist as a file, and makes its tables if it is empty.
pub(super) fn open(file: &Path, durability: SpillDurability) -> Result<Connection, SpillError> {
    let conn = connect(file)?;
    configure(&conn, durability).map_err(database_error("open"))?;
    if version(&conn)? == 0 {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
        ))
        .map_err(database_error("make"))?;
    }
    Ok(conn)
}

/// Opens the database of somebody who is not running, to look at it. Not exclusively, since others may look as well: two
/// that both want it to themselves would wait for each other.
pub(super) fn open_existing(file: &Path) -> Result<Connection, SpillError> {
    let conn = connect(file)?;
    conn.busy_timeout(LOOKERS_MAX)
        .map_err(database_error("open"))?;
    version(&conn)?;
    Ok(conn)
}

/// How thoroughly a commit is synced.
pub(super) fn set_durability(
    conn: &Connection,
    durability: SpillDurability,
) -> rusqlite::Result<()> {
    let synchronous = match durability {
        SpillDurability::PowerLoss => "FULL",
        SpillDurability::ProcessCrash => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)
}

fn connect(file: &Path) -> Result<Connection, SpillError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).map_err(database_error("open"))
}

fn version(conn: &Connection) -> Result<i64, SpillError> {
    let found = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(database_error("open"))?;
    if found > VERSION {
        return Err(SpillError::NewerSchema {
            found,
            known: VERSION,
        });
    }
    Ok(found)
}

/// The page size counts only while the file is empty. Exclusive locking comes before the WAL, which then keeps its
/// index on the heap and needs no file for it.
fn configure(conn: &Connection, durability: SpillDurability) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    conn.pragma_update(None, "cache_size", CACHE)?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    set_durability(conn, durability)
}
