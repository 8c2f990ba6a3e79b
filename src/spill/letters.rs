//! The statements on the dead letters: kept beside the backlog until somebody removes them, or puts them back into it
//! under new numbers.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};
use uuid::Uuid;

use crate::dead_letters::DeadLetter;
use crate::error::SpillError;
use crate::event::{Key, Position, Record, Run, RunId, unix_ms};

use super::database::{Work, database_error, int, uint};
use super::rows::Row;
use super::{Directory, Spill, imports, runs, schema};

/// How many bytes of them a transaction moves, unless a single one is larger.
const PAGE_BYTES: u64 = 16 << 20;

const INSERT: &str = "INSERT INTO dead_letters \
     (key, run, reason, detail, popped_ms, at_ms, checksum, requeued, subject, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

/// In short: what the bytes are is not read, only how many there are.
const LIST: &str = "SELECT key, run, reason, detail, popped_ms, at_ms, requeued, subject, length(bytes) \
     FROM dead_letters WHERE key > ?1 ORDER BY key LIMIT ?2";

/// The columns of a row of the backlog, the run, and the reason.
const ONE: &str = "SELECT key, 0, 1, popped_ms, checksum, requeued, subject, bytes, run, reason \
     FROM dead_letters WHERE key = ?1";

/// The dead letters of a publisher that is not running, for whoever only looks. The directory stays taken meanwhile.
#[derive(Debug)]
pub(crate) struct Letters {
    /// Closed before the directory is given up.
    conn: Connection,
    _directory: Directory,
}

/// What a transaction has come to.
#[derive(Debug, Default)]
pub(crate) struct Requeued {
    /// How many of the keys it has dealt with.
    pub(crate) taken: usize,
    /// Old numbers with their new ones.
    pub(crate) moved: Vec<(Position, Position)>,
    /// These stay where they are.
    pub(crate) damaged: Vec<Position>,
}

/// What became of one letter.
enum Outcome {
    Moved(Position, u64),
    Damaged(Position),
    Gone,
}

impl Letters {
    /// How many letters are looked at, or moved, at once.
    pub(crate) const PAGE_ROWS: usize = 256;

    pub(crate) fn open(directory: Directory) -> Result<Self, SpillError> {
        Ok(Self {
            conn: schema::open_to_read(&directory.database())?,
            _directory: directory,
        })
    }

    /// The oldest behind `after`, with the keys to go on from.
    pub(crate) fn page(&self, after: Option<Key>) -> Result<Vec<(Key, DeadLetter)>, SpillError> {
        list(&self.conn, after, Self::PAGE_ROWS).map_err(database_error("read"))
    }

    /// The letter of this number with its bytes, if there is one.
    pub(crate) fn get(&self, id: Position) -> Result<Option<(DeadLetter, Vec<u8>)>, SpillError> {
        let conn = &self.conn;
        let found = || -> rusqlite::Result<_> {
            let Some(key) = Places::read(conn)?.key(conn, id)? else {
                return Ok(None);
            };
            let before = key.row().checked_sub(1).and_then(Key::from_row);
            let letter = list(conn, before, 1)?.pop();
            let bytes = conn.prepare_cached(ONE)?.query_row([key.row()], |row| {
                Ok(Row::read(row)?.ok().map(|row| row.bytes.to_vec()))
            })?;
            Ok(letter.map(|(_, letter)| (letter, bytes)))
        };
        match found().map_err(database_error("read"))? {
            None => Ok(None),
            Some((letter, Some(bytes))) => Ok(Some((letter, bytes))),
            Some((_, None)) => Err(SpillError::DamagedDeadLetters { ids: vec![id] }),
        }
    }
}

impl Spill {
    /// The keys of these dead letters, oldest first; an error names those that there are none of.
    pub(crate) fn dead_letter_keys(&mut self, ids: &[Position]) -> Result<Vec<Key>, SpillError> {
        let (keys, unknown) = self
            .store
            .read(|database| keys(database.connection(), ids).map_err(database_error("read")))?;
        if unknown.is_empty() {
            Ok(keys.into_iter().collect())
        } else {
            Err(SpillError::NoSuchDeadLetters { ids: unknown })
        }
    }

