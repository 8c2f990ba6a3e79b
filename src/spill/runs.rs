//! The starts of this publisher: numbered here, identified by something random everywhere else.

pub(super) mod rescue;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{Key, Position, PreviousRun, PublisherId, Record, Run, RunEnd, RunId, unix_ms};

use super::database::{Database, Work, database_error, int, uint};

/// The local number of a run takes what the number in the run leaves of a row id.
const LOCAL_MAX: u32 = (1 << 23) - 1;

/// Runs that are kept for a sink that has not been heard of for long.
const RUNS_KEPT: u32 = 64;

/// Of the starts before `?1` those are forgotten that were never opened, and those opened ones that are neither among
/// the last `?2 + 1` nor as new as the last in which the sink's cursor was seen.
const PRUNE: &str = "DELETE FROM runs WHERE local < ?1 AND (NOT opened OR local < min( \
     ifnull((SELECT local FROM runs WHERE opened ORDER BY local DESC LIMIT 1 OFFSET ?2), 0), \
     ifnull((SELECT max(local) FROM runs WHERE heard), ?1)))";

const SELECT_ALL: &str =
    "SELECT local, id, previous_id, previous_last, killed_starts FROM runs ORDER BY local";

/// What has been seen of the runs beside their own table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The newest one of which an entry was ever in the backlog.
    pub(super) newest: u32,
    pub(super) rows: Rows,
}

/// Whether the rows of the backlog are all in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    There,
    /// Some have still to be carried over.
    Awaited,
}

/// The runs that this directory knows.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_local: BTreeMap<u32, Arc<Run>>,
    by_id: HashMap<RunId, u32>,
    /// The newest that is noted as opened. Runs open in their order.
    opened: u32,
}

impl Runs {
    pub(super) fn load(conn: &Connection, publisher: PublisherId) -> Result<Self, SpillError> {
        let mut runs = Self {
            by_local: BTreeMap::new(),
            by_id: HashMap::new(),
            opened: newest_opened(conn).map_err(database_error("read the runs of"))?,
        };
        for run in read_all(conn, publisher).map_err(database_error("read the runs of"))? {
            runs.insert(Arc::new(run));
        }
        Ok(runs)
    }

    pub(super) fn of(run: &Arc<Run>) -> Self {
        let mut runs = Self {
            by_local: BTreeMap::new(),
            by_id: HashMap::new(),
            opened: run.local,
        };
        runs.insert(Arc::clone(run));
        runs
    }

    /// What can be read of the runs of databases that may be damaged; the first that knows of one counts.
    pub(super) fn gather<'c>(
        databases: impl Iterator<Item = &'c Connection>,
        publisher: PublisherId,
    ) -> Self {
        let mut runs = Self {
            by_local: BTreeMap::new(),
            by_id: HashMap::new(),
            opened: 0,
        };
        for conn in databases {
            let mut found = Vec::new();
            if let Ok(mut statement) = conn.prepare(SELECT_ALL)
                && let Ok(mut rows) = statement.query(())
            {
                while let Ok(Some(row)) = rows.next() {
                    found.extend(read(row, publisher));
                }
            }
            found.extend(rescue::ids(conn).into_iter().map(|(local, id)| Run {
                id,
                publisher,
                local,
                previous: None,
                killed_starts: 0,
            }));
            for run in found {
                if runs.get(run.local).is_none() {
                    runs.insert(Arc::new(run));
                }
            }
        }
        runs
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<RunId> {
        self.by_local.values().next_back().map(|run| run.id)
    }

    pub(super) fn get(&self, local: u32) -> Option<&Arc<Run>> {
        self.by_local.get(&local)
    }

    pub(super) fn key_of(&self, position: &Position) -> Option<Key> {
        let &local = self.by_id.get(&position.run)?;
        (position.n <= Key::N_MAX).then(|| Key::new(local, position.n))
    }

    /// The local numbers of those before this one.
    pub(super) fn before(&self, local: u32) -> Vec<u32> {
        self.by_local.range(..local).map(|(&run, _)| run).collect()
    }

    /// They are another publisher's from now on.
    pub(super) fn rename(&mut self, publisher: PublisherId) {
        for run in self.by_local.values_mut() {
            *run = Arc::new(Run {
                publisher,
                ..Run::clone(run)
            });
        }
    }

    /// Writes them into a database that was made anew. What the stream has heard of them is no longer known: all may
    /// have been.
    pub(super) fn restore(&self, work: &Work<'_>) -> rusqlite::Result<()> {
        for run in self.by_local.values() {
            if insert(work, run)? {
                open(work, run.local)?;
            }
        }
        Ok(())
    }

    /// Adds a run behind all others, synced to disk before it returns, and forgets those that nothing refers to any more.
    /// One with a last number has ended.
    pub(super) fn begin(
        &mut self,
        database: &mut Database,
        publisher: PublisherId,
        seen: Seen,
        last_n: Option<u64>,
    ) -> Result<Arc<Run>, SpillError> {
        let before = self.by_local.values().next_back();
        let newest = before.map_or(0, |run| run.local).max(seen.newest);
        if newest >= LOCAL_MAX {
            return Err(SpillError::RunsExhausted { runs: newest });
        }
        let local = newest + 1;
        let run = database.transact_synced("begin a run in", |work| {
            let (previous, killed_starts) =
                before.map_or(Ok((None, 0)), |before| follow(work, before, seen))?;
            let run = Run {
                id: RunId(Uuid::now_v7()),
                publisher,
                local,
                previous,
                killed_starts,
            };
            insert(work, &run)?;
            if let Some(last_n) = last_n {
                end(work, &run, last_n)?;
            }
            if seen.rows == Rows::There {
                prune(work, local)?;
            }
            Ok(run)
        });
        // After a failed commit the row may be there all the same: to the next one it is a killed start.
        *self = Self::load(database.connection(), publisher)?;
        let run = Arc::new(run?);
        self.insert(Arc::clone(&run));
        Ok(run)
    }

    /// Whether the runs of these records are noted as opened.
    pub(super) fn are_open(&self, records: &[Record]) -> bool {
        let newest = records.last().map_or(0, |record| record.run.local);
        newest <= self.opened
    }

    /// Notes the runs of these records as opened, synced to disk before it returns.
    pub(super) fn open(
        &mut self,
        database: &mut Database,
        records: &[Record],
    ) -> Result<(), SpillError> {
        let newest = records.last().map_or(0, |record| record.run.local);
        database.transact_synced("open a run in", |work| {
            records
                .chunk_by(|one, next| one.run.local == next.run.local)
                .try_for_each(|records| open(work, records[0].run.local))
        })?;
        self.opened = newest;
        Ok(())
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
        (run.local, int(unix_ms()), int(last_n)),
    )?;
    Ok(())
}

