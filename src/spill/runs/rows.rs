//! Runs as the index and segments have them.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, Row};
use uuid::Uuid;

use super::super::row::{int, uint};
use super::{RunState, as_previous};
use crate::event::{PublisherId, Run, RunEnd, RunId, unix_ms};

/// A last number as databases have it: of a run that was killed, below zero.
fn from_database(last: Option<i64>) -> (Option<u64>, RunEnd) {
    match last {
        None => (None, RunEnd::Killed),
        Some(last) if last < 0 => (Some(uint(-1 - last)), RunEnd::Killed),
        Some(last) => (Some(uint(last)), RunEnd::Clean),
    }
}

fn to_database(last: Option<u64>, end: RunEnd) -> Option<i64> {
    last.map(|last| match end {
        RunEnd::Killed => -1 - int(last),
        RunEnd::Clean => int(last),
    })
}

/// Reads the runs of a segment, of an index, or of a database of the first versions. Those after an error are missing.
pub(in crate::spill) fn read_all(
    conn: &Connection,
    publisher: PublisherId,
) -> (Vec<RunState>, rusqlite::Result<()>) {
    let mut found = Vec::new();
    let outcome = read_into(&mut found, conn, publisher);
    (found, outcome)
}

fn read_into(
    found: &mut Vec<RunState>,
    conn: &Connection,
    publisher: PublisherId,
) -> rusqlite::Result<()> {
    for columns in [
        "opened, heard, last_n, spilled_n",
        "opened, heard, last_n, 0",
        "0, 0, NULL, 0",
    ] {
        let sql = format!(
            "SELECT local, id, previous_id, previous_last, killed_starts, {columns} FROM runs ORDER BY local"
        );
        let mut statement = match conn.prepare(&sql) {
            Err(error) if !is_unreadable(&error) => continue,
            prepared => prepared?,
        };
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            found.extend(read(row, publisher));
        }
        break;
    }
    Ok(())
}

/// The file cannot be read, for the moment or for good: it does not just lack a column or the table.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(
        error.sqlite_error_code(),
        Some(CannotOpen | DatabaseCorrupt | NotADatabase | SystemIoFailure)
    )
}

fn read(row: &Row<'_>, publisher: PublisherId) -> rusqlite::Result<RunState> {
    let previous: Option<[u8; 16]> = row.get(2)?;
    let (last, end) = from_database(row.get(3)?);
    let run = Run {
        id: RunId(Uuid::from_bytes(row.get(1)?)),
        publisher,
        local: row.get(0)?,
        previous: previous.map(|id| as_previous(RunId(Uuid::from_bytes(id)), last, end)),
        killed_starts: uint(row.get(4)?),
    };
    let (last_n, end) = from_database(row.get(7)?);
    Ok(RunState {
        run: Arc::new(run),
        opened: row.get(5)?,
        cursor_seen: row.get(6)?,
        last_n,
        end,
        spilled_n: uint(row.get(8)?),
    })
}

fn previous_last(run: &Run) -> Option<i64> {
    let previous = run.previous?;
    to_database(previous.last, previous.end)
}

/// Writes a run into a segment.
pub(in crate::spill) fn write_to_segment(conn: &Connection, run: &Run) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO runs (local, id, previous_id, previous_last, killed_starts) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?
    .execute((
        run.local,
        run.id.0.into_bytes(),
        run.previous.map(|previous| previous.id.0.into_bytes()),
        previous_last(run),
        int(run.killed_starts),
    ))?;
    Ok(())
}

/// Writes a run as it is into the index, or deletes it there.
pub(in crate::spill) fn save(
    conn: &Connection,
    local: u32,
    known: Option<&RunState>,
) -> rusqlite::Result<()> {
    let Some(RunState {
        run,
        opened,
        cursor_seen,
        last_n,
        end,
        spilled_n,
    }) = known
    else {
        conn.prepare_cached("DELETE FROM runs WHERE local = ?1")?
            .execute([local])?;
        return Ok(());
    };
    conn.prepare_cached(
        "INSERT INTO runs (local, id, previous_id, previous_last, killed_starts, opened, heard, started_ms, \
         ended_ms, last_n, spilled_n) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (local) DO UPDATE SET id = ?2, previous_id = ?3, previous_last = ?4, killed_starts = ?5, \
         opened = ?6, heard = ?7, ended_ms = ?9, last_n = ?10, spilled_n = ?11",
    )?
    .execute((
        run.local,
        run.id.0.into_bytes(),
        run.previous.map(|previous| previous.id.0.into_bytes()),
        previous_last(run),
        int(run.killed_starts),
        opened,
        cursor_seen,
        int(unix_ms()),
        last_n.map(|_| int(unix_ms())),
        to_database(*last_n, *end),
        int(*spilled_n),
    ))?;
    Ok(())
}
