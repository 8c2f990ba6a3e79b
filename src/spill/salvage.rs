//! Carrying rows over from a database that cannot be used any more into the one that has taken its place.
//!
//! In steps, so that the ring is watched meanwhile: first from the oldest row on as far as they can be read, then from
//! the newest one back. What lies between is lost. Each step can be repeated, and rows go to the place that their keys
//! give them, whatever has been appended in the meantime.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, Rows, params_from_iter};

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason};

use super::database::{Database, Work, database_error, read_commits};
use super::fault::Fault;
use super::rows::Row;
use super::{APPEND_ROWS_MAX, directory, first_page, quarantine, schema};

/// How many bytes of rows a step carries over at the most, but for a single larger row.
const STEP_BYTES_MAX: usize = 4 << 20;

/// How often a step is tried on a disk that fails, before what cannot be read counts as lost.
const TRIES_MAX: u32 = 3;

/// A database that is being carried over.
#[derive(Debug)]
pub(super) struct Salvage {
    /// None if it cannot even be opened.
    source: Option<Connection>,
    /// The folder that it was set aside in, if it is still there.
    pub(super) folder: Option<PathBuf>,
    way: Way,
    /// The last row read on the way up.
    reached: Key,
    /// The last row read on the way down.
    down_to: Option<Key>,
    tries: u32,
    /// Entries carried over so far.
    entries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    Done,
}

/// Why a step read no more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The step is full.
    Full,
    /// There are no more.
    Last,
    Unreadable(Fault),
}

/// What a step has carried over.
#[derive(Debug, Default)]
struct Carried {
    rows: usize,
    bytes: usize,
    lowest: Option<Key>,
    highest: Option<Key>,
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
    pub(super) fn of_open(database: Database, folder: Option<PathBuf>) -> Self {
        Self::of(Some(database.give_up()), folder)
    }

    fn of(source: Option<Connection>, folder: Option<PathBuf>) -> Self {
        Self {
            source,
            folder,
            way: Way::Up,
            reached: Key::default(),
            down_to: None,
            tries: 0,
            entries: 0,
        }
    }

    /// The database that rows were carried over into is gone, too: they are carried over once more.
    pub(super) fn restart(&mut self) {
        self.way = Way::Up;
        self.reached = Key::default();
        self.down_to = None;
        self.tries = 0;
        self.entries = 0;
    }

    /// How many transactions the source has seen, if that can be read.
    pub(super) fn commits(&self) -> Option<u64> {
        read_commits(self.source.as_ref()?).ok()
    }