fn open(work: &Work<'_>, local: u32) -> rusqlite::Result<()> {
    work.execute("UPDATE runs SET opened = 1 WHERE local = ?1", [local])?;
    Ok(())
}

/// Notes that the sink's cursor stands in this run.
pub(super) fn hear(work: &Work<'_>, local: u32) -> rusqlite::Result<()> {
    work.execute(
        "UPDATE runs SET opened = 1, heard = 1 WHERE local = ?1 AND NOT heard",
        [local],
    )?;
    Ok(())
}

fn read_all(conn: &Connection, publisher: PublisherId) -> rusqlite::Result<Vec<Run>> {
    conn.prepare(SELECT_ALL)?
        .query_map((), |row| read(row, publisher))?
        .collect()
}

/// Looks whether the runs can be read, and written: there is an index.
pub(super) fn check(conn: &Connection) -> rusqlite::Result<()> {
    read_all(conn, PublisherId(Uuid::nil()))?;
    let sql = "SELECT count(*) FROM runs INDEXED BY sqlite_autoindex_runs_1 WHERE id > x''";
    conn.query_row(sql, (), |_| Ok(()))
}

fn newest_opened(conn: &Connection) -> rusqlite::Result<u32> {
    let sql = "SELECT ifnull(max(local), 0) FROM runs WHERE opened";
    conn.query_row(sql, (), |row| row.get(0))
}

fn read(row: &Row<'_>, publisher: PublisherId) -> rusqlite::Result<Run> {
    let previous: Option<[u8; 16]> = row.get(2)?;
    let last: Option<i64> = row.get(3)?;
    Ok(Run {
        id: RunId(uuid(row.get(1)?)),
        publisher,
        local: row.get(0)?,
        previous: previous.map(|id| as_previous(RunId(uuid(id)), last)),
        killed_starts: uint(row.get(4)?),
    })
}

/// What a run behind this one, the newest, tells: the last that a reader may have heard of, and how many starts since
/// then were killed. A start that ended clean without a number never existed.
fn follow(
    work: &Work<'_>,
    before: &Run,
    seen: Seen,
) -> rusqlite::Result<(Option<PreviousRun>, u64)> {
    let sql = "SELECT last_n, opened OR ifnull(last_n, 0) > 0 OR EXISTS \
         (SELECT 1 FROM rows WHERE key >= ?2 AND kind = 0) FROM runs WHERE local = ?1";
    let first_row = Key::new(before.local, 0).row();
    let (last, told) = work
        .prepare(sql)?
        .query_row((before.local, first_row), |row| {
            <(Option<i64>, bool)>::try_from(row)
        })?;
    // Its rows may have vanished, or not have been carried over yet.
    let told = told || seen.newest >= before.local || seen.rows == Rows::Awaited;
    Ok(if told {
        (Some(as_previous(before.id, last)), 0)
    } else {
        let killed = u64::from(last.is_none());
        (before.previous, before.killed_starts + killed)
    })
}

/// Without a last number it was killed.
fn as_previous(id: RunId, last: Option<i64>) -> PreviousRun {
    PreviousRun {
        id,
        last: last.map(uint),
        end: last.map_or(RunEnd::Killed, |_| RunEnd::Clean),
    }
}

/// Says whether it was not there yet.
fn insert(work: &Work<'_>, run: &Run) -> rusqlite::Result<bool> {
    let changed = work.execute(
        "INSERT INTO runs (local, id, previous_id, previous_last, killed_starts, started_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        (
            run.local,
            run.id.0.into_bytes(),
            run.previous.map(|previous| previous.id.0.into_bytes()),
            run.previous.and_then(|previous| previous.last).map(int),
            int(run.killed_starts),
            int(unix_ms()),
        ),
    )?;
    Ok(changed > 0)
}

/// Keeps the last ones, those with rows in the spill, and those in which the cursor of a sink may stand.
fn prune(work: &Work<'_>, newest: u32) -> rusqlite::Result<()> {
    let oldest_row: Option<i64> = work
        .prepare("SELECT min(key) FROM rows")?
        .query_row((), |row| row.get(0))?;
    let oldest_used = oldest_row
        .and_then(Key::from_row)
        .map_or(newest, Key::local_run);
    let kept_from = newest.saturating_sub(RUNS_KEPT).saturating_add(1);
    work.execute(PRUNE, (kept_from.min(oldest_used), RUNS_KEPT - 1))?;
    Ok(())
}

pub(super) fn uuid(bytes: [u8; 16]) -> Uuid {
    Uuid::from_bytes(bytes)
}