    /// The keys of a page of dead letters behind `after`.
    pub(crate) fn next_dead_letters(&mut self, after: Option<Key>) -> Result<Vec<Key>, SpillError> {
        let letters = self.store.read(|database| {
            list(database.connection(), after, Letters::PAGE_ROWS).map_err(database_error("read"))
        })?;
        Ok(letters.into_iter().map(|(key, _)| key).collect())
    }

    /// Puts dead letters back into the backlog behind number `last_n` of the run, in one transaction: at the most a
    /// page of them.
    pub(crate) fn requeue(
        &mut self,
        keys: &[Key],
        run: &Run,
        last_n: u64,
    ) -> Result<Requeued, SpillError> {
        self.store.write(|database| {
            database.transact("requeue in", |work| requeue(work, keys, run, last_n))
        })
    }

    /// Deletes dead letters in one transaction, and says which.
    pub(crate) fn remove_dead_letters(
        &mut self,
        keys: &[Key],
    ) -> Result<Vec<Position>, SpillError> {
        self.store.write(|database| {
            database.transact("remove from", |work| {
                let removed = keys.iter().map(|&key| work.remove_dead_letter(key));
                removed.filter_map(Result::transpose).collect()
            })
        })
    }
}

/// The keys of these dead letters, and those numbers that there are none of.
fn keys(conn: &Connection, ids: &[Position]) -> rusqlite::Result<(BTreeSet<Key>, Vec<Position>)> {
    let places = Places::read(conn)?;
    let (mut keys, mut unknown) = (BTreeSet::new(), Vec::new());
    for &id in ids {
        match places.key(conn, id)? {
            Some(key) => drop(keys.insert(key)),
            None => unknown.push(id),
        }
    }
    Ok((keys, unknown))
}

fn requeue(
    work: &mut Work<'_>,
    keys: &[Key],
    run: &Run,
    last_n: u64,
) -> rusqlite::Result<Requeued> {
    let mut done = Requeued::default();
    let (mut n, mut bytes) = (last_n, 0);
    for &key in keys.iter().take(Letters::PAGE_ROWS) {
        let to = Key::new(run.local, n + 1);
        match work.requeue(key, to)? {
            Outcome::Moved(old, size) => {
                n += 1;
                bytes += size;
                done.moved.push((old, Position { run: run.id, n }));
            }
            Outcome::Damaged(id) => done.damaged.push(id),
            Outcome::Gone => {}
        }
        done.taken += 1;
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    runs::end(work, run, n)?;
    Ok(done)
}

impl Work<'_> {
    /// Keeps the record beside the backlog; says whether it was not kept yet.
    pub(super) fn insert_dead_letter(
        &self,
        record: &Record,
        reason: &str,
        detail: &str,
    ) -> rusqlite::Result<bool> {
        let row = Row::entry(record);
        let changed = self.prepare(INSERT)?.execute((
            row.key.row(),
            record.run.id.0.into_bytes(),
            reason,
            detail,
            int(row.popped_ms),
            int(unix_ms()),
            row.checksum,
            row.requeued.map(Position::to_bytes),
            row.subject,
            row.bytes,
        ))?;
        Ok(changed > 0)
    }

    /// Puts a dead letter into the backlog under a key that is free.
    fn requeue(&mut self, from: Key, to: Key) -> rusqlite::Result<Outcome> {
        let (old, size) = {
            let mut statement = self.prepare(ONE)?;
            let mut rows = statement.query([from.row()])?;
            let Some(row) = rows.next()? else {
                return Ok(Outcome::Gone);
            };
            let old = position(row, 8, from)?;
            // What is no entry can only be removed.
            let is_entry = row.get_ref(9)? != ValueRef::Text(imports::UNDECODABLE.as_bytes());
            let (Ok(letter), true) = (Row::read(row)?, is_entry) else {
                return Ok(Outcome::Damaged(old));
            };
            let size = size(letter.subject.len() + letter.bytes.len());
            let entry = Row {
                key: to,
                requeued: Some(old),
                ..letter
            };
            if !self.insert_row(&entry.summed())? {
                return Ok(Outcome::Gone);
            }
            (old, size)
        };
        self.totals.entries += 1;
        self.totals.bytes += size;
        self.remove_dead_letter(from)?;
        Ok(Outcome::Moved(old, size))
    }

    /// After dead letters came from elsewhere.
    pub(super) fn count_dead_letters(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT count(*), coalesce(sum(octet_length(subject) + length(bytes) + ?1), 0) \
             FROM dead_letters";
        let (count, bytes) = self
            .prepare(sql)?
            .query_row([int(Record::OVERHEAD)], |row| <(i64, i64)>::try_from(row))?;
        self.totals.dead_letters = uint(count);
        self.totals.dead_letter_bytes = uint(bytes);
        Ok(())
    }

    fn remove_dead_letter(&mut self, key: Key) -> rusqlite::Result<Option<Position>> {
        let sql = "DELETE FROM dead_letters WHERE key = ?1 \
             RETURNING run, octet_length(subject) + length(bytes)";
        let gone = self.prepare(sql)?.query_row([key.row()], |row| {
            Ok((position(row, 0, key)?, uint(row.get(1)?) + Record::OVERHEAD))
        });
        let Some((id, size)) = gone.optional()? else {
            return Ok(None);
        };
        let totals = &mut self.totals;
        totals.dead_letters = totals.dead_letters.saturating_sub(1);
        totals.dead_letter_bytes = totals.dead_letter_bytes.saturating_sub(size);
        Ok(Some(id))
    }
}

