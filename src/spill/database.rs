//! The connection, its transactions, and the totals that go with each of them.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params};
use std::path::Path;

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::Key;

use super::{Totals, runs, schema};

/// The row of `meta` that counts transactions.
const COMMITS: &str = "commits";

/// The database, and what it holds in short.
#[derive(Debug)]
pub(super) struct Database {
    conn: Connection,
    durability: SpillDurability,
    summary: Summary,
    memory: Memory,
}

/// What is asked so often that it is kept in memory, as of the last commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) totals: Totals,
    /// How many transactions there were.
    pub(super) commits: u64,
    /// The first row, of an entry or of losses.
    pub(super) first: Option<Key>,
    /// The oldest entry, and when it was popped.
    pub(super) oldest: Option<(Key, u64)>,
    /// The newest entry.
    pub(super) newest: Option<Key>,
}

/// Whether the summary can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Fresh,
    /// A transaction failed, perhaps after it was committed: only the database knows.
    Doubtful,
}

/// An open transaction; the row statements are its methods.
pub(super) struct Work<'c> {
    conn: &'c Connection,
    /// Changed by the statements, written with the commit.
    pub(super) totals: Totals,
    /// This transaction's number.
    pub(super) commits: u64,
}

impl Database {
    pub(super) fn open(
        file: &Path,
        durability: SpillDurability,
        wal_bytes: u64,
    ) -> Result<Self, SpillError> {
        Self::with(schema::open(file, durability, wal_bytes)?, durability)
    }

    fn with(conn: Connection, durability: SpillDurability) -> Result<Self, SpillError> {
        let summary = read_summary(&conn).map_err(database_error("read"))?;
        runs::check(&conn).map_err(database_error("read the runs of"))?;
        Ok(Self {
            conn,
            durability,
            summary,
            memory: Memory::Fresh,
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Leaves the files as they are: to be closed without another look at them, or to be read from only.
    pub(super) fn give_up(self) -> Connection {
        if let Err(error) = schema::leave_log(&self.conn) {
            tracing::debug!(target: "spillring", %error, "closing the spill database may change its log");
        }
        self.conn
    }

    /// Carries the log into the database, and cuts it to nothing.
    pub(super) fn checkpoint(&self) -> Result<(), SpillError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
            .map_err(database_error("checkpoint"))
    }

    /// Pages in the file that nothing uses.
    pub(super) fn free_pages(&self) -> Result<u64, SpillError> {
        self.conn
            .pragma_query_value(None, "freelist_count", |row| row.get(0).map(uint))
            .map_err(database_error("measure"))
    }

    /// Gives up to so many unused pages back to the file system.
    pub(super) fn shrink(&self, pages: u64) -> Result<(), SpillError> {
        self.vacuum(pages).map_err(database_error("shrink"))?;
        self.checkpoint()
    }

    /// Each step of the statement gives up one page.
    fn vacuum(&self, pages: u64) -> rusqlite::Result<()> {
        let sql = format!("PRAGMA incremental_vacuum({pages})");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query(())?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Does the work in one transaction, totals included.
    ///
    /// After an error nothing of it has happened, or, if the commit itself failed, perhaps all of it: the summary is
    /// read anew, and the caller repeats, which every statement here takes without harm.
    pub(super) fn transact<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        let done = self.attempt(work);
        if done.is_err() {
            self.recover();
        }
        done.map_err(database_error(action))
    }

    /// The same, and it survives a power cut whatever the durability of the rest.
    pub(super) fn transact_synced<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        schema::set_durability(&self.conn, SpillDurability::PowerLoss)
            .map_err(database_error(action))?;
        let done = self.transact(action, work);
        schema::set_durability(&self.conn, self.durability).map_err(database_error(action))?;
        done
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if self.memory == Memory::Doubtful {
            self.refresh()?;
        }
        execute(&self.conn, "BEGIN IMMEDIATE", ())?;
        let before = self.summary.totals;
        let mut transaction = Work {
            conn: &self.conn,
            totals: before,
            commits: self.summary.commits + 1,
        };
        let value = work(&mut transaction)?;
        let Work {
            totals, commits, ..
        } = transaction;
        write_totals(&self.conn, &before, &totals)?;
        write_meta(&self.conn, COMMITS, commits)?;
        let mut summary = Summary {
            totals,
            commits,
            ..Summary::default()
        };
        read_ends(&self.conn, &mut summary)?;
        execute(&self.conn, "COMMIT", ())?;
        self.summary = summary;
        Ok(value)
    }

    /// What this cannot mend now, the next transaction tries again before it begins.
    fn recover(&mut self) {
        self.memory = Memory::Doubtful;
        if let Err(error) = self.refresh() {
            tracing::debug!(target: "spillring", %error, "the spill cannot be read after a failed transaction");
        }
    }

    fn refresh(&mut self) -> rusqlite::Result<()> {
        if !self.conn.is_autocommit() {
            execute(&self.conn, "ROLLBACK", ())?;
        }
        self.summary = read_summary(&self.conn)?;
        self.memory = Memory::Fresh;
        Ok(())
    }
}

impl<'c> Work<'c> {
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        execute(self.conn, sql, params)
    }

    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.conn.prepare_cached(sql)
    }
}

