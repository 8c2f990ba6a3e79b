//! Opening the database, at the start and anew: setting aside what is damaged, carrying over what can be read, and finding
//! out what is missing.

use super::{Distrust, Store};
use crate::error::SpillError;
use crate::event::{Key, PublisherId};
use crate::metrics::Metrics;
use crate::spill::database::Database;
use crate::spill::fault::Fault;
use crate::spill::places::Places;
use crate::spill::salvage::Salvage;
use crate::spill::{database_error, io_error, quarantine, stock};

impl Store {
    /// Opens the database of this publisher anew, if it is distrusted. Before it is trusted again, what is in memory has
    /// to be written, with [`untrusted`](Self::untrusted), and then [`trust`](Self::trust) to be called.
    pub(in crate::spill) fn reopen(&mut self, publisher: PublisherId) -> Result<(), SpillError> {
        let distrust = match self.distrust {
            Some(Distrust::Unsure) if self.places.moved() => Some(Distrust::Moved),
            distrust => distrust,
        };
        match distrust {
            None => return Ok(()),
            Some(Distrust::Absent) => return Err(SpillError::GivenUp),
            // It may have been opened since, and failed before it was trusted: two connections would shut each other out.
            Some(Distrust::Closed) => self.close(),
            Some(Distrust::Unsure) => {
                let mark = self.directory.mark();
                self.stock.probe().map_err(io_error("write", mark))?;
                self.close();
            }
            Some(Distrust::Damaged) => {
                // What stands there now may be somebody else's.
                self.directory.restore(publisher)?;
                self.close();
                self.set_aside()?;
                self.carry_over_again();
            }
            Some(Distrust::Moved) => {
                self.directory.restore(publisher)?;
                self.set_aside()?;
                self.moved = self.database.take().map(Database::give_up);
                self.carry_over_again();
            }
        }
        self.distrust = Some(Distrust::Closed);
        self.directory.restore(publisher)?;
        let mark = self.directory.mark();
        self.stock.reopen(&mark).map_err(io_error("open", mark))?;
        self.connect()?;
        // What a failed sync has left in the system's memory only is written, and synced, once more.
        self.read(Database::checkpoint)
    }

    /// Uses a database that is not trusted yet.
    pub(in crate::spill) fn untrusted<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        let distrust = self.distrust.take();
        let done = work(self);
        self.distrust = self.distrust.or(distrust);
        done
    }

    /// Counts what is missing, and trusts the database again. `adjustment` is how many entries more there must be than
    /// the mark says.
    pub(in crate::spill) fn trust(&mut self, adjustment: i64) -> Result<(), SpillError> {
        if let Some(level) = self.stock.level() {
            self.untrusted(|store| {
                store.write(|database| {
                    database.transact("remove from", |work| work.remove_through(level.low))
                })
            })?;
        }
        self.stock.count(&self.known, adjustment);
        self.distrust = None;
        if self.salvage.is_none() {
            self.settle()?;
        }
        Ok(())
    }

    /// Carries over some rows of a database that was set aside.
    pub(in crate::spill) fn salvage_step(&mut self) -> Result<(), SpillError> {
        let Some(mut salvage) = self.salvage.take() else {
            return Ok(());
        };
        let floor = self.stock.floor();
        let stepped = self.append(|database| salvage.step(database, floor));
        let done = salvage.is_done();
        self.salvage = Some(salvage);
        self.stock.found(stepped?);
        if done { self.settle() } else { Ok(()) }
    }

    /// How many entries up to the key have still to be carried over.
    pub(in crate::spill) fn left_through(&mut self, key: Key) -> Result<u64, SpillError> {
        let Some(salvage) = self.salvage.take() else {
            return Ok(0);
        };
        let floor = self.stock.floor();
        let left = self.read(|database| {
            salvage
                .left_through(database, floor, key)
                .map_err(database_error("read"))
        });
        self.salvage = Some(salvage);
        left
    }

    /// Everything up to the key was removed, and that many entries need not be carried over any more.
    pub(in crate::spill) fn passed_over(&mut self, entries: u64) {
        self.stock.found(entries);
    }

    pub(super) fn connect(&mut self) -> Result<(), SpillError> {
        let opened = self.open_database();
        let database = match opened {
            Err(error) if Fault::of(&error).sets_aside() => {
                tracing::error!(target: "spillring", %error, "the spill database cannot be used");
                self.set_aside()?;
                self.open_database()?
            }
            opened => opened?,
        };
        self.known = *database.summary();
        self.database = Some(database);
        self.places = Places::of(&self.directory.database());
        self.begin_salvage()
    }

    /// Opening writes as well, if little: on a full disk with the reserve.
    fn open_database(&mut self) -> Result<Database, SpillError> {
        self.directory.prepare_database()?;
        let file = self.directory.database();
        match Database::open(&file, self.durability, self.wal_bytes) {
            Err(error) if Fault::of(&error) == Fault::Full => {
                self.reserve.spend();
                Database::open(&file, self.durability, self.wal_bytes)
            }
            opened => opened,
        }
    }

    fn begin_salvage(&mut self) -> Result<(), SpillError> {
        if self.salvage.is_none() {
            let folder = quarantine::waiting(self.directory.path())?;
            self.salvage = match (self.moved.take(), folder) {
                (Some(moved), folder) => Some(Salvage::of_open(moved, folder)),
                (None, folder) => folder.map(Salvage::of_folder).transpose()?,
            };
            match &self.salvage {
                Some(salvage) => self
                    .stock
                    .compare_salvaged(salvage.commits(), salvage.told()),
                None => self.stock.compare(self.known.commits),
            }
        }
        if let (Some(salvage), Some(database)) = (&self.salvage, &mut self.database) {
            salvage.begin(database)?;
            self.known = *database.summary();
        }
        Ok(())
    }

    /// What has been carried over so far was lost with the database, or waits behind the rest of it.
    fn carry_over_again(&mut self) {
        if let Some(salvage) = &mut self.salvage {
            salvage.restart();
            self.stock.owe(&self.known);
        }
    }

    fn set_aside(&self) -> Result<(), SpillError> {
        quarantine::set_aside(self.directory.path())?;
        Metrics::quarantined();
        Ok(())
    }

    /// All rows that can be had are there: tells those that are missing, and looks whether more is to be carried over.
    fn settle(&mut self) -> Result<(), SpillError> {
        let level = self.stock.level();
        let hole = self.salvage.as_ref().and_then(Salvage::hole);
        // A mark that is older than what was set aside says how far that went, at least.
        let newest = self.known.newest.filter(|_| self.salvage.is_some());
        let tail = newest.map(|newest| (newest, self.stock.newest()));
        let holes: Vec<_> = hole.into_iter().chain(tail).collect();
        if level.is_some() || !holes.is_empty() {
            self.write(|database| {
                database.transact("reconcile", |work| stock::tell_missing(work, level, &holes))
            })?;
        }
        if let Some(salvage) = &self.salvage {
            salvage.conclude(self.directory.path())?;
        }
        self.salvage = None;
        let waiting = quarantine::waiting(self.directory.path())?;
        if self.moved.is_some() || waiting.is_some() {
            // What is still missing may be in there.
            return self.begin_salvage();
        }
        let missing = self.stock.close();
        if missing > 0 {
            tracing::error!(target: "spillring", entries = missing, "entries have vanished from the spill");
        }
        self.stock.note(&self.known);
        Ok(())
    }

    /// A distrusted database is closed without another look at its files.
    pub(super) fn close(&mut self) {
        match self.database.take() {
            Some(database) if self.distrust.is_some() => drop(database.give_up()),
            database => drop(database),
        }
    }
}