/// Where the dead letters of a run stand. They outlive its row, so they are asked themselves: once a run, not once a
/// letter.
struct Places(HashMap<RunId, u32>);

impl Places {
    fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT key, run FROM dead_letters WHERE key >= ?1 ORDER BY key LIMIT 1";
        let mut first = conn.prepare_cached(sql)?;
        let (mut places, mut from) = (HashMap::new(), 0);
        loop {
            let next = first.query_row([from], |row| <(i64, [u8; 16])>::try_from(row));
            let Some((key, run)) = next.optional()? else {
                return Ok(Self(places));
            };
            let local = Key::from_row(key).unwrap_or_default().local_run();
            places.insert(RunId(Uuid::from_bytes(run)), local);
            from = Key::new(local, Key::N_MAX).row().saturating_add(1);
        }
    }

    /// The key of the letter with this number, if there is one.
    fn key(&self, conn: &Connection, id: Position) -> rusqlite::Result<Option<Key>> {
        let Some(&local) = self.0.get(&id.run).filter(|_| id.n <= Key::N_MAX) else {
            return Ok(None);
        };
        let key = Key::new(local, id.n);
        let sql = "SELECT 1 FROM dead_letters WHERE key = ?1";
        let there = conn.prepare_cached(sql)?.exists([key.row()])?;
        Ok(there.then_some(key))
    }
}

fn list(
    conn: &Connection,
    after: Option<Key>,
    rows_max: usize,
) -> rusqlite::Result<Vec<(Key, DeadLetter)>> {
    let after = after.map_or(-1, Key::row);
    let mut statement = conn.prepare_cached(LIST)?;
    let letters = statement.query_map((after, int(rows_max as u64)), |row| {
        let key = Key::from_row(row.get(0)?).unwrap_or_default();
        let requeued: Option<Vec<u8>> = row.get(6)?;
        // What is damaged is shown as far as it is text: it must not keep the others from being seen.
        let text = |column| -> rusqlite::Result<String> {
            Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
        };
        Ok((
            key,
            DeadLetter {
                id: position(row, 1, key)?,
                reason: text(2)?,
                detail: text(3)?,
                popped_ms: uint(row.get(4)?),
                given_up_ms: uint(row.get(5)?),
                requeued_from: requeued.as_deref().and_then(Position::from_bytes),
                subject: text(7)?,
                bytes: uint(row.get(8)?),
            },
        ))
    })?;
    letters.collect()
}

/// The number of a letter, whose run stands in this column.
fn position(row: &SqlRow<'_>, run: usize, key: Key) -> rusqlite::Result<Position> {
    Ok(Position {
        run: RunId(Uuid::from_bytes(row.get(run)?)),
        n: key.n(),
    })
}

fn size(bytes: usize) -> u64 {
    bytes as u64 + Record::OVERHEAD
}
