//! The starts of this publisher: numbered here, identified by something random everywhere else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{Key, Position, PreviousRun, PublisherId, Run, RunEnd, RunId};

use super::database::{Database, Work, database_error, int, uint};
use super::now_ms;

/// The local number of a run takes what the number in the run leaves of a row id.
const LOCAL_MAX: u32 = (1 << 23) - 1;

/// Runs that are kept for a sink that has not been heard of for long.
const RUNS_KEPT: u32 = 64;

/// The runs that this directory knows.
#[derive(Debug)]
pub(super) struct Runs {
    by_local: BTreeMap<u32, Arc<Run>>,
    by_id: HashMap<RunId, u32>,
}

impl Runs {
    pub(super) fn load(conn: &Connection, publisher: PublisherId) -> Result<Self, SpillError> {
        let mut runs = Self {
            by_local: BTreeMap::new(),
            by_id: HashMap::new(),
        };
        for run in read_all(conn, publisher).map_err(database_error("read the runs of"))? {
            runs.insert(Arc::new(run));
        }
        Ok(runs)
    }

    pub(super) fn get(&self, local: u32) -> Option<&Arc<Run>> {
        self.by_local.get(&local)
    }

    pub(super) fn key_of(&self, position: &Position) -> Option<Key> {
        let &local = self.by_id.get(&position.run)?;
        (position.n <= Key::N_MAX).then(|| Key::new(local, position.n))
    }

    /// Adds a run, synced to disk before it returns, and forgets those that nothing refers to any more.
    pub(super) fn begin(
        &mut self,
        database: &mut Database,
        publisher: PublisherId,
    ) -> Result<Arc<Run>, SpillError> {
        let newest = self
            .by_local
            .last_key_value()
            .map_or(0, |(&local, _)| local);
        if newest >= LOCAL_MAX {
            return Err(SpillError::RunsExhausted { runs: newest });
        }
        let local = newest + 1;
        let run = database.transact_synced("begin a run in", |work| {
            let previous = previous_run(work)?;
            let run = Run {
                id: RunId(Uuid::now_v7()),
                publisher,
                local,
                previous: previous.map(|(_, previous)| previous),
            };
            insert(work, &run)?;
            prune(work, local, previous.map(|(local, _)| local))?;
            Ok(run)
        });
        // After a failed commit the row may be there all the same: it is then the run before the next one.
        *self = Self::load(database.connection(), publisher)?;
        let run = Arc::new(run?);
        self.insert(Arc::clone(&run));
        Ok(run)
    }

    fn insert(&mut self, run: Arc<Run>) {
        self.by_id.insert(run.id, run.local);
        self.by_local.insert(run.local, run);
    }
}

/// Says that a run ended clean. Repeating it changes nothing.
pub(super) fn end(work: &Work<'_>, run: &Run, last_n: u64) -> rusqlite::Result<()> {
    work.execute(
        "UPDATE runs SET ended_ms = ?2, last_n = ?3 WHERE local = ?1",
        (run.local, int(now_ms()), int(last_n)),
    )?;
    Ok(())
}

/// The newest run with its id, for whoever only looks.
pub(super) fn newest(conn: &Connection) -> rusqlite::Result<Option<RunId>> {
    conn.query_row(
        "SELECT id FROM runs ORDER BY local DESC LIMIT 1",
        (),
        |row| row.get(0).map(uuid).map(RunId),
    )
    .optional()
}

fn read_all(conn: &Connection, publisher: PublisherId) -> rusqlite::Result<Vec<Run>> {
    conn.prepare("SELECT local, id, previous_id, previous_last FROM runs ORDER BY local")?
        .query_map((), |row| read(row, publisher))?
        .collect()
}

fn read(row: &Row<'_>, publisher: PublisherId) -> rusqlite::Result<Run> {
    let previous: Option<[u8; 16]> = row.get(2)?;
    let last: Option<i64> = row.get(3)?;
    Ok(Run {
        id: RunId(uuid(row.get(1)?)),
        publisher,
        local: row.get(0)?,
        previous: previous.map(|id| as_previous(RunId(uuid(id)), last)),
    })
}

/// The last run that a reader of the stream may have heard of: one that ended clean without a number never existed.
fn previous_run(work: &Work<'_>) -> rusqlite::Result<Option<(u32, PreviousRun)>> {
    work.prepare(
        "SELECT local, id, last_n FROM runs WHERE last_n IS NOT 0 ORDER BY local DESC LIMIT 1",
    )?
    .query_row((), |row| {
        let id = RunId(uuid(row.get(1)?));
        Ok((row.get(0)?, as_previous(id, row.get(2)?)))
    })
    .optional()
}

/// Without a last number it was killed.
fn as_previous(id: RunId, last: Option<i64>) -> PreviousRun {
    PreviousRun {
        id,
        last: last.map(uint),
        end: last.map_or(RunEnd::Killed, |_| RunEnd::Clean),
    }
}

fn insert(work: &Work<'_>, run: &Run) -> rusqlite::Result<()> {
    work.execute(
        "INSERT INTO runs (local, id, previous_id, previous_last, started_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            run.local,
            run.id.0.into_bytes(),
            run.previous.map(|previous| previous.id.0.into_bytes()),
            run.previous.and_then(|previous| previous.last).map(int),
            int(now_ms()),
        ),
    )?;
    Ok(())
}

/// Keeps the last ones, those with rows in the spill, and the one that was last heard of.
fn prune(work: &Work<'_>, newest: u32, previous: Option<u32>) -> rusqlite::Result<()> {
    let oldest_row: Option<i64> = work
        .prepare("SELECT min(key) FROM rows")?
        .query_row((), |row| row.get(0))?;
    let oldest_used = oldest_row
        .and_then(Key::from_row)
        .map_or(newest, Key::local_run);
    let kept_from = newest.saturating_sub(RUNS_KEPT).saturating_add(1);
    work.execute(
        "DELETE FROM runs WHERE local < ?1 AND local IS NOT ?2",
        (kept_from.min(oldest_used), previous),
    )?;
    Ok(())
}

fn uuid(bytes: [u8; 16]) -> Uuid {
    Uuid::from_bytes(bytes)
}
