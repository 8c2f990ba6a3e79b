//! Carrying rows over from a database that cannot be used any more into the one that has taken its place.
//!
//! In steps, so that the ring is watched meanwhile. Each step can be repeated, and rows go to the place that their keys
//! give them, whatever has been appended in the meantime.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason};

use super::database::{Database, Work};
use super::fault::Fault;
use super::fold::Content;
use super::rows::Row;
use super::runs::rescue;
use super::source::{Source, Way};
use super::{directory, first_page, quarantine, schema};

/// A database that is being carried over.
#[derive(Debug)]
pub(super) struct Salvage {
    /// None if it cannot even be opened.
    source: Option<Source>,
    /// The folder that it was set aside in, if it is still there.
    pub(super) folder: Option<PathBuf>,
    /// Entries carried over so far.
    entries: u64,
}

impl Salvage {
    /// From a folder that the database was set aside in. An error passes, or somebody mends it: nothing is given up yet.
    pub(super) fn of_folder(folder: PathBuf) -> Result<Self, SpillError> {
        let source = match open(&folder) {
            Err(error) if passes(&error, &folder) => return Err(error),
            Err(error) => {
                tracing::error!(target: "spillring", %error, folder = %folder.display(), "nothing of the spill can be read any more");
                None
            }
            Ok(source) => Some(source),
        };
        Ok(Self::of(source, Some(folder)))
    }

    /// From a database whose files are no longer where they were, through the connection that still holds them.
    pub(super) fn of_open(source: Connection, folder: Option<PathBuf>) -> Self {
        Self::of(Some(source), folder)
    }

    fn of(source: Option<Connection>, folder: Option<PathBuf>) -> Self {
        Self {
            source: source.map(Source::new),
            folder,
            entries: 0,
        }
    }

    /// The database that rows were carried over into is gone, too: they are carried over once more.
    pub(super) fn restart(&mut self) {
        if let Some(source) = &mut self.source {
            source.restart();
        }
        self.entries = 0;
    }

    /// How many transactions the source has seen, if that can be read.
    pub(super) fn commits(&self) -> Option<u64> {
        self.source.as_ref()?.commits()
    }

    /// How many entries the source says it has, if that can be read.
    pub(super) fn told(&self) -> Option<u64> {
        self.source.as_ref()?.entries()
    }

    /// Carries over the runs, without which rows mean nothing, the dead letters, and what is remembered of imports.
    pub(super) fn begin(&self, database: &mut Database) -> Result<(), SpillError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        database.transact("salvage into", |work| {
            copy_table(work, source.connection(), "runs", None)?;
            rescue::remove_unfit(work)?;
            rescue::copy_ids(work, source.connection())?;
            copy_table(work, source.connection(), "dead_letters", None)?;
            // In the order of their ids, but without them: others may have them by now.
            copy_table(work, source.connection(), "imported", Some("id"))?;
            work.count_dead_letters()
        })
    }

    /// One step; what lies up to `floor` has been delivered, and stays behind. Answers how many entries are new.
    pub(super) fn step(&mut self, database: &mut Database, floor: Key) -> Result<u64, SpillError> {
        let Some(source) = &mut self.source else {
            return Ok(0);
        };
        source.skip_to(floor);
        let (step, new) = database.transact("salvage into", |work| {
            let before = work.totals.entries;
            let known = rescue::known(work)?;
            let step = source.read(&mut |row| carry(work, &known, row))?;
            Ok((step, work.totals.entries - before))
        })?;
        source.advance(&step);
        self.entries += new;
        Ok(new)
    }

    /// How many entries behind `floor`, up to `key`, have still to be carried over, and are not in the database anyway.
    pub(super) fn left_through(
        &self,
        database: &Database,
        floor: Key,
        key: Key,
    ) -> rusqlite::Result<u64> {
        let Some(source) = &self.source else {
            return Ok(0);
        };
        let (reached, end) = source.unread_through(key);
        let range = (reached.max(floor).row(), end.row());
        let sql = "SELECT key FROM rows WHERE kind = 0 AND key > ?1 AND key <= ?2";
        let Ok(mut source) = source.connection().prepare(sql) else {
            return Ok(0);
        };
        let Ok(keys) = source.query_map(range, |row| row.get::<_, i64>(0)) else {
            return Ok(0);
        };
        let sql = "SELECT 1 FROM rows WHERE key = ?1 AND kind = 0";
        let mut here = database.connection().prepare_cached(sql)?;
        let mut left = 0;
        // What cannot be read counts as lost in the end.
        for key in keys.map_while(Result::ok) {
            left += u64::from(!here.exists([key])?);
        }
        Ok(left)
    }

    pub(super) fn is_done(&self) -> bool {
        let source = self.source.as_ref();
        source.is_none_or(|source| source.way() == Way::Done)
    }

    /// What lies between these keys, the second one included, could not be read.
    pub(super) fn hole(&self) -> Option<(Key, Key)> {
        self.source.as_ref()?.hole()
    }

    /// Keeps what it came from, but not to be salvaged again.
    pub(super) fn conclude(&self, dir: &Path) -> Result<(), SpillError> {
        let kept = match &self.folder {
            Some(folder) => quarantine::conclude(dir, folder)?,
            None => PathBuf::new(),
        };
        tracing::error!(
            target: "spillring", salvaged = self.entries, quarantine = %kept.display(),
            "the spill was made anew from what could be read of the old one"
        );
        Ok(())
    }
}

