//! What the database looks like, and how `SQLite` is told to keep it.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::SpillDurability;
use crate::error::SpillError;

use super::database::{database_error, int};

/// The schema's number, kept in `user_version`.
pub(super) const VERSION: i64 = 3;

/// Bytes of a page. Seventeen entries of 850 bytes fit into one; smaller pages took a tenth to a fifth fewer a second.
pub(super) const PAGE_BYTES: i64 = 16_384;
/// Bytes in the WAL at which a commit carries them into the database. With fewer the syncs of the database weigh more
/// on a slow disk; with more one commit in many waits longer (60 ms and over for 64 MiB).
pub(super) const WAL_BYTES: u64 = 16 << 20;
/// Memory for pages, in KiB, as `SQLite` wants it: negative.
const CACHE: i64 = -8_192;

/// - `rows`: the backlog. `kind` 0 is an entry; any other is a stretch of `count` losses that begins at `key`, and says
///   their reason. `key` is `local run << 40 | n`. `requeued` is the number that an entry had before it was a dead letter:
///   16 bytes of the run's id, and 8 of the number, big-endian.
/// - `dead_letters`: entries that were given up but kept; they outlive their run's row, hence the run's id.
/// - `runs`: the starts of this publisher; `last_n` is null until one has ended clean; `opened` is 1 once an entry of it
///   may be in the stream, `heard` once the sink's cursor has been seen in it.
/// - `imported`: digests of rows that were taken over from elsewhere; see `imports`.
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
CREATE TABLE imported (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('entries', 0), ('bytes', 0), ('dead_letters', 0), ('dead_letter_bytes', 0), ('losses', 0),
    ('commits', 0);
";

/// Opens the database, which must exist as a file, and makes its tables if it is empty.
pub(super) fn open(
    file: &Path,
    durability: SpillDurability,
    wal_bytes: u64,
) -> Result<Connection, SpillError> {
    let conn = connect(file)?;
    configure(&conn, durability, wal_bytes).map_err(database_error("open"))?;
    if is_empty(&conn)? {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
        ))
        .map_err(database_error("make"))?;
    }
    check_version(&conn)?;
    Ok(conn)
}

/// Opens a database that nobody writes to, to read what can be read, and changes nothing: neither is its log carried over,
/// nor a file made or deleted beside it.
///
/// No locks are taken either: the directory's own keeps publishers out, and several who look do not disturb one another.
/// A log is read into an index on the heap. Without one the database is opened as a file that never changes, because
/// `SQLite` would make a log.
pub(super) fn open_to_read(file: &Path) -> Result<Connection, SpillError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = if has_log(file) {
        Connection::open_with_flags_and_vfs(file, flags, c"unix-none")
    } else {
        Connection::open_with_flags(immutable(file), flags | OpenFlags::SQLITE_OPEN_URI)
    };
    let conn = opened.map_err(database_error("open"))?;
    let configure = || {
        leave_log(&conn)?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.pragma_update(None, "query_only", "ON")?;
        conn.pragma_update(None, "trusted_schema", "OFF")?;
        // Looks at the first page, and at what it says the others are.
        let look = || conn.query_row("SELECT count(*) FROM rows WHERE key < 0", (), |_| Ok(()));
        look().or_else(|error| {
            // A file that was cut is read as far as it goes.
            conn.pragma_update(None, "writable_schema", "ON")?;
            look().map_err(|_| error)
        })
    };
    configure().map_err(database_error("open"))?;
    Ok(conn)
}

/// A log beside an empty file counts for nothing, and `SQLite` would delete it.
fn has_log(file: &Path) -> bool {
    let filled = |file: &Path| fs::metadata(file).is_ok_and(|file| file.len() > 0);
    filled(file) && filled(&log_of(file))
}

/// Where the log of a database lies.
pub(super) fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// As `SQLite` wants such a file named.
fn immutable(file: &Path) -> String {
    let escaped = |&byte: &u8| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let path: String = file.as_os_str().as_bytes().iter().map(escaped).collect();
    format!("file:{path}?immutable=1")
}

/// Closing will neither carry the log into the database nor delete it.
pub(super) fn leave_log(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
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

pub(super) fn is_empty(conn: &Connection) -> Result<bool, SpillError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)";
    conn.query_row(sql, (), |row| row.get(0))
        .map_err(database_error("open"))
}

pub(super) fn check_version(conn: &Connection) -> Result<(), SpillError> {
    let found = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(database_error("open"))?;
    if found == VERSION {
        Ok(())
    } else {
        Err(SpillError::Schema {
            found,
            known: VERSION,
        })
    }
}

/// Exclusive locking comes before anything that looks at the file: the WAL then keeps its index on the heap and needs no
/// file for it. Page size and vacuum count only while the file is empty. The WAL's file may be twice what is carried over at once: writing over
/// blocks that a file already has is cheaper to sync than growing it anew.
fn configure(
    conn: &Connection,
    durability: SpillDurability,
    wal_bytes: u64,
) -> rusqlite::Result<()> {
    let pages = int(wal_bytes) / PAGE_BYTES;
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", pages)?;
    conn.pragma_update(None, "journal_size_limit", pages * PAGE_BYTES * 2)?;
    conn.pragma_update(None, "cache_size", CACHE)?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    set_durability(conn, durability)
}
