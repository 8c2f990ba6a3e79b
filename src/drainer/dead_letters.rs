//! Records that must not go to the sink become dead letters.

use super::DrainLoop;
use super::pipeline::BATCH_BYTES_MAX;
use crate::event::{Key, Loss, LossReason, Record};
use crate::host::log;
use crate::spill::{DeadLetterReason, Keep, NewDeadLetter, Room};

/// The largest number of dead letters in one order.
const DEAD_LETTERS_MAX: usize = 256;

impl DrainLoop {
    /// Why the next record must not go to the sink, if so.
    pub(super) fn verdict(&self) -> Option<(DeadLetterReason, String)> {
        let record = self.pipeline.front()?;
        if let Some(detail) = self.oversize(record) {
            return Some((DeadLetterReason::Oversize, detail));
        }
        let (key, detail) = self.sink.rejected.as_ref()?;
        (*key == record.key()).then(|| (DeadLetterReason::Rejected, detail.clone()))
    }

    fn oversize(&self, record: &Record) -> Option<String> {
        let (size, max) = (record.bytes.len() as u64, self.config.entry_bytes_max);
        (size > max).then(|| format!("{size} bytes; entry_bytes_max is {max}"))
    }

    /// The next record, or all leading oversize ones. They stay in place until the outcome.
    pub(super) fn dead_letters(&self) -> Option<Vec<NewDeadLetter>> {
        let (reason, detail) = self.verdict()?;
        Some(match reason {
            DeadLetterReason::Rejected => {
                let record = self.pipeline.front()?;
                vec![self.dead_letter(record, reason, detail)]
            }
            DeadLetterReason::Oversize => self.oversize_dead_letters(),
        })
    }

    fn oversize_dead_letters(&self) -> Vec<NewDeadLetter> {
        let mut bytes = 0;
        let mut letters = Vec::new();
        for record in self.pipeline.staged_records().take(DEAD_LETTERS_MAX) {
            let Some(detail) = self.oversize(record) else {
                break;
            };
            bytes += record.size();
            if bytes > BATCH_BYTES_MAX && !letters.is_empty() {
                break;
            }
            letters.push(self.dead_letter(record, DeadLetterReason::Oversize, detail));
        }
        letters
    }

    /// An entry in the spill already has its room.
    fn dead_letter(
        &self,
        record: &Record,
        reason: DeadLetterReason,
        detail: String,
    ) -> NewDeadLetter {
        let room = !self.pipeline.in_memory_only(record) || !self.disk.view.is_at_cap();
        NewDeadLetter {
            record: record.clone(),
            reason,
            detail,
            keep: if room { Keep::Yes } else { Keep::NoRoom },
        }
    }

    /// The records at the front are now dead letters. The next record announces their losses.
    pub(super) fn dead_lettered(&mut self, letters: &[NewDeadLetter]) {
        self.wrote();
        self.sink.rejected = None;
        let mut losses = Vec::new();
        for letter in letters {
            self.count_dead_letter(letter);
            let Some(record) = self.pipeline.pop_front() else {
                debug_assert!(false, "a dead letter leaves the front");
                return;
            };
            debug_assert_eq!(record.key(), letter.record.key());
            for loss in &record.losses {
                loss.join(&mut losses);
            }
            let loss = Loss {
                count: 1,
                reason: LossReason::DeadLettered,
            };
            loss.join(&mut losses);
            self.hand_on(&record, &mut losses);
        }
    }

    /// The losses up to a removed record go to the next record of its run.
    fn hand_on(&mut self, record: &Record, losses: &mut Vec<Loss>) {
        let key = record.key();
        if self.pipeline.staged() == 0 && self.disk.view.reaches_beyond(Some(key)) {
            // The next record comes from the spill, which knows the losses before it.
            let count: u64 = losses.iter().map(|loss| loss.count).sum();
            let first = Key::new(record.run.local, (record.n + 1).saturating_sub(count));
            self.pipeline.reread_after(first.before());
            losses.clear();
            return;
        }
        self.pipeline.passed(key);
        let local = record.run.local;
        if let Some(losses) = self.pipeline.carry(local, std::mem::take(losses))
            && self.sequencer.run().local == local
        {
            self.sequencer.carry(losses);
        }
    }

    fn count_dead_letter(&mut self, letter: &NewDeadLetter) {
        let id = letter.record.id();
        let (reason, detail) = (letter.reason.as_str(), &letter.detail);
        if self.disk.view.room == Room::Absent {
            self.counts.dead_letters_full += 1;
            log::error!(%id, reason, detail, "entry dropped: without a spill there are no dead letters");
        } else if letter.keep == Keep::NoRoom {
            self.counts.dead_letters_full += 1;
            log::error!(%id, reason, detail, "entry dropped: the spill is at its cap and cannot keep it as a dead letter");
        } else {
            match letter.reason {
                DeadLetterReason::Oversize => self.counts.oversize += 1,
                DeadLetterReason::Rejected => self.counts.rejected += 1,
            }
            log::warning!(%id, reason, detail, "an entry is now a dead letter");
        }
    }
}
