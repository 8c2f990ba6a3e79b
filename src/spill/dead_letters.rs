//! The dead letters: kept in the index until an operator removes them, or puts them back into the backlog
//! under new numbers.

mod reader;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};
use uuid::Uuid;

use crate::event::{Key, Position, Record, RunId, unix_ms};

use super::cipher::Cipher;
use super::orders::NewDeadLetter;
use super::row::{Content, NONCE_TAG, Row, StoredEntry, StoredRow, int, uint};
use super::schema::has_column;
use super::tally::Tally;
pub(crate) use reader::DeadLetterReader;

/// The reason of a dead letter that is no entry.
pub(super) const UNDECODABLE: &str = "undecodable";

/// How many are looked at, or moved, at once.
pub(crate) const PAGE_ROWS: usize = 256;

/// Room that is kept for dead letters on a full disk: free pages in the file and in its log.
const RESERVE_BYTES: u32 = 1 << 20;

const INSERT: &str = "INSERT INTO dead_letters \
     (key, run, reason, detail, popped_ms, at_ms, checksum, requeued, subject, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

/// For listing: reads the length of the entry's bytes, not the bytes.
const LIST: &str = "SELECT key, run, reason, detail, popped_ms, at_ms, requeued, subject, length(bytes) \
     FROM dead_letters WHERE key > ?1 ORDER BY key LIMIT ?2";

/// The columns of a row of a segment, the run, and the reason.
const ONE: &str = "SELECT key, 0, 1, popped_ms, checksum, requeued, subject, bytes, nonce_tag, run, reason \
     FROM dead_letters WHERE key = ?1";
const RUN: usize = 9;
const REASON: usize = 10;

/// The description of a dead letter.
///
/// See the example of [`DeadLetters`](crate::operate::DeadLetters).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number that the entry had, announced as lost in the stream.
    pub id: Position,
    /// Why it became one: `oversize` (larger than [`entry_bytes_max`](crate::Config::entry_bytes_max)), `rejected`, or
    /// `undecodable` (imported, and not an entry: it can only be removed).
    pub reason: String,
    /// The details in words, for example the sink's.
    pub detail: String,
    /// When it was popped from the ring, in milliseconds since 1970.
    pub popped_ms: u64,
    /// When it became a dead letter, in milliseconds since 1970.
    pub given_up_ms: u64,
    /// Its earlier number as a dead letter, if it was requeued in between.
    pub requeued_from: Option<Position>,
    /// The subject below the sink's prefix.
    pub subject: String,
    /// How many bytes the encoded entry has.
    pub bytes: u64,
}

/// A dead letter with what is stored of the entry.
#[derive(Debug)]
pub(super) enum StoredDeadLetter {
    Entry(Position, StoredEntry),
    /// Damaged, or no entry: it can only be removed.
    Unfit(Position),
}

/// The keys of these dead letters, and the numbers that do not exist.
pub(super) fn keys(
    conn: &Connection,
    ids: &[Position],
) -> rusqlite::Result<(BTreeSet<Key>, Vec<Position>)> {
    let runs = LocalRuns::read(conn)?;
    let (mut keys, mut unknown) = (BTreeSet::new(), Vec::new());
    for &id in ids {
        match runs.key(conn, id)? {
            Some(key) => drop(keys.insert(key)),
            None => unknown.push(id),
        }
    }
    Ok((keys, unknown))
}

/// Keeps a dead letter; returns whether it is new.
pub(super) fn insert(
    conn: &Connection,
    letter: &NewDeadLetter,
    cipher: Option<&Cipher>,
) -> rusqlite::Result<bool> {
    let (record, reason) = (&letter.record, letter.reason.as_str());
    keep(conn, record, reason, &letter.detail, cipher)
}

pub(super) fn keep(
    conn: &Connection,
    record: &Record,
    reason: &str,
    detail: &str,
    cipher: Option<&Cipher>,
) -> rusqlite::Result<bool> {
    let mut buffer = Vec::new();
    let row = Row::encrypted(record, cipher, &mut buffer)?;
    let changed = conn.prepare_cached(INSERT)?.execute((
        row.key.row(),
        record.run.id.0.into_bytes(),
        reason,
        detail,
        int(row.popped_ms),
        int(unix_ms()),
        row.checksum(),
        row.requeued.map(Position::to_bytes),
        row.subject,
        row.bytes,
    ))?;
    if changed > 0 && row.nonce_tag.is_some() {
        add_nonce_tag(conn)?;
        let sql = "UPDATE dead_letters SET nonce_tag = ?2 WHERE key = ?1";
        conn.prepare_cached(sql)?
            .execute((row.key.row(), row.nonce_tag))?;
    }
    Ok(changed > 0)
}

/// Whether letters of this database may be encrypted.
fn is_encrypted(conn: &Connection) -> bool {
    has_column(conn, "dead_letters", NONCE_TAG)
}

/// Prepares a database for letters that are encrypted.
pub(super) fn add_nonce_tag(conn: &Connection) -> rusqlite::Result<()> {
    let add = || conn.execute_batch("ALTER TABLE dead_letters ADD COLUMN nonce_tag BLOB");
    if is_encrypted(conn) { Ok(()) } else { add() }
}

