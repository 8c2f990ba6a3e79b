//! Opening the spill anew after something spoke against its database.

use std::time::Instant;

use super::Drainer;
use crate::event::LossReason;
use crate::spill::Memory;

impl Drainer {
    /// What is in memory is written to the database once more: of a commit that failed nobody knows what it has done, and
    /// a database that was made anew lacks what had been spilled and is still to be delivered.
    pub(super) fn mend_spill(&mut self, now: Instant) {
        let to_be_mended = self.spill.is_distrusted() && !self.spill.is_absent();
        if !to_be_mended || self.disk.rests_until.is_some_and(|at| now < at) {
            return;
        }
        let in_memory = self.pipeline.records().count();
        let spilled = self.pipeline.spilled_in_memory();
        let unspilled = in_memory - spilled;
        let more = i64::try_from(unspilled).unwrap_or(i64::MAX);
        let memory = Memory {
            settled: self.pipeline.settled(),
            spilled: self.pipeline.spilled_through(),
            unremoved: self.counts.unremoved,
            more: more.saturating_sub_unsigned(self.counts.unremoved),
        };
        match self.spill.mend(&memory, self.pipeline.records()) {
            Ok(()) => {
                self.counts.unremoved = 0;
                self.counts.appended += unspilled as u64;
                self.pipeline.spilled();
                self.disk.works();
                self.requests.progress();
                self.tell_untold(now);
            }
            Err(error) => self.disk.failed(&error, now),
        }
    }

    /// Carries over some rows of a database that was set aside.
    pub(super) fn salvage(&mut self, now: Instant) {
        match self.spill.salvage_step() {
            Ok(()) => {
                self.backlog.works();
                self.tell_untold(now);
            }
            Err(error) => self.backlog.failed(&error, now),
        }
    }

    /// What has vanished at the end of this run is told by its next entry, which may never see the disk. It stays there for
    /// the next start until then.
    fn carry_lost(&mut self, now: Instant) {
        match self.spill.lost_before(&self.run, self.intake.last_told()) {
            Ok(Some(loss)) => self.intake.carry(vec![loss]),
            Ok(None) => {}
            Err(error) => self.disk.failed(&error, now),
        }
    }

    /// What has vanished of earlier runs, and is told by no entry of theirs, is told by the next one of this run.
    pub(super) fn tell_untold(&mut self, now: Instant) {
        if self.spill.is_salvaging() {
            return;
        }
        if let Some((first_n, count)) = self.retell {
            self.write_untold(first_n, count, now);
            return;
        }
        self.carry_lost(now);
        match self.spill.untold(&self.run) {
            Ok(0) => {}
            Ok(count) => {
                let first_n = self.intake.last_n() + 1;
                self.intake.lose(count, LossReason::Corrupt);
                self.write_untold(first_n, count, now);
            }
            Err(error) => self.disk.failed(&error, now),
        }
    }

    fn write_untold(&mut self, first_n: u64, count: u64, now: Instant) {
        self.retell = None;
        if let Err(error) = self.spill.tell_untold(&self.run, first_n, count) {
            self.retell = Some((first_n, count));
            self.disk.failed(&error, now);
        }
    }
}
