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
//! can be repeated without harm: rows carry their own numbers, and a number never changes its meaning. After a failure of
//! the disk the connection is given up, what is in memory is written again through a new one, and only then is the
//! database trusted again ([`Spill::mend`]).
//!
//! A database that is damaged, or none of ours, is set aside with its log, and another takes its place at once; the rows
//! that can be read are carried over in steps, and nothing is read before that is done. What is missing in the end is
//! told as losses: between rows because numbers have no holes, and at the ends because the mark says how far they went.
//! The mark counts commits, so a database that has lost some, with its log for example, is found out as well.
//!
//! Errors that pass, or that somebody mends (busy, no permission, too many open files, no room), set nothing aside.
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
//! - `directory` knows the files, `lock` who may be there, `identity` who the publisher is, `schema` tables and pragmas,
//!   `database` transactions and totals;
//! - `rows` are the statements on the backlog, `losses` on what stands between entries, `letters` on the dead letters,
//!   `imports` on what comes from elsewhere; `read` and `fold` make rows records, `evict` keeps the cap, `runs` are the starts;
//! - `store` is the database through its life: `fault` says what an error means, `places` whether files have moved,
//!   `quarantine` sets aside, `source` reads what may be damaged, `salvage` carries it over (`first_page` helps it), `stock`,
//!   `mark` and `reconcile` find out what is missing, `reserve` and `tidy` see to the room on the disk;
//! - `life` is what the drainer does about all that, `look` (with `reading` and `gaps`) what others may see, `repair` what
//!   they may do.

mod database;
mod directory;
mod evict;
mod fault;
mod first_page;
mod fold;
mod gaps;
mod identity;
mod imports;
mod letters;
mod life;
mod lock;
mod look;
mod losses;
mod mark;
mod places;
mod quarantine;
mod read;
mod reading;
mod reconcile;
mod repair;
mod reserve;
mod rows;
mod runs;
mod salvage;
mod schema;
mod source;
mod stock;
mod store;
#[cfg(test)]
mod tests;
mod tidy;
mod totals;

use std::path::Path;
use std::sync::Arc;

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, Loss, Position, PublisherId, Record, Run};

use database::database_error;
pub(crate) use directory::{Directory, Persist, io_error, missing, replace};
pub(crate) use evict::Evictable;
use evict::Evictions;
use fold::Fold;
pub(crate) use identity::read_identity;
pub(crate) use imports::Foreign;
pub(crate) use letters::Letters;
pub(crate) use life::Memory;
pub(crate) use look::Look;
pub(crate) use quarantine::quarantined;
use read::read;
pub use repair::{Repaired, repair};
use runs::Runs;
use store::Store;
pub(crate) use totals::Totals;

/// The backlog of one publisher.
#[derive(Debug)]
pub(crate) struct Spill {
    store: Store,
    publisher: PublisherId,
    runs: Runs,
    /// What was configured.
    cap: u64,
    /// That, as far as the disk has room.
    bytes_max: u64,
    corrupt: u64,
    evictions: Evictions,
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
    /// `cap` is bounded to half of what the disk would have free without this spill, but not below what is in it: that
    /// has its place.
    pub(crate) fn open(
        dir: &Path,
        cap: u64,
        durability: SpillDurability,
    ) -> Result<Self, SpillError> {
        let directory = Directory::take(dir)?;
        let publisher = directory.identity()?;
        Self::of(directory, publisher, cap, durability)
    }

    fn of(
        directory: Directory,
        publisher: PublisherId,
        cap: u64,
        durability: SpillDurability,
    ) -> Result<Self, SpillError> {
        let free = directory.half_of_free_bytes()?;
        let store = Store::open(directory, durability, cap.min(free))?;
        let totals = store.known().totals;
        let mut spill = Self {
            runs: Runs::default(),
            store,
            cap,
            bytes_max: cap.min(free.max(totals.bytes + totals.dead_letter_bytes)),
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
        self.begin(None)
    }

    fn begin(&mut self, last_n: Option<u64>) -> Result<Arc<Run>, SpillError> {
        let (runs, publisher, seen) = (&mut self.runs, self.publisher, self.store.seen());
        self.store
            .write(|database| runs.begin(database, publisher, seen, last_n))
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
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Result<u64, SpillError> {
        self.store
            .append(|database| database.transact("append to", |work| rows::insert(work, records)))
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
        match self.repair(&fold) {
            // The disk takes nothing: the damage is turned into losses with the next reading, or removed with the rest.
            Err(error) if records.is_empty() => Err(error),
            _ => Ok(records),
        }
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
        self.store.write(|database| {
            database.transact("add a dead letter to", |work| {
                work.bury(record, reason.as_str(), detail)
            })
        })
    }

    /// A loss takes the place of a record, which is not kept.
    pub(crate) fn give_up(&mut self, record: &Record) -> Result<(), SpillError> {
        self.store
            .write(|database| database.transact("give up an entry of", |work| work.give_up(record)))
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
