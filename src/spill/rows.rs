//! The statements on the backlog. Each leaves the totals of its transaction exact, and each can be repeated.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::event::{Key, Loss, LossReason, Record};

use super::database::{Work, int, uint};
use super::fold::{Content, Damage};
use super::{DeadLetterReason, now_ms};

/// The `kind` of an entry; any other names the reason of a loss.
const ENTRY: i64 = 0;

const INSERT: &str = "INSERT INTO rows (key, kind, count, popped_ms, checksum, subject, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";

/// From the row that holds the key, or the nearest before it: that one says whether what follows is gapless.
pub(super) const SELECT_FROM: &str = "SELECT key, kind, count, popped_ms, checksum, subject, bytes FROM rows \
     WHERE key >= coalesce((SELECT max(key) FROM rows WHERE key <= ?1), ?1) ORDER BY key";

/// Behind one key and before another, for databases that may be damaged. A search for `> ?1` would begin in the page that
/// `?1` belongs to, which may be the one that cannot be read.
pub(super) const SELECT_UP: &str = "SELECT key, kind, count, popped_ms, checksum, subject, bytes FROM rows \
     WHERE key >= ?1 + 1 AND key < ?2 ORDER BY key";
pub(super) const SELECT_DOWN: &str = "SELECT key, kind, count, popped_ms, checksum, subject, bytes FROM rows \
     WHERE key > ?1 AND key < ?2 ORDER BY key DESC";

/// As entries, whose checksums they have.
pub(super) const SELECT_DEAD_LETTERS: &str =
    "SELECT key, 0, 1, popped_ms, checksum, subject, bytes FROM dead_letters";

/// Entries, their bytes and stretches of losses.
const SUM: &str = "SELECT count(*) FILTER (WHERE kind = 0), \
     coalesce(sum(octet_length(subject) + length(bytes) + ?1) FILTER (WHERE kind = 0), 0), \
     count(*) FILTER (WHERE kind <> 0) FROM rows WHERE key BETWEEN ?2 AND ?3";

/// A row as it was found.
pub(super) struct Row<'r> {
    pub(super) key: Key,
    kind: i64,
    count: u64,
    pub(super) popped_ms: u64,
    pub(super) subject: &'r str,
    pub(super) bytes: &'r [u8],
    checksum: u32,
}

/// What some rows add up to.
#[derive(Debug, Default)]
struct Sum {
    entries: u64,
    bytes: u64,
    losses: u64,
}

impl<'r> Row<'r> {
    /// Reads the current row of [`SELECT_FROM`]; `Err` holds the key if it is not fit to be read.
    pub(super) fn read(row: &'r SqlRow<'_>) -> rusqlite::Result<Result<Self, Key>> {
        let key = Key::from_row(row.get(0)?).unwrap_or_default();
        Ok(Self::sound(key, row).ok_or(key))
    }

    fn sound(key: Key, row: &'r SqlRow<'_>) -> Option<Self> {
        let integer = |column| row.get::<_, i64>(column).ok();
        let ValueRef::Blob(bytes) = row.get_ref(6).ok()? else {
            return None;
        };
        let found = Self {
            key,
            kind: integer(1)?,
            count: u64::try_from(integer(2)?).ok()?,
            popped_ms: u64::try_from(integer(3)?).ok()?,
            subject: row.get_ref(5).ok()?.as_str().ok()?,
            bytes,
            checksum: u32::try_from(integer(4)?).ok()?,
        };
        (found.checksum == found.crc32()).then_some(found)
    }

    fn entry(record: &'r Record) -> Self {
        Self {
            key: record.key(),
            kind: ENTRY,
            count: 1,
            popped_ms: record.popped_ms,
            subject: &record.subject,
            bytes: &record.bytes,
            checksum: 0,
        }
        .summed()
    }

    fn loss(first: Key, loss: Loss) -> Self {
        Self {
            key: first,
            kind: kind(loss.reason),
            count: loss.count,
            popped_ms: 0,
            subject: "",
            bytes: &[],
            checksum: 0,
        }
        .summed()
    }

