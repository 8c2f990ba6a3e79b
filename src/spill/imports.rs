//! Imports rows of a buffer of Agent Assembly: each exactly once, across kills and copies of the buffer.
//!
//! A row is known by a digest. That of an entry is written with it, in one transaction of its segment, and moves to the
//! index before the segment is removed; that of a row that is no entry is written to the index with the dead letter.
//! The row is removed from the buffer after that. If that fails, or the process is killed before, the next import
//! passes over the row.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{LossReason, Record, Run, RunEnd};

use super::dead_letters::UNDECODABLE;
use super::row::{int, kind};
use super::schema::database_error;
use super::{Spill, dead_letters};

/// How many rows of earlier imports are remembered: a buffer made by Agent Assembly holds 100,000. Older rows are
/// forgotten before the first row of an import, so that none that it recognises is forgotten meanwhile.
const REMEMBERED_MAX: u64 = 250_000;

/// A row of the buffer.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// What distinguishes it from any other one.
    pub(crate) digest: [u8; 16],
    pub(crate) popped_ms: u64,
    pub(crate) bytes: Bytes,
    /// The subject, or why the row is not an entry.
    pub(crate) subject: Result<Box<str>, String>,
}

/// The result of an [`import`](crate::operate::import()).
///
/// See the example of [`import`](crate::operate::import()).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Entries that are now in the backlog.
    pub entries: u64,
    /// Rows that are not entries: now [dead letters](crate::operate::DeadLetters), with the reason `undecodable`.
    pub dead_letters: u64,
    /// Rows that an earlier import had taken: a kill had left them in the buffer, or the buffer is a copy.
    pub known: u64,
}

impl Spill {
    /// Appends the rows after number `last_n` of the run, a run that [counts as ended](Self::begin_ended_run), and
    /// remembers them; both survive a power cut. What is no entry becomes a dead letter.
    pub(crate) fn take_over(
        &mut self,
        rows: &[Foreign],
        run: &Arc<Run>,
        last_n: u64,
    ) -> Result<Imported, SpillError> {
        if last_n == 0 {
            self.index.transact("import into", self.now, forget)?;
        }
        let known = self.known_digests(rows)?;
        let mut seen = HashSet::new();
        let new = |row: &&Foreign| !known.contains(&row.digest) && seen.insert(row.digest);
        let new: Vec<&Foreign> = rows.iter().filter(new).collect();
        let mut done = Imported {
            known: (rows.len() - new.len()) as u64,
            ..Imported::default()
        };
        let (entries, others): (Vec<&Foreign>, Vec<_>) =
            new.into_iter().partition(|row| row.subject.is_ok());
        done.entries = entries.len() as u64;
        done.dead_letters = others.len() as u64;
        // Entries come first, so their numbers have no gaps even if a kill prevents keeping the others.
        self.append_foreign(&entries, run, last_n)?;
        self.keep_undecodable(&others, run, last_n + done.entries)?;
        Ok(done)
    }

    /// Also notes how far the run has come.
    fn keep_undecodable(
        &mut self,
        others: &[&Foreign],
        run: &Arc<Run>,
        last_n: u64,
    ) -> Result<(), SpillError> {
        let reason = kind(LossReason::DeadLettered);
        let records: Vec<_> = (last_n + 1..)
            .zip(others)
            .map(|(n, row)| (row.record(run, n), *row))
            .collect();
        let last_n = last_n + others.len() as u64;
        for (record, _) in &records {
            self.index.absent.cover(record.key(), 1, reason);
        }
        self.index
            .runs
            .change(run.local, |known| known.end_at(last_n, RunEnd::Clean));
        let cipher = self.cipher.as_ref();
        self.index
            .change_dead_letters("import into", self.now, |conn| {
                for (record, row) in &records {
                    remember(conn, &row.digest)?;
                    let detail = row.subject.as_ref().err().map_or("", String::as_str);
                    dead_letters::keep(conn, record, UNDECODABLE, detail, cipher)?;
                }
                Ok(())
            })
    }

    fn append_foreign(
        &mut self,
        entries: &[&Foreign],
        run: &Arc<Run>,
        last_n: u64,
    ) -> Result<(), SpillError> {
        let records: Vec<_> = (last_n + 1..)
            .zip(entries)
            .map(|(n, row)| row.record(run, n))
            .collect();
        let digests: Vec<_> = entries.iter().map(|row| row.digest).collect();
        self.append_together(&records, &digests).map(drop)
    }

    /// Which of the rows were taken over before.
    fn known_digests(&mut self, rows: &[Foreign]) -> Result<HashSet<[u8; 16]>, SpillError> {
        let wanted = |conn: &Connection| lookup(conn, rows);
        let mut known = self.index.read(wanted)?;
        for segment in self.segments.iter() {
            let found = self.look_into(segment, wanted);
            known.extend(found.map_err(database_error("read"))?);
        }
        Ok(known)
    }
}

fn lookup(conn: &Connection, rows: &[Foreign]) -> rusqlite::Result<HashSet<[u8; 16]>> {
    let mut known = HashSet::new();
    // The first version knew no imports.
    let Ok(mut statement) = conn.prepare_cached("SELECT 1 FROM imported WHERE digest = ?1") else {
        return Ok(known);
    };
    for row in rows {
        if statement.exists([row.digest])? {
            known.insert(row.digest);
        }
    }
    Ok(known)
}

/// The digests that a segment holds.
pub(super) fn digests(conn: &Connection) -> rusqlite::Result<Vec<[u8; 16]>> {
    let mut statement = conn.prepare("SELECT digest FROM imported")?;
    let digests = statement.query_map((), |row| row.get(0))?;
    digests.collect()
}

/// Returns whether it is new.
pub(super) fn remember(conn: &Connection, digest: &[u8; 16]) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO imported (digest) VALUES (?1) ON CONFLICT DO NOTHING";
    Ok(conn.prepare_cached(sql)?.execute([digest])? > 0)
}

fn forget(conn: &Connection) -> rusqlite::Result<()> {
    let sql = "DELETE FROM imported WHERE id <= (SELECT max(id) FROM imported) - ?1";
    conn.execute(sql, [int(REMEMBERED_MAX)])?;
    Ok(())
}

impl Foreign {
    fn record(&self, run: &Arc<Run>, n: u64) -> Record {
        Record {
            run: Arc::clone(run),
            n,
            losses: Vec::new(),
            popped_ms: self.popped_ms,
            requeued: None,
            since: Instant::now(),
            subject: self.subject.as_deref().unwrap_or_default().into(),
            bytes: self.bytes.clone(),
        }
    }
}
