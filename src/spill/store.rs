//! The database through its life: opened, trusted until something speaks against it, opened anew, set aside if it is
//! damaged, and carried over.

mod reopening;

use std::time::Instant;

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::Key;

use rusqlite::Connection;

use super::database::{Database, Summary};
use super::fault::Fault;
use super::mark::Mark;
use super::places::Places;
use super::reserve::Reserve;
use super::runs::{Rows, Seen};
use super::salvage::Salvage;
use super::stock::Stock;
use super::tidy::{self, Tidy};
use super::{Directory, schema};

/// The database, and what is known of it while it cannot be used.
#[derive(Debug)]
pub(super) struct Store {
    /// None while it could not be opened.
    database: Option<Database>,
    /// Nothing is written before it was opened anew.
    distrust: Option<Distrust>,
    /// As of the last commit.
    known: Summary,
    pub(super) directory: Directory,
    durability: SpillDurability,
    wal_bytes: u64,
    places: Places,
    stock: Stock,
    reserve: Reserve,
    /// A database whose files were moved away, to be carried over.
    moved: Option<Connection>,
    salvage: Option<Salvage>,
    tidy: Tidy,
}

/// Why the database is to be opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distrust {
    /// The disk failed.
    Unsure,
    Damaged,
    /// Its files are not where they were.
    Moved,
    /// It was given up, and could not be opened again so far.
    Closed,
    /// There was none to be had at the start, and there will be none.
    Absent,
}

impl Store {
    /// Opens the database, and sets it aside if it is damaged. What was set aside is carried over later, in steps.
    pub(super) fn open(
        directory: Directory,
        durability: SpillDurability,
        bytes_max: u64,
    ) -> Result<Self, SpillError> {
        let mark = Mark::open(&directory.mark());
        let mut store = Self::closed(directory, mark, durability, bytes_max);
        store.connect()?;
        store.trust(0)?;
        store.reserve.take(store.wal_bytes);
        Ok(store)
    }

    /// One that takes nothing, and leaves the directory alone.
    pub(super) fn absent(directory: Directory) -> Self {
        let durability = SpillDurability::default();
        let mut store = Self::closed(directory, Mark::absent(), durability, 0);
        store.distrust = Some(Distrust::Absent);
        store
    }

    fn closed(
        directory: Directory,
        mark: Mark,
        durability: SpillDurability,
        bytes_max: u64,
    ) -> Self {
        let wal_bytes = (bytes_max / 16).clamp(1 << 20, schema::WAL_BYTES);
        Self {
            database: None,
            distrust: Some(Distrust::Closed),
            known: Summary::default(),
            places: Places::of(&directory.database()),
            stock: Stock::new(mark),
            reserve: Reserve::new(directory.path(), 2 * wal_bytes),
            directory,
            durability,
            wal_bytes,
            moved: None,
            salvage: None,
            tidy: Tidy::default(),
        }
    }

    pub(super) fn known(&self) -> &Summary {
        &self.known
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.distrust.is_some()
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.distrust == Some(Distrust::Damaged)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.distrust == Some(Distrust::Absent)
    }

    pub(super) fn is_salvaging(&self) -> bool {
        self.salvage.is_some()
    }

    pub(super) fn disk_is_full(&self) -> bool {
        self.reserve.is_spent()
    }

    /// For tests, which do to it what they like.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &rusqlite::Connection {
        self.database.as_ref().unwrap().connection()
    }

    pub(super) fn stock(&self) -> &Stock {
        &self.stock
    }

    /// How many entries there were before damage took some, as far as that is known.
    pub(super) fn expected(&self) -> u64 {
        self.stock.expected(&self.known)
    }

    /// On a disk that takes nothing a database may still be read from.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Database) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        let database = self.database.as_ref();
        let readable = database.filter(|_| self.distrust != Some(Distrust::Damaged));
        let done = read(readable.ok_or(SpillError::GivenUp)?);
        self.learn(done)
    }

    /// Writes what needs new room, and leaves the reserve for what does not.
    pub(super) fn append<T>(
        &mut self,
        write: impl FnOnce(&mut Database) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        let (Some(database), None) = (&mut self.database, self.distrust) else {
            return Err(SpillError::GivenUp);
        };
        let done = write(database);
        self.known = *database.summary();
        let done = self.learn(done)?;
        self.tidy.written();
        // Until what is set aside has been carried over, the mark tells of that.
        if self.salvage.is_none() {
            self.stock.note(&self.known);
        }
        Ok(done)
    }

    /// Writes what the reserve is there for: if the disk is full, it is tried again with that.
    pub(super) fn write<T>(
        &mut self,
        mut write: impl FnMut(&mut Database) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        match self.append(&mut write) {
            Err(error) if Fault::of(&error) == Fault::Full => self.append(write),
            done => done,
        }
    }

    /// Everything up to the key was removed.
    pub(super) fn removed(&mut self, key: Key) {
        self.stock.removed(key);
    }

    /// Once a second: looks whether all is in its place, syncs the mark, and sees to the reserve.
    pub(super) fn tick(&mut self) {
        if self.is_absent() {
            return;
        }
        if self.distrust.is_none() && self.places.moved() {
            tracing::error!(target: "spillring", file = %self.directory.database().display(), "the spill database was moved or deleted: it is made anew");
            self.distrust = Some(Distrust::Moved);
        }
        self.stock.sync();
        if self.disk_is_full() && !self.is_distrusted() {
            // What has been drained so far makes room for the reserve.
            self.read(tidy::shrink).unwrap_or_default();
        }
        self.reserve.take(self.wal_bytes);
    }

    /// One step of giving room back to the disk, if there is nothing to keep. Says whether there was anything to do.
    pub(super) fn tidy(&mut self, now: Instant) -> bool {
        let in_use = self.known.totals.entries > 0 || self.salvage.is_some();
        let (Some(database), None) = (&self.database, self.distrust) else {
            return false;
        };
        if in_use || !self.tidy.is_due(now) {
            return false;
        }
        let done = self.tidy.step(database);
        self.learn(done).is_ok()
    }

    /// What the database and the mark have seen of the runs.
    pub(super) fn seen(&self) -> Seen {
        let newest = self.known.newest.unwrap_or_default();
        Seen {
            newest: newest.max(self.stock.newest()).local_run(),
            rows: if self.is_salvaging() {
                Rows::Awaited
            } else {
                Rows::There
            },
        }
    }

    /// What an error means for the next use.
    fn learn<T>(&mut self, done: Result<T, SpillError>) -> Result<T, SpillError> {
        let Err(error) = &done else {
            return done;
        };
        match Fault::of(error) {
            Fault::Passing => {}
            Fault::Full => {
                self.reserve.spend();
                let database = self.database.as_ref();
                if let Some(Err(error)) = database.map(Database::checkpoint) {
                    tracing::debug!(target: "spillring", %error, "the log could not be carried over");
                }
            }
            Fault::Unsure => self.distrust = self.distrust.or(Some(Distrust::Unsure)),
            Fault::Damaged | Fault::Foreign => {
                tracing::error!(target: "spillring", %error, "the spill database is damaged");
                self.distrust = Some(Distrust::Damaged);
            }
        }
        done
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
