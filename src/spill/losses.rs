//! The statements on stretches of losses, which stand between the entries of the backlog.

use rusqlite::OptionalExtension;

use crate::event::{Key, Loss, LossReason, Record};

use super::database::{Work, int};
use super::fold::Content;
use super::rows::Row;

impl Work<'_> {
    /// The losses of these runs that were found only when nothing came behind them any more: no entry of their run can
    /// tell them.
    pub(super) fn untold(&self, runs: &[u32]) -> rusqlite::Result<Vec<(Key, Loss)>> {
        let mut found = Vec::new();
        for &run in runs {
            let last = self.stretch_at_or_before(Key::new(run, Key::N_MAX))?;
            found.extend(last.filter(|(_, loss)| loss.reason == LossReason::Corrupt));
        }
        Ok(found)
    }

    /// Moves a record to the dead letters; a loss takes its place.
    pub(super) fn bury(
        &mut self,
        record: &Record,
        reason: &str,
        detail: &str,
    ) -> rusqlite::Result<()> {
        if self.insert_dead_letter(record, reason, detail)? {
            self.totals.dead_letters += 1;
            self.totals.dead_letter_bytes += record.size();
        }
        self.give_up(record)
    }

    /// An entry goes, spilled or not, and a loss takes its place.
    pub(super) fn give_up(&mut self, record: &Record) -> rusqlite::Result<()> {
        self.remove_entry(record.key())?;
        self.insert_losses_before(record)?;
        let reason = LossReason::DeadLettered;
        self.insert_loss(record.key(), Loss { count: 1, reason })
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

    /// The row at the key or the nearest before it, if it is of the same run and a sound stretch of losses.
    pub(super) fn stretch_at_or_before(&self, key: Key) -> rusqlite::Result<Option<(Key, Loss)>> {
        let sql = "SELECT key, kind, count, popped_ms, checksum, requeued, subject, bytes FROM rows \
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
}

/// The numbers are part of the format: never change one.
pub(super) fn kind(reason: LossReason) -> i64 {
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

pub(super) fn reason(of: i64) -> Option<LossReason> {
    LossReason::ALL
        .into_iter()
        .find(|&reason| kind(reason) == of)
}