    fn summed(mut self) -> Self {
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
        crc.update(self.subject.as_bytes());
        crc.update(self.bytes);
        crc.finalize()
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
    /// Writes a record with the losses before it; says whether it was not there yet.
    pub(super) fn insert(&mut self, record: &Record) -> rusqlite::Result<bool> {
        if !record.losses.is_empty() {
            self.insert_losses_before(record)?;
        }
        let new = self.insert_row(&Row::entry(record))?;
        if new {
            self.totals.entries += 1;
            self.totals.bytes += record.size();
        }
        Ok(new)
    }

    /// Writes a row as it was found elsewhere, unless there is one in its place.
    pub(super) fn insert_salvaged(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        if !self.insert_row(row)? {
            return Ok(());
        }
        if row.kind == ENTRY {
            self.totals.entries += 1;
            self.totals.bytes += (row.subject.len() + row.bytes.len()) as u64 + Record::OVERHEAD;
        } else {
            self.totals.losses += 1;
        }
        Ok(())
    }

    /// After dead letters came from elsewhere.
    pub(super) fn count_dead_letters(&mut self) -> rusqlite::Result<()> {
        let count = self
            .prepare("SELECT count(*) FROM dead_letters")?
            .query_row((), |row| row.get(0).map(uint))?;
        self.totals.dead_letters = count;
        Ok(())
    }

    /// The losses of earlier runs that were found only when nothing came behind them any more: no entry of their run can
    /// tell them. Takes them out, and answers how many they are.
    pub(super) fn take_untold(&mut self, runs: impl Iterator<Item = u32>) -> rusqlite::Result<u64> {
        let mut count = 0;
        for run in runs {
            if let Some((first, loss)) = self.stretch_at_or_before(Key::new(run, Key::N_MAX))?
                && loss.reason == LossReason::Corrupt
                && first.local_run() == run
            {
                self.remove_row(first)?;
                count += loss.count;
            }
        }
        Ok(count)
    }

    pub(super) fn insert_losses_before(&mut self, record: &Record) -> rusqlite::Result<()> {
        let first_n = record.n.saturating_sub(record.lost_before());
        self.insert_losses(Key::new(record.run.local, first_n), &record.losses)
    }

    pub(super) fn insert_losses(&mut self, first: Key, losses: &[Loss]) -> rusqlite::Result<()> {
        let mut n = first.n();
        for &loss in losses.iter().filter(|loss| loss.count > 0) {
            self.insert_loss(Key::new(first.local_run(), n), loss)?;
            n = n.saturating_add(loss.count).min(Key::N_MAX);
        }
        Ok(())
    }

    /// Writes a stretch of losses, or prolongs the one before it. What is told already is not told again.
    pub(super) fn insert_loss(&mut self, first: Key, loss: Loss) -> rusqlite::Result<()> {
        let end = first.n().saturating_add(loss.count);
        let mut row = Row::loss(first, loss);
        if let Some((key, before)) = self.stretch_at_or_before(first)? {
            let told = key.n().saturating_add(before.count);
            if told >= end {
                return Ok(());
            }
            if before.reason == loss.reason && told >= first.n() {
                let count = end - key.n();
                let longer = Row::loss(key, Loss { count, ..loss });
                let sql = "UPDATE rows SET count = ?2, checksum = ?3 WHERE key = ?1";
                self.execute(sql, (key.row(), int(count), longer.checksum))?;
                return Ok(());
            }
            let n = told.max(first.n());
            let count = end - n;
            row = Row::loss(Key::new(first.local_run(), n), Loss { count, ..loss });
        }
        if self.insert_row(&row)? {
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
            self.remove_row(key)?;
        }
        Ok(())
    }

    fn remove_row(&mut self, key: Key) -> rusqlite::Result<Sum> {
        let gone = self.sum(key.row(), key.row())?;
        self.subtract(&gone);
        self.execute("DELETE FROM rows WHERE key = ?1", [key.row()])?;
        Ok(gone)
    }

    /// Turns damage into losses. Returns how many entries the totals held that are gone.
    pub(super) fn repair(&mut self, damage: &[Damage]) -> rusqlite::Result<u64> {
        let before = self.totals.entries;
        let mut certain = true;
        for &Damage { first, count } in damage {
            certain &= self.remove_row(first)?.entries == 1;
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

    /// Keeps the record beside the backlog; says whether it was not kept yet.
    pub(super) fn insert_dead_letter(
        &self,
        record: &Record,
        reason: DeadLetterReason,
        detail: &str,
    ) -> rusqlite::Result<bool> {
        let sql = "INSERT INTO dead_letters \
             (key, run, reason, detail, popped_ms, at_ms, checksum, subject, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
        let row = Row::entry(record);
        let changed = self.prepare(sql)?.execute((
            row.key.row(),
            record.run.id.0.into_bytes(),
            reason.as_str(),
            detail,
            int(row.popped_ms),
            int(now_ms()),
            row.checksum,
            row.subject,
            row.bytes,
        ))?;
        Ok(changed > 0)
    }

    fn insert_row(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let changed = self.prepare(INSERT)?.execute((
            row.key.row(),
            row.kind,
            int(row.count),
            int(row.popped_ms),
            row.checksum,
            row.subject,
            row.bytes,
        ))?;
        Ok(changed > 0)
    }

    /// The row at the key or the nearest before it, if it is of the same run and a sound stretch of losses.
    fn stretch_at_or_before(&self, key: Key) -> rusqlite::Result<Option<(Key, Loss)>> {
        let sql = "SELECT key, kind, count, popped_ms, checksum, subject, bytes FROM rows \
             WHERE key <= ?1 ORDER BY key DESC LIMIT 1";
        let found = self.prepare(sql)?.query_row([key.row()], |row| {
            Ok(Row::read(row)?.ok().map(|row| (row.key, row.content())))
        });
        Ok(match found.optional()?.flatten() {
            Some((first, Content::Loss(loss))) if first.local_run() == key.local_run() => {
                Some((first, loss))
            }
            _ => None,
        })
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

pub(super) fn entries_through(conn: &Connection, key: Key) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT count(*) FROM rows WHERE kind = 0 AND key <= ?1")?
        .query_row([key.row()], |row| row.get(0).map(uint))
}

/// The numbers are part of the format: never change one.
fn kind(reason: LossReason) -> i64 {
    match reason {
        LossReason::QueueFull => 1,
        LossReason::AlreadyShutdown => 2,
        LossReason::SpillFull => 3,
        LossReason::SpillEvicted => 4,
        LossReason::EncodeError => 5,
        LossReason::Corrupt => 6,
        LossReason::DeadLettered => 7,
    }
}

fn reason(of: i64) -> Option<LossReason> {
    LossReason::ALL
        .into_iter()
        .find(|&reason| kind(reason) == of)
}
