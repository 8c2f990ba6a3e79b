//! Taking over the backlog of Agent Assembly's own event buffer.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use sha2::{Digest, Sha256};

use crate::config::SpillDurability;
use crate::entry::AuditEntry;
use crate::error::ImportError;
use crate::event::Event;
use crate::spill::{Foreign, Spill};

/// How many rows are taken over at once, and at how many bytes it stops.
const PAGE_ROWS: u32 = 1_024;
const PAGE_BYTES: usize = 4 << 20;
/// How many characters of a problem are kept.
const PROBLEM_MAX: usize = 200;
/// How long whoever writes to the buffer just now is waited for.
const BUSY_MAX: Duration = Duration::from_secs(2);

const PAGE: &str = "SELECT id, payload, enqueued_at FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";

/// What [`import`] has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Entries that are in the backlog now.
    pub entries: u64,
    /// Rows that are no entries: [dead letters](crate::DeadLetters) now, with the reason `undecodable`.
    pub dead_letters: u64,
    /// Rows that had been taken over before, and were left in the buffer by a kill, or in a copy of it.
    pub known: u64,
}

/// Takes over the backlog of an event buffer of Agent Assembly (`aa-storage-sqlite-buffer`), in its order, behind the
/// backlog of the spill directory `dir`, which is made if it is missing. The next start delivers it.
///
/// The entries keep their bytes and get numbers in a run of their own. A row that is no entry becomes a dead letter and
/// blocks none behind it. Each page of rows is in the spill, synced, before it is removed from the buffer. The directory
/// remembers the last million rows that it took over, so whenever this is cut off, the next import goes on from there, and
/// nothing is taken over twice, not even from a copy of the buffer. The buffer itself stays, empty, and can be used again.
///
/// The cap of the spill does not count here: what is beyond it drains, and until then
/// [`when_spill_full`](crate::Config::when_spill_full) holds.
///
/// ```no_run
/// let done = spillring::import("/var/lib/agent-assembly/buffer.db", "/var/lib/agent/spill")?;
/// println!("{} entries, {} that are none", done.entries, done.dead_letters);
/// # Ok::<(), spillring::ImportError>(())
/// ```
///
/// # Errors
///
/// [`ImportError::InUse`] while Agent Assembly runs, [`ImportError::NoBuffer`] if it is another file,
/// [`ImportError::Spill`] if the spill cannot be used, for example because a publisher is running in it.
pub fn import(buffer: impl AsRef<Path>, dir: impl AsRef<Path>) -> Result<Imported, ImportError> {
    let Some(mut buffer) = Buffer::open(buffer.as_ref())? else {
        return Ok(Imported::default());
    };
    let mut spill = Spill::open(dir.as_ref(), u64::MAX, SpillDurability::PowerLoss)?;
    while spill.is_salvaging() {
        spill.salvage_step()?;
    }
    take_over(&mut buffer, &mut spill)
}

/// The same at a start, where a buffer that is gone has no backlog.
pub(crate) fn import_if_there(buffer: &Path, spill: &mut Spill) -> Result<(), ImportError> {
    let there = buffer.try_exists().map_err(|error| ImportError::Buffer {
        action: "look for",
        file: buffer.to_owned(),
        source: Box::new(error),
    })?;
    let opened = if there { Buffer::open(buffer)? } else { None };
    let Some(mut opened) = opened else {
        tracing::info!(target: "spillring", buffer = %buffer.display(), "there is no event buffer to import");
        return Ok(());
    };
    let done = take_over(&mut opened, spill)?;
    if done != Imported::default() {
        tracing::info!(
            target: "spillring", buffer = %buffer.display(), entries = done.entries, dead_letters = done.dead_letters,
            known = done.known, "the backlog of an event buffer was imported"
        );
    }
    Ok(())
}

