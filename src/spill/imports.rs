//! Taking over the rows of somebody else's buffer: each once, whatever is killed in between, and whichever copy of the
//! buffer it is read from.
//!
//! A row is known by a digest, which is kept from the transaction that takes it over. Whoever then removes it from the
//! buffer may fail to, or be killed before: it is passed over the next time.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::error::SpillError;
use crate::event::{Record, Run};

use super::database::{Work, int};
use super::{Spill, rows, runs};

/// How many rows of earlier imports an import remembers: a buffer holds 100,000 where Agent Assembly makes it. Older ones
/// are forgotten before the first row of an import, so that those it finds to be known are not forgotten meanwhile.
const REMEMBERED_MAX: u64 = 250_000;

/// The reason of a dead letter that is no entry.
pub(super) const UNDECODABLE: &str = "undecodable";

/// A row of the buffer.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// What tells it from any other one.
    pub(crate) digest: [u8; 16],
    pub(crate) popped_ms: u64,
    pub(crate) bytes: Bytes,
    /// Or why it is no entry.
    pub(crate) subject: Result<Box<str>, String>,
}

/// What has come of some rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TakenOver {
    pub(crate) entries: u64,
    pub(crate) dead_letters: u64,
    /// Had been taken over before.
    pub(crate) known: u64,
}

impl Spill {
    /// Appends the rows behind number `last_n` of the run, a run that [counts as ended](Self::begin_ended_run), and
    /// remembers them, in one transaction that survives a power cut. What is no entry becomes a dead letter.
    ///
    /// A database that turns out to be damaged is set aside, and it is tried once more.
    pub(crate) fn take_over(
        &mut self,
        rows: &[Foreign],
        run: &Arc<Run>,
        last_n: u64,
    ) -> Result<TakenOver, SpillError> {
        self.past_damage(|spill| {
            spill.store.append(|database| {
                database.transact_synced("import into", |work| take_over(work, rows, run, last_n))
            })
        })
    }
}

fn take_over(
    work: &mut Work<'_>,
    rows: &[Foreign],
    run: &Arc<Run>,
    last_n: u64,
) -> rusqlite::Result<TakenOver> {
    if last_n == 0 {
        work.forget()?;
    }
    let mut done = TakenOver::default();
    for row in rows {
        if !work.remember(row.digest)? {
            done.known += 1;
            continue;
        }
        let n = last_n + done.entries + done.dead_letters + 1;
        let record = row.record(run, n);
        match &row.subject {
            Ok(_) => {
                // Its number is new: otherwise it would be gone.
                if rows::insert(work, [&record])? == 0 {
                    return Err(rusqlite::Error::StatementChangedRows(0));
                }
                done.entries += 1;
            }
            Err(detail) => {
                work.bury(&record, UNDECODABLE, detail)?;
                done.dead_letters += 1;
            }
        }
    }
    runs::end(work, run, last_n + done.entries + done.dead_letters)?;
    Ok(done)
}

impl Work<'_> {
    /// Says whether it was not known yet.
    fn remember(&self, digest: [u8; 16]) -> rusqlite::Result<bool> {
        let sql = "INSERT INTO imported (digest) VALUES (?1) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, [digest])? > 0)
    }

    fn forget(&self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM imported WHERE id <= (SELECT max(id) FROM imported) - ?1";
        self.execute(sql, [int(REMEMBERED_MAX)])?;
        Ok(())
    }
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
