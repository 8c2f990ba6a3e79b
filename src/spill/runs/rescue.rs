//! What can be had of the runs of a database that is damaged.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{LOCAL_MAX, uuid};
use crate::event::{RunId, unix_ms};
use crate::spill::database::{Work, int};

/// Removes what damage has left that is no run.
pub(in crate::spill) fn remove_unfit(work: &Work<'_>) -> rusqlite::Result<()> {
    work.execute(
        "DELETE FROM runs WHERE local NOT BETWEEN 1 AND ?1 OR octet_length(id) <> 16 \
         OR octet_length(previous_id) <> 16",
        [LOCAL_MAX],
    )?;
    Ok(())
}

/// The local numbers of all runs.
pub(in crate::spill) fn known(work: &Work<'_>) -> rusqlite::Result<HashSet<u32>> {
    work.prepare("SELECT local FROM runs")?
        .query_map((), |row| row.get(0))?
        .collect()
}

/// Copies the ids of runs so far as they are not there yet: rows mean nothing without them. Whether the stream has heard
/// of these runs is no longer known: it may have.
pub(in crate::spill) fn copy_ids(work: &Work<'_>, source: &Connection) -> rusqlite::Result<()> {
    for (local, id) in ids(source) {
        work.execute(
            "INSERT INTO runs (local, id, killed_starts, opened, started_ms) VALUES (?1, ?2, 0, 1, ?3) \
             ON CONFLICT DO NOTHING",
            (local, id.0.into_bytes(), int(unix_ms())),
        )?;
    }
    Ok(())
}

/// Numbers and ids of the runs, which stand in the index as well as in the table, as far as they can be read there.
pub(super) fn ids(conn: &Connection) -> Vec<(u32, RunId)> {
    let read = || -> rusqlite::Result<Vec<_>> {
        let sql = "SELECT local, id FROM runs INDEXED BY sqlite_autoindex_runs_1";
        let mut statement = conn.prepare(sql)?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, RunId(uuid(row.get(1)?)))))?;
        Ok(rows.filter_map(Result::ok).collect())
    };
    read().unwrap_or_default()
}