/// A database whose first page is damaged gets another one: the others may be sound.
fn open(folder: &Path) -> Result<Connection, SpillError> {
    let file = folder.join(directory::DATABASE);
    match schema::open_to_read(&file) {
        Err(error) if Fault::of(&error) == Fault::Damaged => {
            first_page::replace(folder)?;
            schema::open_to_read(&file)
        }
        opened => opened,
    }
}

/// Whether a database that could not be opened may be opened later. One without a file, or shorter than a page, never is.
fn passes(error: &SpillError, folder: &Path) -> bool {
    let cut_short = matches!(error, SpillError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof);
    let open_to_change = matches!(Fault::of(error), Fault::Passing | Fault::Full);
    open_to_change && !cut_short && folder.join(directory::DATABASE).is_file()
}

/// A row whose content is damaged, or an entry of which nobody knows the run, becomes a loss.
fn carry(
    work: &mut Work<'_>,
    known: &HashSet<u32>,
    row: Result<&Row<'_>, Key>,
) -> rusqlite::Result<()> {
    let lost = match row {
        Ok(row) if row.content() != Content::Entry || known.contains(&row.key.local_run()) => {
            return work.insert_salvaged(row);
        }
        Ok(row) => row.key,
        Err(key) => key,
    };
    let reason = LossReason::Corrupt;
    work.insert_loss(lost, Loss { count: 1, reason })
}

/// Copies the rows of a table that can be read, with the columns that both sides know: from its beginning, and if there
/// is damage, from its end.
fn copy_table(
    work: &Work<'_>,
    source: &Connection,
    table: &str,
    without: Option<&str>,
) -> rusqlite::Result<()> {
    if !copy_rows(work, source, (table, "ASC"), without)? {
        copy_rows(work, source, (table, "DESC"), without)?;
    }
    Ok(())
}

/// Says whether that was all of them.
fn copy_rows(
    work: &Work<'_>,
    source: &Connection,
    (table, order): (&str, &str),
    without: Option<&str>,
) -> rusqlite::Result<bool> {
    let known: Vec<String> = work
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let sql = format!("SELECT * FROM {table} ORDER BY rowid {order}");
    let Ok(mut statement) = source.prepare(&sql) else {
        return Ok(false);
    };
    let (at, names): (Vec<usize>, Vec<String>) = statement
        .column_names()
        .map(str::to_owned)
        .enumerate()
        .filter(|(_, name)| known.contains(name) && without != Some(name.as_str()))
        .unzip();
    let holes = vec!["?"; names.len()].join(", ");
    let names = names.join(", ");
    let sql = format!("INSERT INTO {table} ({names}) VALUES ({holes}) ON CONFLICT DO NOTHING");
    let Ok(mut rows) = statement.query(()) else {
        return Ok(false);
    };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            ended => return Ok(ended.is_ok()),
        };
        let values: Vec<Value> = at
            .iter()
            .map(|&at| row.get(at).unwrap_or(Value::Null))
            .collect();
        // A row that does not fit is damage too.
        if let Err(error) = work.execute(&sql, params_from_iter(values)) {
            let code = error.sqlite_error_code();
            if !matches!(
                code,
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
            ) {
                return Err(error);
            }
            tracing::debug!(target: "spillring", %error, table, "a row could not be salvaged");
        }
    }
}