fn take_over(buffer: &mut Buffer, spill: &mut Spill) -> Result<Imported, ImportError> {
    let (mut run, mut last_n, mut after) = (None, 0, i64::MIN);
    let mut all = Imported::default();
    loop {
        let page = buffer.page(after)?;
        let Some(&(last, _)) = page.last() else {
            return Ok(all);
        };
        let rows: Vec<_> = page.into_iter().map(|(_, row)| row).collect();
        let run = match &mut run {
            Some(run) => run,
            none => none.insert(spill.begin_ended_run()?),
        };
        let done = spill.take_over(&rows, run, last_n)?;
        last_n += done.entries + done.dead_letters;
        all.entries += done.entries;
        all.dead_letters += done.dead_letters;
        all.known += done.known;
        buffer.remove_through(last)?;
        after = last;
    }
}

/// The buffer, taken for this process alone.
struct Buffer {
    conn: Connection,
    file: PathBuf,
}

impl Buffer {
    /// None if the file has nothing in it yet.
    fn open(file: &Path) -> Result<Option<Self>, ImportError> {
        let opened = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(file, flags)?;
            conn.busy_timeout(BUSY_MAX)?;
            // Whoever has it open keeps it from being taken: what he sends must not be taken over as well.
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            conn.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            let sql = "SELECT count(*), count(*) FILTER (WHERE type = 'table' AND name = 'events') FROM sqlite_schema";
            let found = conn.query_row(sql, (), |row| <(i64, i64)>::try_from(row))?;
            Ok((conn.is_readonly("main")?, conn, found))
        };
        let file = file.to_owned();
        match opened().map_err(failed("open", &file))? {
            (_, _, (0, _)) => Ok(None),
            (_, _, (_, 0)) => Err(ImportError::NoBuffer { file }),
            // Then it could be taken by nobody, and nothing could be removed from it.
            (true, ..) => Err(ImportError::Buffer {
                action: "write to",
                file,
                source: "it is read-only".into(),
            }),
            (false, conn, _) => Ok(Some(Self { conn, file })),
        }
    }

    /// The oldest rows behind this one, with their ids.
    fn page(&self, after: i64) -> Result<Vec<(i64, Foreign)>, ImportError> {
        let read = || {
            let mut statement = self.conn.prepare_cached(PAGE)?;
            let mut rows = statement.query((after, PAGE_ROWS))?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES
                && let Some(row) = rows.next()?
            {
                let id = row.get(0)?;
                let payload: Cow<'_, [u8]> = match row.get_ref(1)? {
                    ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.into(),
                    ValueRef::Integer(number) => number.to_string().into_bytes().into(),
                    ValueRef::Real(number) => number.to_string().into_bytes().into(),
                    ValueRef::Null => Cow::default(),
                };
                bytes += payload.len();
                page.push((id, foreign(id, &payload, row.get(2).unwrap_or_default())));
            }
            Ok(page)
        };
        read().map_err(failed("read", &self.file))
    }

    fn remove_through(&mut self, id: i64) -> Result<(), ImportError> {
        let sql = "DELETE FROM events WHERE id <= ?1";
        let removed = self.conn.execute(sql, [id]);
        removed
            .map(drop)
            .map_err(failed("remove rows from", &self.file))
    }
}

fn foreign(id: i64, payload: &[u8], enqueued_ns: i64) -> Foreign {
    let mut digest = Sha256::new();
    digest.update(id.to_be_bytes());
    digest.update(enqueued_ns.to_be_bytes());
    digest.update(payload);
    let digest: [u8; 32] = digest.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    let subject = serde_json::from_slice::<AuditEntry>(payload)
        .map(|entry| entry.subject().into_boxed_str())
        .map_err(|error| {
            // It may quote what it has found.
            let why: String = error.to_string().chars().take(PROBLEM_MAX).collect();
            format!("row {id} of the event buffer is no entry: {why}")
        });
    Foreign {
        digest: short,
        popped_ms: u64::try_from(enqueued_ns / 1_000_000).unwrap_or_default(),
        bytes: Bytes::copy_from_slice(payload),
        subject,
    }
}

fn failed(action: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> ImportError {
    let file = file.to_owned();
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ImportError::InUse { file },
        Some(ErrorCode::NotADatabase) => ImportError::NoBuffer { file },
        _ => ImportError::Buffer {
            action,
            file,
            source: Box::new(error),
        },
    }
}
