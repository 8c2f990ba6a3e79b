//! The statements on the backlog. Each leaves the totals of its transaction exact, and each can be repeated.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row as SqlRow, Statement};

use crate::event::{Key, Loss, LossReason, Position, Record};

use super::database::{Work, int, uint};
use super::fold::{Content, Damage};
use super::losses::{kind, reason};

/// The `kind` of an entry; any other names the reason of a loss.
const ENTRY: i64 = 0;

/// Prepared once for all rows of a transaction: looking it up for each costs some of the rate.
const INSERT: &str = "INSERT INTO rows (key, kind, count, popped_ms, checksum, requeued, subject, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

/// From the row that holds the key, or the nearest before it: that one says whether what follows is gapless.
pub(super) const SELECT_FROM: &str = "SELECT key, kind, count, popped_ms, checksum, requeued, subject, bytes FROM rows \
     WHERE key >= coalesce((SELECT max(key) FROM rows WHERE key <= ?1), ?1) ORDER BY key";

/// As entries, whose checksums they have.
pub(super) const SELECT_DEAD_LETTERS: &str =
    "SELECT key, 0, 1, popped_ms, checksum, requeued, subject, bytes FROM dead_letters";

/// Entries, their bytes and stretches of losses.
const SUM: &str = "SELECT count(*) FILTER (WHERE kind = 0), \
     coalesce(sum(octet_length(subject) + length(bytes) + ?1) FILTER (WHERE kind = 0), 0), \
     count(*) FILTER (WHERE kind <> 0) FROM rows WHERE key BETWEEN ?2 AND ?3";

/// A row as it was found.
pub(super) struct Row<'r> {
    pub(super) key: Key,
    pub(super) kind: i64,
    pub(super) count: u64,
    pub(super) popped_ms: u64,
    /// The number that the entry had before it was a dead letter.
    pub(super) requeued: Option<Position>,
    pub(super) subject: &'r str,
    pub(super) bytes: &'r [u8],
    pub(super) checksum: u32,
}

/// What some rows add up to.
#[derive(Debug, Default)]
struct Sum {
    entries: u64,
    bytes: u64,
    losses: u64,
}

impl<'r> Row<'r> {
    /// Reads the current row of [`SELECT_FROM`], or of a statement with the same columns; `Err` holds the key if it is not fit to be read.
    pub(super) fn read(row: &'r SqlRow<'_>) -> rusqlite::Result<Result<Self, Key>> {
        let key = Key::from_row(row.get(0)?).unwrap_or_default();
        Ok(Self::sound(key, row).ok_or(key))
    }

    fn sound(key: Key, row: &'r SqlRow<'_>) -> Option<Self> {
        let integer = |column| row.get::<_, i64>(column).ok();
        let ValueRef::Blob(bytes) = row.get_ref(7).ok()? else {
            return None;
        };
        let found = Self {
            key,
            kind: integer(1)?,
            count: u64::try_from(integer(2)?).ok()?,
            popped_ms: u64::try_from(integer(3)?).ok()?,
            requeued: match row.get_ref(5).ok()? {
                ValueRef::Null => None,
                old => Some(Position::from_bytes(old.as_blob().ok()?)?),
            },
            subject: row.get_ref(6).ok()?.as_str().ok()?,
            bytes,
            checksum: u32::try_from(integer(4)?).ok()?,
        };
        (found.checksum == found.crc32()).then_some(found)
    }

    pub(super) fn entry(record: &'r Record) -> Self {
        Self {
            key: record.key(),
            kind: ENTRY,
            count: 1,
            popped_ms: record.popped_ms,
            requeued: record.requeued,
            subject: &record.subject,
            bytes: &record.bytes,
            checksum: 0,
        }
        .summed()
    }

    pub(super) fn loss(first: Key, loss: Loss) -> Self {
        Self {
            key: first,
            kind: kind(loss.reason),
            count: loss.count,
            popped_ms: 0,
            requeued: None,
            subject: "",
            bytes: &[],
            checksum: 0,
        }
        .summed()
    }

    pub(super) fn summed(mut self) -> Self {
        self.checksum = self.crc32();
        self
    }

    fn crc32(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for number in [
            self.key.row(),
            self.kind,
            int(self.count),
            int(self.popped_ms),
        ] {
            crc.update(&number.to_le_bytes());
        }
        if let Some(old) = self.requeued {
            crc.update(&old.to_bytes());
        }
        crc.update(self.subject.as_bytes());
        crc.update(self.bytes);
        crc.finalize()
    }

    /// Says whether it was not there yet.
    fn insert(&self, statement: &mut Statement<'_>) -> rusqlite::Result<bool> {
        let changed = statement.execute((
            self.key.row(),
            self.kind,
            int(self.count),
            int(self.popped_ms),
            self.checksum,
            self.requeued.map(Position::to_bytes),
            self.subject,
            self.bytes,
        ))?;
        Ok(changed > 0)
    }

    /// As [`Record::size`].
    pub(super) fn size(&self) -> u64 {
        (self.subject.len() + self.bytes.len()) as u64 + Record::OVERHEAD
    }

    pub(super) fn content(&self) -> Content {
        match (self.kind, reason(self.kind)) {
            (ENTRY, _) => Content::Entry,
            (_, Some(reason)) => Content::Loss(Loss {
                count: self.count,
                reason,
            }),
            (_, None) => Content::Damaged,
        }
    }
}

