//! The index: what is known beside the segments. Runs, dead letters, numbers that will not be delivered, imports.
//!
//! Runs and absent numbers are kept in memory; a change is written with the next transaction, and until one succeeds it
//! stays unsaved. So reading works even while the disk takes no writes. Each transaction survives a power cut.
//!
//! A handle is closed after any error, and the next use opens a fresh one. Only when all fresh handles have found
//! damage for [`PATIENCE`] is the file set aside, as `index.damaged-<milliseconds>`, and another made of memory and of
//! what can be read.

mod damage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, PublisherId};
use crate::host::log;

use super::absent::{self, Absent};
use super::dead_letters;
use super::files::DatabaseFiles;
use super::row::{int, uint};
use super::runs::{self, Runs};
use super::schema::{self, database_error};
use super::tally::Tally;

/// How long something is tried again, from fresh handles, before it counts as damaged.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The index, and what it holds as far as that is kept in memory.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) path: PathBuf,
    pub(super) publisher: PublisherId,
    open: Option<(Connection, DatabaseFiles)>,
    /// It is known what the file holds.
    pub(super) loaded: bool,
    /// Since when it cannot be opened.
    trouble: Option<Instant>,
    pub(super) runs: Runs,
    pub(super) absent: Absent,
    /// The dead letters.
    pub(super) dead_letters: Tally,
    /// Everything up to here was delivered when delivered data was last removed: the watermark may be an older copy.
    pub(super) settled: Key,
    /// How many entries were ever taken out of the backlog. Written with the numbers that are absent.
    pub(super) taken: u64,
}

