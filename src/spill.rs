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
//! the statements on the backlog, `fold` how rows become records, `runs` the starts, `look` what others may see.

mod database;
mod directory;
mod fold;
mod look;
mod rows;
mod runs;
mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Position, PublisherId, Record, Run};

use database::{Database, database_error};
pub(crate) use directory::{Directory, Persist, io_error, missing, read_identity, replace};
use fold::{Content, Fold};
pub(crate) use look::depths;
use rows::Row;
use runs::Runs;

/// The backlog of one publisher.
#[derive(Debug)]
pub(crate) struct Spill {
    /// Closed before the directory is given up.
    database: Database,
    directory: Directory,
    publisher: PublisherId,
    runs: Runs,
    bytes_max: u64,
    corrupt: u64,
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
        directory.prepare_database()?;
        let database = Database::open(&directory.database(), durability)?;
        Ok(Self {
            runs: Runs::load(database.connection(), publisher)?,
            database,
            bytes_max: bytes_max.min(directory.half_of_free_bytes()?),
            directory,
            publisher,
            corrupt: 0,
        })
    }

    /// Begins a run. Survives a power cut once it has returned.
    pub(crate) fn begin_run(&mut self) -> Result<Arc<Run>, SpillError> {
        self.runs.begin(&mut self.database, self.publisher)
    }

    /// Notes that entries of these runs may be in the stream from now on, which survives a power cut. To be called before
    /// the records are sent; it writes once a run.
    pub(crate) fn open_runs(&mut self, records: &[Record]) -> Result<(), SpillError> {
        self.runs.open(&mut self.database, records)
    }

    /// Notes the clean end of a run: its last number, entries and losses alike, 0 if there was none.
    pub(crate) fn end_run(&mut self, run: &Run, last_n: u64) -> Result<(), SpillError> {
        self.database
            .transact("end the run in", |work| runs::end(work, run, last_n))
    }

    /// Appends the records and their losses in one transaction. Returns how many were not there yet.
    pub(crate) fn append<'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Result<u64, SpillError> {
        self.database.transact("append to", |work| {
            let mut statement = work.prepare(rows::INSERT)?;
            let mut new = 0;
            for record in records {
                new += u64::from(work.insert(&mut statement, record)?);
            }
            Ok(new)
        })
    }

    /// Appends losses, `first_n` the number of the first, that have no entry behind them yet.
    pub(crate) fn append_losses(
        &mut self,
        run: &Run,
        first_n: u64,
        losses: &[Loss],
    ) -> Result<(), SpillError> {
        self.database.transact("append losses to", |work| {
            work.insert_losses(Key::new(run.local, first_n), losses)
        })
    }

    /// Reads the oldest records behind `after`: at least one if there is one, at most `rows_max`, and no more than
    /// `bytes_max` bytes unless the first is larger.
    ///
    /// Damage found on the way is turned into losses on disk as well, so it is counted once.
    pub(crate) fn oldest(
        &mut self,
        after: Option<Key>,
        rows_max: usize,
        bytes_max: u64,
    ) -> Result<Vec<Record>, SpillError> {
        let mut fold = Fold::new(after);
        let records = self
            .read(&mut fold, after, rows_max, bytes_max)
            .map_err(database_error("read"))?;
        if !fold.damage.is_empty() {
            let gone = self
                .database
                .transact("repair", |work| work.repair(&fold.damage))?;
            self.corrupt += gone;
            tracing::error!(target: "spillring", entries = gone, "entries of the spill are damaged and given up");
        }
        Ok(records)
    }

    /// Deletes everything up to and including the key. Returns how many of the rows were entries.
    pub(crate) fn remove_through(&mut self, key: Key) -> Result<u64, SpillError> {
        self.database
            .transact("remove from", |work| work.remove_through(key))
    }

    /// The same, because the sink's cursor stands there: its run is not forgotten before the cursor has moved on.
    pub(crate) fn settle_through(&mut self, key: Key) -> Result<u64, SpillError> {
        self.database.transact("remove from", |work| {
            runs::hear(work, key.local_run())?;
            work.remove_through(key)
        })
    }

    /// How many entries there are up to and including the key. Counts them.
    pub(crate) fn entries_through(&self, key: Key) -> Result<u64, SpillError> {
        rows::entries_through(self.database.connection(), key).map_err(database_error("read"))
    }

    /// Moves a record, spilled or not, to the dead letters; a loss takes its place.
    pub(crate) fn dead_letter(
        &mut self,
        record: &Record,
        reason: DeadLetterReason,
        detail: &str,
    ) -> Result<(), SpillError> {
        self.database.transact("add a dead letter to", |work| {
            if work.insert_dead_letter(record, reason, detail)? {
                work.totals.dead_letters += 1;
            }
            work.remove_entry(record.key())?;
            work.insert_losses_before(record)?;
            work.insert_loss(
                record.key(),
                Loss {
                    count: 1,
                    reason: LossReason::DeadLettered,
                },
            )
        })
    }

    /// Takes another publisher id, because a clone of this directory goes by the old one. Survives a power cut.
    ///
    /// Runs keep their ids. Records read from now on belong to the new publisher.
    pub(crate) fn renew_identity(&mut self) -> Result<PublisherId, SpillError> {
        self.publisher = self.directory.renew_identity()?;
        self.runs = Runs::load(self.database.connection(), self.publisher)?;
        Ok(self.publisher)
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
        self.database.summary().totals
    }

    /// Entries that were found damaged since this spill was opened.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt
    }

    /// How many bytes of backlog there may be.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The newest entry.
    pub(crate) fn newest(&self) -> Option<Key> {
        self.database.summary().newest
    }

    /// When the oldest entry was popped, in milliseconds since 1970.
    pub(crate) fn oldest_popped_ms(&self) -> Option<u64> {
        self.database.summary().oldest.map(|(_, ms)| ms)
    }

    fn read(
        &self,
        fold: &mut Fold,
        after: Option<Key>,
        rows_max: usize,
        bytes_max: u64,
    ) -> rusqlite::Result<Vec<Record>> {
        let mut statement = self
            .database
            .connection()
            .prepare_cached(rows::SELECT_FROM)?;
        let mut rows = statement.query([after.unwrap_or_default().row()])?;
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let Some(record) = self.record(fold, &Row::read(row)?) else {
                continue;
            };
            bytes += record.size();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record);
            if records.len() >= rows_max {
                break;
            }
        }
        Ok(records)
    }

    /// What a row makes of the fold: a record, if it is an entry that is wanted.
    fn record(&self, fold: &mut Fold, row: &Result<Row<'_>, Key>) -> Option<Record> {
        let known = row
            .as_ref()
            .map_err(|&key| key)
            .and_then(|row| Ok((row, self.runs.get(row.key.local_run()).ok_or(row.key)?)));
        let (row, run) = match known {
            Ok(known) => known,
            Err(key) => {
                fold.take(key, Content::Damaged);
                return None;
            }
        };
        let losses = fold.take(row.key, row.content())?;
        Some(Record {
            since: Instant::now(),
            run: Arc::clone(run),
            n: row.key.n(),
            losses,
            popped_ms: row.popped_ms,
            subject: row.subject.into(),
            bytes: Bytes::copy_from_slice(row.bytes),
        })
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}