/// What is stored in a row of [`ONE`]'s columns, in plain text; `None` if it is damaged.
fn found(row: &SqlRow<'_>, cipher: Option<&Cipher>) -> rusqlite::Result<Option<StoredEntry>> {
    let found = StoredRow::read(row)?;
    let run = position(row, RUN, found.first)?.run;
    Ok(match found.content {
        Content::Entry(entry) => entry.decrypted(found.first, run, cipher),
        _ => None,
    })
}

/// The letter with this key, if it is there.
pub(super) fn load(
    conn: &Connection,
    key: Key,
    cipher: Option<&Cipher>,
) -> rusqlite::Result<Option<StoredDeadLetter>> {
    let mut statement = conn.prepare_cached(&known_columns(conn, ONE))?;
    let mut rows = statement.query([key.row()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let id = position(row, RUN, key)?;
    let is_entry = row.get_ref(REASON)? != ValueRef::Text(UNDECODABLE.as_bytes());
    Ok(Some(match found(row, cipher)? {
        Some(entry) if is_entry => StoredDeadLetter::Entry(id, entry),
        _ => StoredDeadLetter::Unfit(id),
    }))
}

/// Deletes dead letters; returns those that were there.
pub(super) fn remove(conn: &Connection, keys: &[Key]) -> rusqlite::Result<Vec<Position>> {
    let sql = "DELETE FROM dead_letters WHERE key = ?1 RETURNING run";
    let mut statement = conn.prepare_cached(sql)?;
    let mut gone = Vec::new();
    for &key in keys {
        let found = statement.query_row([key.row()], |row| position(row, 0, key));
        gone.extend(found.optional()?);
    }
    Ok(gone)
}

/// Makes sure that the file and its log have free pages.
pub(super) fn reserve(conn: &Connection) -> rusqlite::Result<()> {
    let free: i64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free > 0 {
        return Ok(());
    }
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; CREATE TABLE reserve (bytes BLOB); \
         INSERT INTO reserve VALUES (zeroblob({RESERVE_BYTES})); DROP TABLE reserve; COMMIT"
    ))
}

/// Counts them; only the heads of rows are read.
pub(super) fn count(conn: &Connection) -> rusqlite::Result<Tally> {
    let sql = "SELECT count(*), coalesce(sum(octet_length(subject) + length(bytes) + ?1), 0) \
         FROM dead_letters";
    conn.query_row(sql, [int(Record::OVERHEAD)], |row| {
        Ok(Tally {
            entries: uint(row.get(0)?),
            bytes: uint(row.get(1)?),
        })
    })
}

/// The local numbers of the runs of dead letters. Dead letters outlive the rows of their runs, so the numbers are read
/// from the letters: one query per run, not per letter.
struct LocalRuns(HashMap<RunId, u32>);

impl LocalRuns {
    fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT key, run FROM dead_letters WHERE key >= ?1 ORDER BY key LIMIT 1";
        let mut first = conn.prepare_cached(sql)?;
        let (mut runs, mut from) = (HashMap::new(), 0);
        loop {
            let next = first.query_row([from], |row| <(i64, [u8; 16])>::try_from(row));
            let Some((key, run)) = next.optional()? else {
                return Ok(Self(runs));
            };
            let local = Key::from_row(key).unwrap_or_default().local_run();
            runs.insert(RunId(Uuid::from_bytes(run)), local);
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

pub(super) fn list(
    conn: &Connection,
    after: Option<Key>,
    rows_max: usize,
) -> rusqlite::Result<Vec<(Key, DeadLetter)>> {
    let after = after.map_or(-1, Key::row);
    let mut statement = conn.prepare_cached(&known_columns(conn, LIST))?;
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

/// The first version of spillring did not keep where entries were requeued from, and only an encrypted index has
/// nonces.
fn known_columns<'s>(conn: &Connection, sql: &'s str) -> Cow<'s, str> {
    if is_encrypted(conn) {
        return sql.into();
    }
    let sql = sql.replace(NONCE_TAG, "NULL");
    if has_column(conn, "dead_letters", "requeued") {
        return sql.into();
    }
    sql.replace("requeued", "NULL").into()
}

/// The position of a dead letter; `run` is the column of its run.
fn position(row: &SqlRow<'_>, run: usize, key: Key) -> rusqlite::Result<Position> {
    Ok(Position {
        run: RunId(Uuid::from_bytes(row.get(run)?)),
        n: key.n(),
    })
}

/// Counts those that fit their checksums, as far as they can be read.
pub(super) fn count_sound(conn: &Connection, cipher: Option<&Cipher>) -> Tally {
    let mut sound = Tally::default();
    let sql = ONE.replace(" WHERE key = ?1", "");
    let Ok(mut statement) = conn.prepare(&known_columns(conn, &sql)) else {
        return sound;
    };
    if let Ok(mut rows) = statement.query(()) {
        while let Ok(Some(row)) = rows.next() {
            if let Ok(Some(letter)) = found(row, cipher) {
                sound.add(letter.size());
            }
        }
    }
    sound
}