impl Index {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf, publisher: PublisherId) -> Self {
        Self {
            path,
            loaded: false,
            ..Self::nowhere(publisher)
        }
    }

    /// Reads the index of a publisher that is not running, or of an earlier version, and will write nothing. Also says
    /// what is wrong with it.
    pub(super) fn inspect(file: Option<PathBuf>, publisher: PublisherId) -> (Self, Option<String>) {
        let mut index = Self::new(PathBuf::new(), publisher);
        let looked = file.map(|file| {
            let conn = schema::open_to_read(&file).map_err(database_error("read the index of"))?;
            index
                .load(&conn)
                .map_err(database_error("read the index of"))?;
            schema::version(&conn)
        });
        index.loaded = true;
        let damage = match looked {
            Some(Ok(found)) if found > schema::VERSION => Some(SpillError::Schema {
                found,
                known: schema::VERSION,
            }),
            looked => looked.and_then(Result::err),
        };
        (
            index,
            damage.map(|error| format!("the index is damaged: {error}")),
        )
    }

    /// One that takes nothing.
    pub(super) fn nowhere(publisher: PublisherId) -> Self {
        Self {
            path: PathBuf::new(),
            publisher,
            open: None,
            loaded: true,
            trouble: None,
            runs: Runs::default(),
            absent: Absent::default(),
            dead_letters: Tally::default(),
            settled: Key::default(),
            taken: 0,
        }
    }

    /// It is another publisher's from now on.
    pub(super) fn rename(&mut self, publisher: PublisherId) {
        self.publisher = publisher;
        self.runs.rename(publisher);
    }

    /// Succeeds once it is known what the file holds. It may be read only.
    pub(super) fn ready(&mut self, now: Instant) -> Result<(), SpillError> {
        if self.loaded {
            return Ok(());
        }
        match self.connect().map(drop) {
            Ok(()) => {
                self.trouble = None;
                Ok(())
            }
            Err(_) if self.is_missing() => {
                self.loaded = true;
                Ok(())
            }
            // A disk that takes nothing can still be read.
            Err(error) if self.path.is_file() && !damage::is_damage(&error) => {
                self.read_only(error)
            }
            Err(error) => self.despair(error, now),
        }
    }

    /// Does the work in one transaction that survives a power cut, and saves what is unsaved. After an error nothing of
    /// it has happened, or, if the commit itself failed, perhaps all of it: the work must be harmless to repeat.
    pub(super) fn transact<T>(
        &mut self,
        action: &'static str,
        now: Instant,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        self.ready(now)?;
        let trouble = self.trouble;
        let done = self.attempt(action, work);
        match done {
            Ok(value) => {
                self.trouble = None;
                self.runs.unsaved.clear();
                self.absent.unsaved.clear();
                Ok(value)
            }
            Err(error) => {
                self.open = None;
                self.trouble = trouble;
                if damage::is_damage(&error) {
                    return self.despair(error, now).and(Err(SpillError::GivenUp));
                }
                Err(error)
            }
        }
    }

    /// The same for work that may change the dead letters, which are counted again.
    pub(super) fn change_dead_letters<T>(
        &mut self,
        action: &'static str,
        now: Instant,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        let (value, count) = self.transact(action, now, |conn| {
            Ok((work(conn)?, dead_letters::count(conn)?))
        })?;
        self.dead_letters = count;
        Ok(value)
    }

    /// All of a segment is delivered, and the segment is about to be removed.
    pub(super) fn note_settled(&mut self, through: Key, now: Instant) {
        self.settled = self.settled.max(through);
        if let Err(error) = self.transact("write to the index of", now, |_| Ok(())) {
            log::debug!(%error, "the index of the spill does not know how far delivery has come");
        }
    }

    /// Everything up to this key is delivered, so its absent numbers are no longer needed, even by a start that finds
    /// no watermark: the same transaction writes how far delivery had come.
    pub(super) fn prune(&mut self, through: Key) {
        if self.absent.prune(through) {
            self.settled = self.settled.max(through);
        }
    }

    /// Saves what is unsaved.
    pub(super) fn save(&mut self, now: Instant) -> Result<(), SpillError> {
        if self.runs.unsaved.is_empty() && self.absent.unsaved.is_empty() {
            return Ok(());
        }
        self.transact("write to the index of", now, |_| Ok(()))
    }

    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        let done = work(self.connect()?).map_err(database_error("read the index of"));
        if done.is_err() {
            self.open = None;
        }
        done
    }

    /// If the file is no longer in place, lets the next use create it again from memory.
    pub(super) fn check_place(&mut self) {
        if self
            .open
            .as_ref()
            .is_some_and(|(_, files)| files.have_left(&self.path))
        {
            log::error!(file = %self.path.display(), "the index of the spill was moved or deleted: it is written again from memory");
            self.open = None;
            self.forget_saved();
        }
    }

    fn attempt<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpillError> {
        self.connect()?;
        let Some((conn, _)) = &self.open else {
            return Err(SpillError::GivenUp);
        };
        let transaction = || {
            conn.execute_batch("BEGIN IMMEDIATE")?;
            for &local in &self.runs.unsaved {
                runs::save(conn, local, self.runs.get(local))?;
            }
            for &first in &self.absent.unsaved {
                absent::save(conn, first, self.absent.get(first))?;
            }
            let sql = "INSERT OR REPLACE INTO level (id, settled, taken) VALUES (1, ?1, ?2)";
            conn.prepare_cached(sql)?
                .execute((self.settled.row(), int(self.taken)))?;
            let value = work(conn)?;
            conn.execute_batch("COMMIT")?;
            Ok(value)
        };
        transaction().map_err(database_error(action))
    }

    fn connect(&mut self) -> Result<&Connection, SpillError> {
        if self.open.is_none() {
            if self.path.as_os_str().is_empty() {
                return Err(SpillError::Absent);
            }
            let conn = schema::open(&self.path, schema::INDEX, SpillDurability::PowerLoss)?;
            let files = DatabaseFiles::of(&self.path)?;
            self.load(&conn)
                .map_err(database_error("read the index of"))?;
            self.open = Some((conn, files));
        }
        self.open
            .as_ref()
            .map(|(conn, _)| conn)
            .ok_or(SpillError::GivenUp)
    }

    /// There is no index, although its folder is there; and none can be made.
    fn is_missing(&self) -> bool {
        // A file of no bytes is one that could not be made.
        let missing = match fs::symlink_metadata(&self.path) {
            Ok(found) => found.is_file() && found.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        missing && self.path.parent().is_some_and(Path::is_dir)
    }

    /// The file cannot be written to, hence not opened as a database that is.
    fn read_only(&mut self, error: SpillError) -> Result<(), SpillError> {
        let Ok(conn) = schema::open_to_read(&self.path) else {
            return Err(error);
        };
        self.load(&conn).map_err(|_| error)
    }

    fn load(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.dead_letters = dead_letters::count(conn)?;
        if self.loaded {
            return Ok(());
        }
        self.load_rest(conn)?;
        self.loaded = true;
        Ok(())
    }

    /// After an error, unreadable runs are missing; if any absent number is unreadable, all are missing.
    fn load_rest(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let (known, all) = runs::read_all(conn, self.publisher);
        for known in known {
            self.runs.load(known);
        }
        // A database of an earlier version has no such table.
        if schema::has_table(conn, "absent")? {
            for (first, stretch) in absent::read_all(conn)? {
                self.absent.load(first, stretch);
            }
            self.load_level(conn)?;
        }
        all
    }

    fn load_level(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT settled, taken FROM level";
        let level = conn.query_row(sql, (), |row| <(i64, i64)>::try_from(row));
        let (settled, taken) = level.optional()?.unwrap_or_default();
        self.settled = Key::from_row(settled).unwrap_or_default().max(self.settled);
        self.taken = uint(taken).max(self.taken);
        Ok(())
    }

    fn forget_saved(&mut self) {
        self.runs.forget_saved();
        self.absent.forget_saved();
    }

    /// Free pages in the file and in its log let dead letters be kept on a full disk.
    pub(super) fn reserve(&mut self) {
        if let Err(error) = self.read(dead_letters::reserve) {
            log::debug!(%error, "no room can be kept for dead letters");
        }
    }
}
