//! The spill: the backlog on disk, in `SQLite`, for one publisher and one process at a time.
//!
//! # What survives what
//!
//! Everything here happens in transactions of a write-ahead log. A transaction that was committed survives a panic, an
//! abort and a SIGKILL. Under [`SpillDurability::PowerLoss`] it also survives a power cut, because its commit returns
//! only after the log was synced; under [`SpillDurability::ProcessCrash`] the newest ones may then be gone, always from
//! the end. The publisher's id and the beginning of a run survive a power cut under either.
//!
//! A commit that failed may have happened all the same, when it was only its sync that failed. So every operation here
//! can be repeated without harm: rows carry their own numbers, and a number never changes its meaning.
//!
//! # What is in it
//!
//! One table holds the backlog in the order of delivery: entries, and between them stretches of losses, which become
//! the `losses` of the entry behind them when they are read. Each row has a checksum. A row that is damaged, and one
//! that has vanished from between others, is told as a loss with the reason `corrupt`, and what lies behind it goes on.
//! Losses without an entry behind them stay, unread, until one comes or they are removed; none is dropped, because
//! the run that they belong to may end without a last word.
//!
//! Whoever delivers entries without spilling them calls [`Spill::remove_through`] all the same if losses are in here.
//!
//! Totals are part of each transaction; nothing is ever counted by scanning, but after damage.
//!
//! # Rooms
//!
//! `directory` knows the files and the lock, `schema` the tables and pragmas, `database` transactions and totals, `rows`
//! the statements on the backlog, `letters` those on the dead letters, `fold` how rows become records, `evict` how the cap
//! is kept, `runs` the starts, `look` what others may see.

mod database;
mod directory;
mod evict;
mod fault;
mod first_page;
mod fold;
mod letters;
mod life;
mod lock;
mod look;
mod losses;
mod mark;
mod places;
mod quarantine;
mod read;
mod reconcile;
mod reserve;
mod rows;
mod runs;
mod salvage;
mod schema;
mod stock;
mod store;
#[cfg(test)]
mod tests;
mod tidy;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Position, PublisherId, Record, Run};

use database::{Work, database_error};
pub(crate) use directory::{Directory, Persist, io_error, missing, read_identity, replace};
pub(crate) use evict::Evictable;
use evict::Evictions;
use fold::Fold;
pub(crate) use letters::Letters;
pub(crate) use life::Memory;
pub(crate) use look::depths;
use read::read;
use runs::Runs;
use store::Store;

/// The backlog of one publisher.
#[derive(Debug)]
pub(crate) struct Spill {
    store: Store,
    publisher: PublisherId,
    runs: Runs,
    bytes_max: u64,
    corrupt: u64,
    evictions: Evictions,
}

/// How much is in the spill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Entries of the backlog.
    pub(crate) entries: u64,
    /// What they count for, as [`Record::size`] has it.
    pub(crate) bytes: u64,
    /// Dead letters that are kept.
    pub(crate) dead_letters: u64,
    /// What they count for.
    pub(crate) dead_letter_bytes: u64,
    /// Stretches of losses between the entries, not single losses.
    pub(crate) losses: u64,
}

/// Why an entry was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    /// Larger than `entry_bytes_max`.
    Oversize,
    /// The sink will never take it.
    Rejected,
}

/// How many records a transaction should take: with more the rate hardly grows, and the wait for one commit does.
pub(crate) const APPEND_ROWS_MAX: usize = 1_024;

impl DeadLetterReason {
    /// As metrics, logs and the spill write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Oversize => "oversize",
            Self::Rejected => "rejected",
        }
    }
}

impl Spill {
    /// Takes the directory, and makes in it what is missing.
    ///
    /// `bytes_max` is bounded to half of what the disk would have free without this spill.
    pub(crate) fn open(
        dir: &Path,
        bytes_max: u64,
        durability: SpillDurability,
    ) -> Result<Self, SpillError> {
        let directory = Directory::take(dir)?;
        let publisher = directory.identity()?;
        let bytes_max = bytes_max.min(directory.half_of_free_bytes()?);
        let mut spill = Self {
            runs: Runs::default(),
            store: Store::open(directory, durability, bytes_max)?,
            bytes_max,
            publisher,
            corrupt: 0,
            evictions: Evictions::default(),
        };
        spill.past_damage(Self::load_runs)?;
        Ok(spill)
    }

    /// Begins a run. Survives a power cut once it has returned. It may have to begin with losses; see
    /// [`tell_untold`](Self::tell_untold).
    pub(crate) fn begin_run(&mut self) -> Result<Arc<Run>, SpillError> {
        let (runs, publisher) = (&mut self.runs, self.publisher);
        let seen = self.store.seen();
        self.store
            .write(|database| runs.begin(database, publisher, seen))
    }

    /// Notes that entries of these runs may be in the stream from now on, which survives a power cut. To be called before
    /// the records are sent; it writes once a run.
    pub(crate) fn open_runs(&mut self, records: &[Record]) -> Result<(), SpillError> {
        let runs = &mut self.runs;
        if runs.are_open(records) {
            return Ok(());
        }
        self.store.write(|database| runs.open(database, records))
    }

