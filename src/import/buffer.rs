//! The event buffer of Agent Assembly: a database that belongs to somebody else.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use sha2::{Digest, Sha256};

use crate::entry::AuditEntry;
use crate::error::ImportError;
use crate::event::{Event, Record};
use crate::spill::Foreign;

/// How many rows are taken at once; a page also ends at a number of bytes.
const PAGE_ROWS: u32 = 1_024;
const PAGE_BYTES: usize = 4 << 20;
/// How much is kept of a row that is larger than any entry may be.
const HEAD_BYTES: u32 = 64 << 10;
/// How many characters of a problem are kept.
const PROBLEM_MAX: usize = 200;
/// How long to wait for a current writer of the buffer.
const BUSY_MAX: Duration = Duration::from_secs(2);

const PAGE: &str = "SELECT id, enqueued_at, octet_length(payload), \
     CASE WHEN octet_length(payload) <= ?3 THEN payload ELSE substr(payload, 1, ?4) END \
     FROM events WHERE id >= ?1 ORDER BY id LIMIT ?2";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The buffer, locked for this process alone.
pub(super) struct Buffer {
    conn: Connection,
    file: PathBuf,
}

/// Some rows of it, in order.
pub(super) struct BufferPage {
    pub(super) rows: Vec<Foreign>,
    first: i64,
    last: i64,
}

impl BufferPage {
    /// Where the next page begins, if there may be one.
    pub(super) fn next(&self) -> Option<i64> {
        self.last.checked_add(1)
    }
}

impl Buffer {
    /// The smallest id of a row.
    pub(super) const FIRST: i64 = i64::MIN;

    /// `None` if the file is still empty.
    pub(super) fn open(file: &Path) -> Result<Option<Self>, ImportError> {
        // Neither "" nor ":memory:" is a file to SQLite.
        let path = std::path::absolute(file).map_err(unusable("open", file))?;
        let len = fs::metadata(&path).map_err(unusable("open", file))?.len();
        if len == 0 && has_log(&path) {
            let why = "it is empty, but there is a log beside it, which would be deleted";
            return Err(damaged(file, why));
        }
        let opened = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(&path, flags)?;
            conn.busy_timeout(BUSY_MAX)?;
            // In WAL mode any other user of it makes the lock fail: entries that it sends must not be imported as
            // well.
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            let sql = "SELECT count(*), count(*) FILTER (WHERE type = 'table' AND name = 'events' COLLATE NOCASE) \
                 FROM sqlite_schema";
            let found = conn.query_row(sql, (), |row| <(i64, i64)>::try_from(row))?;
            Ok((conn, found))
        };
        let (conn, found) = opened().map_err(failed("open", file))?;
        let file = file.to_owned();
        match found {
            (0, _) => Ok(None),
            (_, 0) => Err(ImportError::NoBuffer { file }),
            _ => {
                // A read-only file cannot be locked for one process alone, and no row can be removed from it.
                let removed = conn.execute("DELETE FROM events WHERE 0", ());
                removed.map_err(failed("write to", &file))?;
                Ok(Some(Self { conn, file }))
            }
        }
    }

    /// The oldest rows from this id on, if there are any. Rows before damage are returned first, then the error.
    pub(super) fn page(&self, from: i64) -> Result<Option<BufferPage>, ImportError> {
        let mut page = BufferPage {
            rows: Vec::new(),
            first: from,
            last: from,
        };
        match self.read(&mut page) {
            Err(error) if page.rows.is_empty() => Err(error),
            Ok(()) if page.rows.is_empty() => Ok(None),
            Ok(()) | Err(_) => Ok(Some(page)),
        }
    }

    fn read(&self, page: &mut BufferPage) -> Result<(), ImportError> {
        let failed = || failed("read", &self.file);
        let mut statement = self.conn.prepare_cached(PAGE).map_err(failed())?;
        let whole_max = i64::try_from(Record::BYTES_MAX).unwrap_or(i64::MAX);
        let bounds = (page.first, PAGE_ROWS, whole_max, HEAD_BYTES);
        let mut rows = statement.query(bounds).map_err(failed())?;
        let mut bytes = 0;
        while bytes < PAGE_BYTES
            && let Some(row) = rows.next().map_err(failed())?
        {
            let id = row.get(0).map_err(failed())?;
            if !page.rows.is_empty() && id <= page.last {
                return Err(damaged(&self.file, "its ids do not increase"));
            }
            let row = foreign(id, row).map_err(failed())?;
            bytes += row.bytes.len();
            page.last = id;
            page.rows.push(row);
        }
        Ok(())
    }

    /// Removes the rows of this page, and no others.
    pub(super) fn remove(&self, page: &BufferPage) -> Result<(), ImportError> {
        let failed = || failed("remove rows from", &self.file);
        let work = self.conn.unchecked_transaction().map_err(failed())?;
        let sql = "DELETE FROM events WHERE id BETWEEN ?1 AND ?2";
        let removed = work
            .execute(sql, (page.first, page.last))
            .map_err(failed())?;
        if removed == page.rows.len() {
            work.commit().map_err(failed())
        } else {
            let why = "some rows between readable ones cannot be read";
            Err(damaged(&self.file, why))
        }
    }
}

fn has_log(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

fn foreign(id: i64, row: &Row<'_>) -> rusqlite::Result<Foreign> {
    let enqueued_ns: i64 = row.get(1).unwrap_or_default();
    let len: Option<i64> = row.get(2)?;
    let payload: Cow<'_, [u8]> = match row.get_ref(3)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.into(),
        ValueRef::Integer(number) => number.to_string().into_bytes().into(),
        ValueRef::Real(number) => number.to_string().into_bytes().into(),
        ValueRef::Null => Cow::default(),
    };
    let mut digest = Sha256::new();
    digest.update(id.to_be_bytes());
    digest.update(enqueued_ns.to_be_bytes());
    digest.update(&payload);
    let digest: [u8; 32] = digest.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    let subject = match len.and_then(|len| usize::try_from(len).ok()) {
        Some(len) if len > Record::BYTES_MAX => Err(format!(
            "row {id} of the event buffer has {len} bytes, more than any entry may have: only its first {} are kept",
            payload.len()
        )),
        _ => serde_json::from_slice::<AuditEntry>(&payload)
            .map(|entry| entry.subject().into_boxed_str())
            .map_err(|error| {
                // The message may quote the content.
                let why: String = error.to_string().chars().take(PROBLEM_MAX).collect();
                format!("row {id} of the event buffer is not an entry: {why}")
            }),
    };
    Ok(Foreign {
        digest: short,
        popped_ms: u64::try_from(enqueued_ns / 1_000_000).unwrap_or_default(),
        bytes: Bytes::from(payload.into_owned()),
        subject,
    })
}

fn failed(action: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> ImportError {
    let file = file.to_owned();
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ImportError::InUse { file },
        Some(ErrorCode::NotADatabase) => ImportError::NoBuffer { file },
        Some(ErrorCode::DatabaseCorrupt) => damaged(&file, error),
        _ => unusable(action, &file)(error),
    }
}

/// `action` is a verb.
pub(super) fn unusable<E: Into<Cause>>(
    action: &'static str,
    file: &Path,
) -> impl FnOnce(E) -> ImportError {
    let file = file.to_owned();
    move |error| ImportError::Buffer {
        action,
        file,
        source: error.into(),
    }
}

fn damaged(file: &Path, why: impl Into<Cause>) -> ImportError {
    ImportError::Damaged {
        file: file.to_owned(),
        source: why.into(),
    }
}