impl Work<'_> {
    /// Writes a record with the losses before it, by [`INSERT`]; says whether it was not there yet.
    pub(super) fn insert(
        &mut self,
        statement: &mut Statement<'_>,
        record: &Record,
    ) -> rusqlite::Result<bool> {
        if !record.losses.is_empty() {
            self.insert_losses_before(record)?;
        }
        let new = Row::entry(record).insert(statement)?;
        if new {
            self.totals.entries += 1;
            self.totals.bytes += record.size();
        }
        Ok(new)
    }

    /// Writes a row as it was found elsewhere, unless there is one in its place, or its number is told as lost.
    pub(super) fn insert_salvaged(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let before = self.stretch_at_or_before(row.key)?;
        let told = before.is_some_and(|(first, loss)| first.n() + loss.count > row.key.n());
        if told && row.kind == ENTRY || !self.insert_row(row)? {
            return Ok(());
        }
        if row.kind == ENTRY {
            self.totals.entries += 1;
            self.totals.bytes += row.size();
        } else {
            self.totals.losses += 1;
        }
        Ok(())
    }

    /// Deletes all rows up to and including the key; of a stretch of losses that reaches beyond it, the rest stays.
    /// Returns how many were entries.
    pub(super) fn remove_through(&mut self, key: Key) -> rusqlite::Result<u64> {
        let last = self.stretch_at_or_before(key)?;
        let gone = self.sum(i64::MIN, key.row())?;
        self.subtract(&gone);
        self.execute("DELETE FROM rows WHERE key <= ?1", [key.row()])?;
        if let Some((first, loss)) = last {
            let end = first.n().saturating_add(loss.count);
            if end > key.n() + 1 {
                let count = end - key.n() - 1;
                let rest = Key::new(key.local_run(), key.n() + 1);
                self.insert_loss(rest, Loss { count, ..loss })?;
            }
        }
        self.settle_when_empty()?;
        Ok(gone.entries)
    }

    /// Deletes the entry of that key, if it is there. A stretch of losses that begins there may tell of others too.
    pub(super) fn remove_entry(&mut self, key: Key) -> rusqlite::Result<()> {
        if self.sum(key.row(), key.row())?.entries > 0 {
            self.remove_rows(key, key)?;
        }
        Ok(())
    }

    /// Deletes the rows from one key to another. Returns how many were entries.
    pub(super) fn remove_rows(&mut self, first: Key, last: Key) -> rusqlite::Result<u64> {
        let (first, last) = (first.row(), last.row());
        let gone = self.sum(first, last)?;
        self.subtract(&gone);
        self.execute(
            "DELETE FROM rows WHERE key BETWEEN ?1 AND ?2",
            (first, last),
        )?;
        Ok(gone.entries)
    }

    /// Turns damage into losses. Returns how many entries the totals held that are gone.
    pub(super) fn repair(&mut self, damage: &[Damage]) -> rusqlite::Result<u64> {
        let before = self.totals.entries;
        let mut certain = true;
        for &Damage { first, count } in damage {
            certain &= self.remove_rows(first, first)? == 1;
            let reason = LossReason::Corrupt;
            self.insert_loss(first, Loss { count, reason })?;
        }
        // What stood in a hole, or in a row of no known kind, nobody knows: the one case in which rows are counted.
        if !certain {
            let left = self.sum(i64::MIN, i64::MAX)?;
            self.totals.entries = left.entries;
            self.totals.bytes = left.bytes;
            self.totals.losses = left.losses;
        }
        Ok(before.saturating_sub(self.totals.entries))
    }

    pub(super) fn insert_row(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        row.insert(&mut *self.prepare(INSERT)?)
    }

    fn sum(&self, first: i64, last: i64) -> rusqlite::Result<Sum> {
        let params = (int(Record::OVERHEAD), first, last);
        self.prepare(SUM)?.query_row(params, |row| {
            Ok(Sum {
                entries: uint(row.get(0)?),
                bytes: uint(row.get(1)?),
                losses: uint(row.get(2)?),
            })
        })
    }

    fn subtract(&mut self, gone: &Sum) {
        let totals = &mut self.totals;
        totals.entries = totals.entries.saturating_sub(gone.entries);
        totals.bytes = totals.bytes.saturating_sub(gone.bytes);
        totals.losses = totals.losses.saturating_sub(gone.losses);
    }

    /// An empty spill is the one moment at which totals that damage has bent can be set right for nothing.
    fn settle_when_empty(&mut self) -> rusqlite::Result<()> {
        let some = self.prepare("SELECT 1 FROM rows LIMIT 1")?.exists(())?;
        if !some {
            self.totals.entries = 0;
            self.totals.bytes = 0;
            self.totals.losses = 0;
        }
        Ok(())
    }
}

/// Answers how many of the records were not there yet.
pub(super) fn insert<'r>(
    work: &mut Work<'_>,
    records: impl IntoIterator<Item = &'r Record>,
) -> rusqlite::Result<u64> {
    let mut statement = work.prepare(INSERT)?;
    let mut new = 0;
    for record in records {
        new += u64::from(work.insert(&mut statement, record)?);
    }
    Ok(new)
}

pub(super) fn entries_through(conn: &Connection, key: Key) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM rows WHERE kind = 0 AND key <= ?1")?
        .query_row([key.row()], |row| row.get(0).map(uint))
}