    /// Carries over the runs, without which rows mean nothing, and the dead letters.
    pub(super) fn begin(&self, database: &mut Database) -> Result<(), SpillError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        database.transact("salvage into", |work| {
            copy_table(work, source, "runs")?;
            copy_table(work, source, "dead_letters")?;
            work.count_dead_letters()
        })
    }

    /// One step; what lies up to `floor` has been delivered, and stays behind. Answers how many entries are new.
    pub(super) fn step(&mut self, database: &mut Database, floor: Key) -> Result<u64, SpillError> {
        self.reached = self.reached.max(floor);
        let Some(source) = &self.source else {
            self.way = Way::Done;
            return Ok(0);
        };
        let mut carried = Carried::default();
        let (end, new) = database.transact("salvage into", |work| {
            let before = work.totals.entries;
            let end = self.carry(source, work, &mut carried)?;
            Ok((end, work.totals.entries - before))
        })?;
        self.entries += new;
        match self.way {
            Way::Up => self.reached = carried.highest.unwrap_or(self.reached),
            Way::Down => self.down_to = carried.lowest.or(self.down_to),
            Way::Done => {}
        }
        self.turn(end);
        Ok(new)
    }

    /// How many entries behind `floor`, up to `key`, have still to be carried over, and are not in the database anyway.
    pub(super) fn left_through(
        &self,
        database: &Database,
        floor: Key,
        key: Key,
    ) -> rusqlite::Result<u64> {
        let end = self.down_to.map_or(key, |down| down.before().min(key));
        let range = (self.reached.max(floor).row(), end.row());
        let sql = "SELECT key FROM rows WHERE kind = 0 AND key > ?1 AND key <= ?2";
        let Some(Ok(mut source)) = self.source.as_ref().map(|source| source.prepare(sql)) else {
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
        self.way == Way::Done
    }

    /// What lies between these keys, the second one included, could not be read.
    pub(super) fn hole(&self) -> Option<(Key, Key)> {
        self.down_to.map(|down_to| (self.reached, down_to.before()))
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

    /// Errors are the destination's; the source's are an end.
    fn carry(
        &self,
        source: &Connection,
        work: &mut Work<'_>,
        carried: &mut Carried,
    ) -> rusqlite::Result<End> {
        let (order, below) = match self.way {
            Way::Up => ("ASC", i64::MAX),
            Way::Down => ("DESC", self.down_to.map_or(i64::MAX, Key::row)),
            Way::Done => return Ok(End::Last),
        };
        let mut statement = match source.prepare(&select(source, order)) {
            Ok(statement) => statement,
            Err(error) => return Ok(unreadable(error)),
        };
        match statement.query((self.reached.row(), below)) {
            Ok(mut rows) => carry_rows(&mut rows, work, carried),
            Err(error) => Ok(unreadable(error)),
        }
    }

    /// Which way to go on.
    fn turn(&mut self, end: End) {
        let tries = std::mem::take(&mut self.tries);
        self.way = match (self.way, end) {
            (way, End::Full) => way,
            // A disk that fails may yet answer.
            (way, End::Unreadable(Fault::Unsure | Fault::Passing)) if tries + 1 < TRIES_MAX => {
                self.tries = tries + 1;
                way
            }
            (Way::Up, End::Unreadable(_)) => Way::Down,
            _ => Way::Done,
        };
    }
}

/// A database whose first page is damaged gets another one: the others may be sound.
fn open(folder: &Path) -> Result<Connection, SpillError> {
    let file = folder.join(directory::DATABASE);
    match schema::open_aside(&file) {
        Err(error) if Fault::of(&error) == Fault::Damaged => {
            first_page::replace(folder)?;
            schema::open_aside(&file)
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

impl Carried {
    fn add(&mut self, key: Key, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
        self.lowest = Some(self.lowest.map_or(key, |lowest| lowest.min(key)));
        self.highest = self.highest.max(Some(key));
    }

    fn is_full(&self) -> bool {
        self.rows >= APPEND_ROWS_MAX || self.bytes >= STEP_BYTES_MAX
    }
}

/// Databases of the first version do not know where entries were requeued from.
fn select(source: &Connection, order: &str) -> String {
    let known = source.prepare("SELECT requeued FROM rows").is_ok();
    let requeued = if known { "requeued" } else { "NULL" };
    format!(
        "SELECT key, kind, count, popped_ms, checksum, {requeued}, subject, bytes FROM rows \
         WHERE key > ?1 AND key < ?2 ORDER BY key {order}"
    )
}

fn unreadable(error: rusqlite::Error) -> End {
    End::Unreadable(Fault::of(&database_error("read")(error)))
}

/// Rows whose content is damaged become losses.
fn carry_rows(
    rows: &mut Rows<'_>,
    work: &mut Work<'_>,
    carried: &mut Carried,
) -> rusqlite::Result<End> {
    while !carried.is_full() {
        let read = match rows.next() {
            Ok(Some(row)) => Row::read(row),
            Ok(None) => return Ok(End::Last),
            Err(error) => Err(error),
        };
        match read {
            Ok(Ok(row)) => {
                work.insert_salvaged(&row)?;
                carried.add(row.key, row.bytes.len());
            }
            Ok(Err(key)) => {
                let reason = LossReason::Corrupt;
                work.insert_loss(key, Loss { count: 1, reason })?;
                carried.add(key, 0);
            }
            Err(error) => return Ok(unreadable(error)),
        }
    }
    Ok(End::Full)
}

/// Copies the rows of a table that can be read, with the columns that both sides know.
fn copy_table(work: &Work<'_>, source: &Connection, table: &str) -> rusqlite::Result<()> {
    let known: Vec<String> = work
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let Ok(mut statement) = source.prepare(&format!("SELECT * FROM {table}")) else {
        return Ok(());
    };
    let (at, names): (Vec<usize>, Vec<String>) = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .enumerate()
        .filter(|(_, name)| known.contains(name))
        .unzip();
    let holes = vec!["?"; names.len()].join(", ");
    let names = names.join(", ");
    let sql = format!("INSERT INTO {table} ({names}) VALUES ({holes}) ON CONFLICT DO NOTHING");
    let Ok(mut rows) = statement.query(()) else {
        return Ok(());
    };
    while let Ok(Some(row)) = rows.next() {
        let values: Vec<Value> = at
            .iter()
            .map(|&at| row.get(at).unwrap_or(Value::Null))
            .collect();
        // A row that does not fit is damage too.
        if let Err(error) = work.execute(&sql, params_from_iter(values)) {
            tracing::debug!(target: "spillring", %error, table, "a row could not be salvaged");
        }
    }
    Ok(())
}
