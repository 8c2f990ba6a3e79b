//! Reading the rows of a database that may be damaged, as far as they can be read.
//!
//! In steps: first from the oldest row on, then, if there is one that cannot be read, from the newest one back. What lies
//! between is lost. A step changes nothing before it is said to have been of use, so each can be repeated.

use rusqlite::{Connection, Rows};

use crate::event::Key;

use super::APPEND_ROWS_MAX;
use super::database::{database_error, read_commits, read_entries};
use super::fault::Fault;
use super::rows::Row;

/// How many bytes of rows a step reads at the most, but for a single larger row.
const STEP_BYTES_MAX: usize = 4 << 20;

/// How often a step is tried on a disk that fails, before what cannot be read counts as lost.
const TRIES_MAX: u32 = 3;

/// A database, and how far it has been read.
#[derive(Debug)]
pub(super) struct Source {
    conn: Connection,
    way: Way,
    /// The last row read on the way up.
    reached: Key,
    /// The last row read on the way down.
    down_to: Option<Key>,
    tries: u32,
}

/// Where the next step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
    Done,
}

/// What a step has read.
#[derive(Debug)]
pub(super) struct Step {
    end: End,
    rows: usize,
    bytes: usize,
    lowest: Option<Key>,
    highest: Option<Key>,
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

impl Source {
    pub(super) fn new(conn: Connection) -> Self {
        Self {
            conn,
            way: Way::Up,
            reached: Key::default(),
            down_to: None,
            tries: 0,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// How many transactions the database has seen, if that can be read.
    pub(super) fn commits(&self) -> Option<u64> {
        read_commits(&self.conn).ok()
    }

    /// How many entries it says it has, if that can be read.
    pub(super) fn entries(&self) -> Option<u64> {
        read_entries(&self.conn).ok()
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    pub(super) fn reached(&self) -> Key {
        self.reached
    }

    /// What lies between these keys, the second one included, could not be read.
    pub(super) fn hole(&self) -> Option<(Key, Key)> {
        self.down_to.map(|down_to| (self.reached, down_to.before()))
    }

    /// Leaves out what lies up to the key.
    pub(super) fn skip_to(&mut self, key: Key) {
        self.reached = self.reached.max(key);
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        self.way = Way::Up;
        self.reached = Key::default();
        self.down_to = None;
        self.tries = 0;
    }

    /// Behind the one, and up to the other, lies what has still to be read up to this key.
    pub(super) fn unread_through(&self, key: Key) -> (Key, Key) {
        let end = self.down_to.map_or(key, |down| down.before().min(key));
        (self.reached, end)
    }

    /// Goes up again, behind the hole.
    pub(super) fn leap(&mut self, behind: Key) {
        self.way = Way::Up;
        self.reached = behind;
        self.down_to = None;
    }

    /// Shows the rows of one step; `Err` holds the key of one that is not fit to be read. Errors are the visitor's; the
    /// database's are an end.
    pub(super) fn read<E>(
        &self,
        visit: &mut impl FnMut(Result<&Row<'_>, Key>) -> Result<(), E>,
    ) -> Result<Step, E> {
        let mut step = Step {
            end: End::Full,
            rows: 0,
            bytes: 0,
            lowest: None,
            highest: None,
        };
        step.end = self.read_into(&mut step, visit)?;
        Ok(step)
    }

    fn read_into<E>(
        &self,
        step: &mut Step,
        visit: &mut impl FnMut(Result<&Row<'_>, Key>) -> Result<(), E>,
    ) -> Result<End, E> {
        let (order, below) = match self.way {
            Way::Up => ("ASC", i64::MAX),
            Way::Down => ("DESC", self.down_to.map_or(i64::MAX, Key::row)),
            Way::Done => return Ok(End::Last),
        };
        let mut statement = match self.conn.prepare_cached(&select(&self.conn, order)) {
            Ok(statement) => statement,
            Err(error) => return Ok(unreadable(error)),
        };
        match statement.query((self.reached.row(), below)) {
            Ok(mut rows) => self.read_rows(&mut rows, step, visit),
            Err(error) => Ok(unreadable(error)),
        }
    }

    fn read_rows<E>(
        &self,
        rows: &mut Rows<'_>,
        step: &mut Step,
        visit: &mut impl FnMut(Result<&Row<'_>, Key>) -> Result<(), E>,
    ) -> Result<End, E> {
        while !step.is_full() {
            let read = match rows.next() {
                Ok(Some(row)) => Row::read(row),
                Ok(None) => return Ok(End::Last),
                Err(error) => Err(error),
            };
            match read {
                Ok(Ok(row)) if self.goes_on(step, row.key) => {
                    visit(Ok(&row))?;
                    step.add(row.key, row.bytes.len());
                }
                Ok(Err(key)) if self.goes_on(step, key) => {
                    visit(Err(key))?;
                    step.add(key, 0);
                }
                // A key out of order is damage as well, and says nothing of where.
                Ok(_) => {}
                Err(error) => return Ok(unreadable(error)),
            }
        }
        Ok(End::Full)
    }

    fn goes_on(&self, step: &Step, key: Key) -> bool {
        match self.way {
            Way::Up => key > step.highest.unwrap_or(self.reached),
            Way::Down => {
                let above = step.lowest.or(self.down_to);
                key > self.reached && above.is_none_or(|above| key < above)
            }
            Way::Done => false,
        }
    }

    /// The step was of use: the next one goes on behind it.
    pub(super) fn advance(&mut self, step: &Step) {
        match self.way {
            Way::Up => self.reached = step.highest.unwrap_or(self.reached),
            Way::Down => self.down_to = step.lowest.or(self.down_to),
            Way::Done => {}
        }
        let tries = std::mem::take(&mut self.tries);
        self.way = match (self.way, step.end) {
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

impl Step {
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

/// Behind one key and before another. A search for `> ?1` would begin in the page that `?1` belongs to, which may be the
/// one that cannot be read. Databases of the first version do not know where entries were requeued from.
fn select(conn: &Connection, order: &str) -> String {
    let known = conn.prepare_cached("SELECT requeued FROM rows").is_ok();
    let requeued = if known { "requeued" } else { "NULL" };
    format!(
        "SELECT key, kind, count, popped_ms, checksum, {requeued}, subject, bytes FROM rows \
         WHERE key >= ?1 + 1 AND key < ?2 ORDER BY key {order}"
    )
}

fn unreadable(error: rusqlite::Error) -> End {
    End::Unreadable(Fault::of(&database_error("read")(error)))
}