/// Says what was being done to the database.
pub(super) fn database_error(action: &'static str) -> impl FnOnce(rusqlite::Error) -> SpillError {
    move |source| SpillError::Database {
        action,
        source: Box::new(source),
    }
}

/// As `SQLite` keeps integers. Counts and times stay below by far.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// As we keep counts; a negative one is damage, and none.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn execute(conn: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    conn.prepare_cached(sql)?.execute(params)
}

pub(super) fn read_summary(conn: &Connection) -> rusqlite::Result<Summary> {
    let mut summary = Summary::default();
    for (name, value) in fields(&mut summary.totals) {
        *value = read_meta(conn, name)?;
    }
    summary.commits = read_commits(conn)?;
    read_ends(conn, &mut summary)?;
    Ok(summary)
}

/// One statement for each end, because `SQLite` scans for both at once; losses stand between few entries, being
/// coalesced.
fn read_ends(conn: &Connection, summary: &mut Summary) -> rusqlite::Result<()> {
    let first = conn
        .prepare_cached("SELECT key FROM rows ORDER BY key LIMIT 1")?
        .query_row((), |row| row.get(0))
        .optional()?;
    let oldest = conn
        .prepare_cached("SELECT key, popped_ms FROM rows WHERE kind = 0 ORDER BY key LIMIT 1")?
        .query_row((), |row| Ok((row.get(0)?, uint(row.get(1)?))))
        .optional()?;
    let newest = conn
        .prepare_cached("SELECT key FROM rows WHERE kind = 0 ORDER BY key DESC LIMIT 1")?
        .query_row((), |row| row.get(0))
        .optional()?;
    summary.first = first.and_then(Key::from_row);
    summary.oldest = oldest.and_then(|(row, popped_ms)| Some((Key::from_row(row)?, popped_ms)));
    summary.newest = newest.and_then(Key::from_row);
    Ok(())
}

fn write_totals(conn: &Connection, before: &Totals, after: &Totals) -> rusqlite::Result<()> {
    let (mut before, mut after) = (*before, *after);
    for ((name, old), (_, new)) in fields(&mut before).into_iter().zip(fields(&mut after)) {
        if old != new {
            write_meta(conn, name, *new)?;
        }
    }
    Ok(())
}

/// How many transactions a database has seen.
pub(super) fn read_commits(conn: &Connection) -> rusqlite::Result<u64> {
    read_meta(conn, COMMITS)
}

/// How many entries its totals tell of.
pub(super) fn read_entries(conn: &Connection) -> rusqlite::Result<u64> {
    read_meta(conn, "entries")
}

fn read_meta(conn: &Connection, name: &str) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0).map(uint))
}

fn write_meta(conn: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE meta SET value = ?2 WHERE name = ?1";
    execute(conn, sql, (name, int(value)))?;
    Ok(())
}

fn fields(totals: &mut Totals) -> [(&'static str, &mut u64); 5] {
    [
        ("entries", &mut totals.entries),
        ("bytes", &mut totals.bytes),
        ("dead_letters", &mut totals.dead_letters),
        ("dead_letter_bytes", &mut totals.dead_letter_bytes),
        ("losses", &mut totals.losses),
    ]
}