    /// Notes the clean end of a run: its last number, entries and losses alike, 0 if there was none.
    pub(crate) fn end_run(&mut self, run: &Run, last_n: u64) -> Result<(), SpillError> {
        self.store.write(|database| {
            database.transact("end the run in", |work| runs::end(work, run, last_n))
        })
    }

    /// Appends the records and their losses in one transaction. Returns how many were not there yet.
    pub(crate) fn append<'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r Record> + Clone,
    ) -> Result<u64, SpillError> {
        self.store
            .append(|database| database.transact("append to", |work| insert(work, records.clone())))
    }

    /// Appends losses, `first_n` the number of the first, that have no entry behind them yet.
    pub(crate) fn append_losses(
        &mut self,
        run: &Run,
        first_n: u64,
        losses: &[Loss],
    ) -> Result<(), SpillError> {
        self.store.write(|database| {
            database.transact("append losses to", |work| {
                work.insert_losses(Key::new(run.local, first_n), losses)
            })
        })
    }

    /// Reads the oldest records behind `after`: at least one if there is one, at most `rows_max`, and no more than
    /// `bytes_max` bytes unless the first is larger.
    ///
    /// Damage found on the way is turned into losses on disk as well, so it is counted once. Nothing is read while rows
    /// are being carried over.
    pub(crate) fn oldest(
        &mut self,
        after: Option<Key>,
        rows_max: usize,
        bytes_max: u64,
    ) -> Result<Vec<Record>, SpillError> {
        if self.is_salvaging() {
            return Ok(Vec::new());
        }
        let mut fold = Fold::new(after);
        let runs = &self.runs;
        let records = self.store.read(|database| {
            read(database, runs, &mut fold, after, rows_max, bytes_max)
                .map_err(database_error("read"))
        })?;
        self.repair(&fold)?;
        Ok(records)
    }

    /// Deletes everything up to and including the key. Returns how many of the rows were entries.
    pub(crate) fn remove_through(&mut self, key: Key) -> Result<u64, SpillError> {
        let removed = self
            .store
            .write(|database| database.transact("remove from", |work| work.remove_through(key)))?;
        self.store.removed(key);
        Ok(removed)
    }

    /// The same, because the sink's cursor stands there: its run is not forgotten before the cursor has moved on.
    /// What has still to be carried over is removed with the rest.
    pub(crate) fn settle_through(&mut self, key: Key) -> Result<u64, SpillError> {
        let left = self.store.left_through(key)?;
        let removed = self.store.write(|database| {
            database.transact("remove from", |work| {
                runs::hear(work, key.local_run())?;
                work.remove_through(key)
            })
        })?;
        self.store.removed(key);
        self.store.passed_over(left);
        Ok(removed + left)
    }

    /// How many entries there are up to and including the key. Counts them.
    pub(crate) fn entries_through(&mut self, key: Key) -> Result<u64, SpillError> {
        self.store.read(|database| {
            rows::entries_through(database.connection(), key).map_err(database_error("read"))
        })
    }

    /// Moves a record, spilled or not, to the dead letters; a loss takes its place.
    pub(crate) fn dead_letter(
        &mut self,
        record: &Record,
        reason: DeadLetterReason,
        detail: &str,
    ) -> Result<(), SpillError> {
        let loss = Loss {
            count: 1,
            reason: LossReason::DeadLettered,
        };
        self.store.write(|database| {
            database.transact("add a dead letter to", |work| {
                if work.insert_dead_letter(record, reason, detail)? {
                    work.totals.dead_letters += 1;
                    work.totals.dead_letter_bytes += record.size();
                }
                work.remove_entry(record.key())?;
                work.insert_losses_before(record)?;
                work.insert_loss(record.key(), loss)
            })
        })
    }

    /// Takes another publisher id, because a clone of this directory goes by the old one. Survives a power cut.
    ///
    /// Runs keep their ids. Records read from now on belong to the new publisher.
    pub(crate) fn renew_identity(&mut self) -> Result<PublisherId, SpillError> {
        let publisher = self.store.directory.renew_identity()?;
        self.publisher = publisher;
        self.runs.rename(publisher);
        Ok(publisher)
    }

    pub(crate) fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// Where a position lies in this spill's order; `None` if the run is none of this directory's.
    pub(crate) fn key_of(&self, position: &Position) -> Option<Key> {
        self.runs.key_of(position)
    }

    /// As of the last commit.
    pub(crate) fn totals(&self) -> Totals {
        self.store.known().totals
    }

    /// How many bytes of backlog there may be.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The newest entry.
    pub(crate) fn newest(&self) -> Option<Key> {
        self.store.known().newest
    }

    /// Whether there are, or may be, entries behind this one.
    pub(crate) fn reaches_beyond(&self, key: Option<Key>) -> bool {
        self.is_salvaging() || self.newest() > key
    }

    /// When the oldest entry was popped, in milliseconds since 1970.
    pub(crate) fn oldest_popped_ms(&self) -> Option<u64> {
        self.store.known().oldest.map(|(_, ms)| ms)
    }
}

/// Answers how many of the records were not there yet.
fn insert<'r>(
    work: &mut Work<'_>,
    records: impl IntoIterator<Item = &'r Record>,
) -> rusqlite::Result<u64> {
    let mut statement = work.prepare(rows::INSERT)?;
    let mut new = 0;
    for record in records {
        new += u64::from(work.insert(&mut statement, record)?);
    }
    Ok(new)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}
