//! Eviction: at the cap the oldest entries make room, and losses take their place.
//!
//! An entry goes only if another of its run stands behind it, which then tells of it as of any loss. So the newest entry
//! of each run stays, no run vanishes from the stream, and the backlog is never emptied. Losses in front of what goes are
//! joined with it just as that entry would tell them: they stay few, however long this goes on.

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Record};

use super::database::{Database, Work, database_error, int, uint};
use super::fold::Fold;
use super::read::{Found, record};
use super::rows::{self, Row};
use super::runs::Runs;
use super::{APPEND_ROWS_MAX, Spill};

/// How many entries one transaction evicts at the most.
const EVICT_ROWS_MAX: u64 = 4 * APPEND_ROWS_MAX as u64;

/// Which entries may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evictable {
    /// Those behind it: the sink may have the others, or memory has.
    pub(crate) after: Option<Key>,
    /// Those before it: memory has the others, and will write them once more.
    pub(crate) before: Option<Key>,
}

/// What has come of evicting since the spill was opened.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    entries: u64,
    passed: Option<Passed>,
}

/// The newest entry that was kept because the next one is of another run. Between where looking began and there is
/// nothing left to evict.
#[derive(Debug, Clone, Copy)]
struct Passed {
    after: Option<Key>,
    kept: Key,
}

/// What is to be evicted, oldest first.
#[derive(Debug, Default)]
struct Doomed {
    stretches: Vec<Stretch>,
    entries: u64,
    bytes: u64,
    /// The last entry seen. It goes if the next one is of its run.
    last: Option<Seen>,
    /// The last entry that stays because the next one is of another run.
    kept: Option<Key>,
}

/// An entry, with the losses before it.
#[derive(Debug)]
struct Seen {
    key: Key,
    losses: Vec<Loss>,
    bytes: u64,
}

/// Neighbours of one run, which are losses from now on, those included that were.
#[derive(Debug)]
struct Stretch {
    first: Key,
    last: Key,
    losses: Vec<Loss>,
}

impl Spill {
    /// Evicts the oldest entries that may be, about `bytes` of them, in one transaction. Returns how many: 0 if there are
    /// none.
    pub(crate) fn evict(&mut self, evictable: Evictable, bytes: u64) -> Result<u64, SpillError> {
        let passed = self.evictions.passed;
        let passed = passed.filter(|passed| passed.after <= evictable.after);
        let after = evictable.after.max(passed.map(|passed| passed.kept));
        let mut fold = Fold::new(after);
        let runs = &self.runs;
        let within = Evictable { after, ..evictable };
        let doomed = self.store.read(|database| {
            doom(database, runs, &mut fold, within, bytes).map_err(database_error("read"))
        })?;
        self.repair(&fold)?;
        let kept = doomed.kept.map(|kept| Passed {
            after: evictable.after,
            kept,
        });
        self.evictions.passed = kept.or(passed);
        if doomed.entries == 0 {
            return Ok(0);
        }
        let before = self.totals().entries;
        let done = self.store.write(|database| {
            database.transact("evict from", |work| {
                doomed
                    .stretches
                    .iter()
                    .try_for_each(|stretch| evict(work, stretch))
            })
        });
        // A commit that failed may have happened all the same.
        let evicted = before.saturating_sub(self.totals().entries);
        self.evictions.entries += evicted;
        done.map(|()| evicted)
    }

    /// The last entry of the oldest batch that could be made of this backlog within these bounds; a single entry may be
    /// larger.
    pub(crate) fn batch_end(
        &mut self,
        rows_max: usize,
        bytes_max: u64,
    ) -> Result<Option<Key>, SpillError> {
        self.store.read(|database| {
            batch_end(database.connection(), rows_max, bytes_max).map_err(database_error("read"))
        })
    }

    /// Entries that were evicted since this spill was opened.
    pub(crate) fn evicted(&self) -> u64 {
        self.evictions.entries
    }

    /// Turns the damage that was found on the way into losses.
    pub(super) fn repair(&mut self, fold: &Fold) -> Result<(), SpillError> {
        if fold.damage.is_empty() {
            return Ok(());
        }
        let gone = self
            .store
            .write(|database| database.transact("repair", |work| work.repair(&fold.damage)))?;
        self.corrupt += gone;
        tracing::error!(target: "spillring", entries = gone, "entries of the spill are damaged and given up");
        Ok(())
    }
}

/// Finds what is to be evicted.
fn doom(
    database: &Database,
    runs: &Runs,
    fold: &mut Fold,
    Evictable { after, before }: Evictable,
    bytes: u64,
) -> rusqlite::Result<Doomed> {
    let mut statement = database.connection().prepare_cached(rows::SELECT_FROM)?;
    let mut rows = statement.query([after.unwrap_or_default().row()])?;
    let mut doomed = Doomed::default();
    while doomed.bytes < bytes
        && doomed.entries < EVICT_ROWS_MAX
        && let Some(row) = rows.next()?
    {
        let found = Found::new(Row::read(row)?.as_ref().map_err(|&key| key));
        let Some(record) = record(runs, fold, found) else {
            continue;
        };
        doomed.see(&record);
        if before.is_some_and(|before| record.key() >= before) {
            break;
        }
    }
    Ok(doomed)
}

impl Doomed {
    fn see(&mut self, record: &Record) {
        let seen = Seen {
            key: record.key(),
            losses: record.losses.clone(),
            bytes: record.size(),
        };
        match self.last.replace(seen) {
            Some(last) if last.key.local_run() == record.run.local => self.take(last),
            Some(last) => self.kept = Some(last.key),
            None => {}
        }
    }

    fn take(&mut self, entry: Seen) {
        self.entries += 1;
        self.bytes += entry.bytes;
        let run = entry.key.local_run();
        let neighbour = self
            .stretches
            .last_mut()
            .filter(|stretch| stretch.last.local_run() == run);
        let evicted = Loss {
            count: 1,
            reason: LossReason::SpillEvicted,
        };
        if let Some(stretch) = neighbour {
            stretch.last = entry.key;
            for loss in entry.losses.into_iter().chain([evicted]) {
                loss.join(&mut stretch.losses);
            }
        } else {
            let lost: u64 = entry.losses.iter().map(|loss| loss.count).sum();
            let mut losses = entry.losses;
            evicted.join(&mut losses);
            self.stretches.push(Stretch {
                first: Key::new(run, entry.key.n().saturating_sub(lost)),
                last: entry.key,
                losses,
            });
        }
    }
}

fn batch_end(conn: &Connection, rows_max: usize, bytes_max: u64) -> rusqlite::Result<Option<Key>> {
    let mut statement = conn.prepare(
        "SELECT key, octet_length(subject) + length(bytes) + ?1 FROM rows WHERE kind = 0 ORDER BY key",
    )?;
    let mut rows = statement.query([int(Record::OVERHEAD)])?;
    let (mut end, mut bytes) = (None, 0);
    for _ in 0..rows_max {
        let Some(row) = rows.next()? else { break };
        bytes += uint(row.get(1)?);
        if bytes > bytes_max && end.is_some() {
            break;
        }
        end = Key::from_row(row.get(0)?);
    }
    Ok(end)
}

fn evict(work: &mut Work<'_>, stretch: &Stretch) -> rusqlite::Result<()> {
    work.remove_rows(stretch.first, stretch.last)?;
    work.insert_losses(stretch.first, &stretch.losses)
}
