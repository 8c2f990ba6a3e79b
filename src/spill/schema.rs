//! What the databases look like, and how `SQLite` keeps them.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::config::SpillDurability;
use crate::error::SpillError;

use super::files::{if_there, io_error, journal_of, log_of};
use crate::change::Change;

/// The number of the schema of segments and index, kept in `user_version`. Up to 3 there was one database.
pub(super) const VERSION: i64 = 4;

/// Bytes of a page. Seventeen entries of 850 bytes fit into one; smaller pages took a tenth to a fifth fewer a second.
const PAGE_BYTES: u64 = 16_384;
/// Pages in the log at which a commit carries them into the database: 16 MiB. With fewer, syncing the database weighs
/// more on a slow disk.
const LOG_PAGES: u64 = 1_024;
/// How long to wait for another process's lock. There should be none, and what fails is tried again.
const BUSY: Duration = Duration::from_millis(100);
/// Memory for pages, in KiB, as `SQLite` wants it: negative.
const CACHE: i64 = -8_192;

/// - `rows`: `kind` 0 is an entry; others cover `count` keys from `key` on: losses by reason, or numbers that are
///   accounted for elsewhere. `key` is `local run << 40 | n`. `requeued` is the number that an entry had before it was
///   a dead letter: 16 bytes of the run's id, and 8 of the number, big-endian.
/// - `runs`: those that the rows belong to, so that a segment can be read without the index.
/// - `imported`: digests of the rows that came from elsewhere.
pub(super) const SEGMENT: &str = "
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
CREATE INDEX requeued ON rows (requeued) WHERE requeued IS NOT NULL;
CREATE TABLE runs (
    local INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    previous_id BLOB,
    previous_last INTEGER,
    killed_starts INTEGER NOT NULL
) STRICT;
CREATE TABLE imported (digest BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// What an encrypted segment has as well: nonce and tag of the entries, whose `bytes` are ciphertext.
pub(super) const ENCRYPTED_SEGMENT: &str = "ALTER TABLE rows ADD COLUMN nonce_tag BLOB;";

/// - `runs`: the starts of this publisher; `last_n` is null until one has ended clean; `opened` is 1 once an entry of
///   it may be in the stream, `spilled_n` is its newest number that was written to a segment, as of the next start;
///   `heard` is 1 once the sink's cursor was seen in it.
/// - `dead_letters`: entries that were taken out but kept; they outlive their run's row, hence the run's id.
///   The table gets a column `nonce_tag` with the first one that is encrypted.
/// - `absent`: numbers that will not be delivered, and the reason as in `rows`.
/// - `imported`: digests of rows that were taken over from elsewhere, and are no longer in a segment.
/// - `adopted`: databases of the first versions whose runs, dead letters and imports are copied.
/// - `level`: everything up to `settled` was delivered when anything was removed last; `taken` entries were ever taken
///   out of the backlog.
pub(super) const INDEX: &str = "
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
    last_n INTEGER,
    spilled_n INTEGER NOT NULL DEFAULT 0
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
CREATE TABLE absent (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    reason INTEGER NOT NULL
) STRICT;
CREATE TABLE imported (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE adopted (source TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE level (
    id INTEGER PRIMARY KEY,
    settled INTEGER NOT NULL,
    taken INTEGER NOT NULL
) STRICT;
";

/// Says what was being done to a database.
pub(super) fn database_error(action: &'static str) -> impl FnOnce(rusqlite::Error) -> SpillError {
    move |source| SpillError::Database {
        action,
        source: Box::new(source),
    }
}

/// Opens a database of ours to write to, and makes it if it is missing or empty.
pub(super) fn open(
    file: &Path,
    tables: &str,
    durability: SpillDurability,
) -> Result<Connection, SpillError> {
    make_file(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(file, flags).and_then(|conn| {
        configure(&conn, durability)?;
        if is_empty(&conn)? {
            conn.execute_batch(&format!(
                "BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;
        }
        Ok(conn)
    });
    let conn = opened.map_err(database_error("open"))?;
    let found = version(&conn)?;
    if found != VERSION {
        return Err(SpillError::Schema {
            found,
            known: VERSION,
        });
    }
    Ok(conn)
}

/// Opens a database that nobody writes to, to read what can be read, and changes nothing: neither is its log carried
/// over, nor a file made or deleted beside it.
///
/// No locks are taken either: the directory's own keeps publishers out, and inspectors do not disturb one another.
/// A log is read into an index on the heap. Without one the database is opened as a file that never changes, because
/// `SQLite` would make a log.
pub(super) fn open_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_log = has_log(file).map_err(|error| unseen(&error))?;
    let conn = if has_log {
        Connection::open_with_flags_and_vfs(file, flags, "unix-none")
    } else {
        Connection::open_with_flags(immutable(file), flags | OpenFlags::SQLITE_OPEN_URI)
    }?;
    leave_log(&conn)?;
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "query_only", "ON")?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    // Looks at the first page, and at what it says the others are.
    let look = || conn.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()));
    look().or_else(|error| {
        // A file that was cut is read as far as it goes.
        conn.pragma_update(None, "writable_schema", "ON")?;
        look().map_err(|_| error)
    })?;
    Ok(conn)
}

pub(super) fn version(conn: &Connection) -> Result<i64, SpillError> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(database_error("open"))
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

/// Carries the log into the database, and cuts it to nothing.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
}

/// A log next to an empty file does not count: `SQLite` would delete it. Nor does one next to a journal: the database
/// was not finished, and `SQLite` would roll it back.
fn has_log(file: &Path) -> io::Result<bool> {
    let filled = |file: &Path| {
        let found = if_there(fs::metadata(file))?;
        Ok::<_, io::Error>(found.is_some_and(|file| file.len() > 0))
    };
    Ok(filled(file)? && filled(&log_of(file))? && !filled(&journal_of(file))?)
}

/// A file that cannot be looked at is neither missing nor empty.
fn unseen(error: &io::Error) -> rusqlite::Error {
    let code = ffi::Error::new(ffi::SQLITE_IOERR_FSTAT);
    rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
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

/// Makes the file with its mode before `SQLite` does, because the log takes its mode from it.
///
/// A file that is there is left alone: closing any other handle to it would drop `SQLite`'s locks.
fn make_file(file: &Path) -> Result<(), SpillError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let made = Change::Make(file).make(|| options.open(file));
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).map_err(io_error("create", file)),
    }
}

/// The statement returns its row before it commits: only its end shows whether the file has a log now.
fn switch_to_log(conn: &Connection) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// `Connection::table_exists` is not in every version of `rusqlite` that may be built with.
pub(super) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    conn.query_row(sql, [name], |row| row.get(0))
}

/// Not every version of spillring had every column, nor has every database those of an encrypted one.
pub(super) fn has_column(conn: &Connection, table: &str, column: &str) -> bool {
    conn.prepare_cached(&format!("SELECT {column} FROM {table}"))
        .is_ok()
}

fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)";
    conn.query_row(sql, (), |row| row.get(0))
}

/// Exclusive locking comes before anything that looks at the file: the log then keeps its index on the heap and needs
/// no file for it. The page size counts only while the file is empty. The log's file keeps its size: writing over
/// blocks that a file already has is cheaper to sync than growing it, and needs no room on a full disk.
fn configure(conn: &Connection, durability: SpillDurability) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    switch_to_log(conn)?;
    conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES.cast_signed())?;
    conn.pragma_update(
        None,
        "journal_size_limit",
        (2 * LOG_PAGES * PAGE_BYTES).cast_signed(),
    )?;
    conn.pragma_update(None, "cache_size", CACHE)?;
    conn.pragma_update(None, "trusted_schema", "OFF")?;
    // On macOS a sync reaches the disk's own cache only, unless asked so. Elsewhere these do nothing.
    conn.pragma_update(None, "fullfsync", "ON")?;
    conn.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    set_durability(conn, durability)
}
