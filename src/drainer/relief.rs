//! The disk's side: staging from spill and ring, and relieving memory into the spill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BATCH_BYTES_MAX, DiskSide, Drainer, POLL_MIN};
use crate::error::SpillError;
use crate::event::{Key, Record};
use crate::metrics::Metrics;
use crate::spill::APPEND_ROWS_MAX;

impl Drainer {
    pub(super) fn stage_spill(&mut self, now: Instant) {
        let (room, bytes) = self.room();
        let room = room.min(self.replay_room(now));
        let corrupt = self.spill.corrupt();
        match self.spill.oldest(self.pipeline.read_after(), room, bytes) {
            Ok(records) => {
                self.backlog.works();
                self.pipeline.inherit(records.last().map(Record::key));
                self.pipeline.stage(records);
                // The last entry of an earlier run may be among what was damaged.
                if self.spill.corrupt() > corrupt {
                    self.tell_untold(now);
                }
            }
            Err(error) => self.backlog.failed(&error, now),
        }
    }

    /// Stages what a failing disk has not taken, and then from the ring.
    pub(super) fn stage_ring(&mut self, now: Instant) {
        let (room, bytes) = self.room();
        if self.pipeline.drawn() > 0 {
            self.pipeline.stage_drawn(room, bytes);
        } else {
            let records = self.pop(room, bytes, now);
            self.pipeline.stage(records);
        }
    }

    pub(super) fn relieve(&mut self, now: Instant) {
        // What a failed attempt has left counts towards the chunk: memory stays bounded.
        let room = APPEND_ROWS_MAX.saturating_sub(self.pipeline.drawn());
        let bytes = BATCH_BYTES_MAX.saturating_sub(self.pipeline.drawn_bytes());
        let records = self.pop(room, bytes, now);
        self.pipeline.draw(records);
        let start = Instant::now();
        match self.spill.append(self.pipeline.unspilled()) {
            Ok(appended) => {
                self.disk.works();
                self.counts.appended += appended;
                self.pipeline.spilled();
                if appended > 0 {
                    Metrics::appended(start.elapsed());
                    self.requests.progress();
                }
            }
            Err(error) => {
                self.disk.failed(&error, now);
                self.rest(self.poll);
            }
        }
    }

    /// How many entries and bytes may be staged until there is a whole batch.
    fn room(&self) -> (usize, u64) {
        (
            self.config.batch_max.saturating_sub(self.pipeline.staged()),
            BATCH_BYTES_MAX.saturating_sub(self.pipeline.staged_bytes()),
        )
    }

    /// Pops and encodes from the ring.
    fn pop(&mut self, entries_max: usize, bytes_max: u64, now: Instant) -> Vec<Record> {
        let mut records = Vec::new();
        if self.intake.last_n() + entries_max as u64 > Key::N_MAX && !self.turn_over(now) {
            return records;
        }
        let entries_max = self.watch.room(entries_max);
        let since = self.watch.since().unwrap_or(now);
        let popped = self
            .intake
            .take(entries_max, bytes_max, since, &mut records);
        self.counts.popped += popped as u64;
        if popped > 0 {
            self.poll = POLL_MIN;
            self.watch.popped(popped as u64, self.counts.popped, now);
            self.requests.progress();
        } else if entries_max > 0 && bytes_max > 0 {
            // A publisher is inside and has not pushed yet.
            self.rest(self.poll);
        }
        records
    }

    /// The run's numbers are used up: begins a new one.
    fn turn_over(&mut self, now: Instant) -> bool {
        let last_n = self.intake.last_n();
        let begun = self
            .spill
            .end_run(&self.run, last_n)
            .and_then(|()| self.spill.begin_run());
        match begun {
            Ok(run) => {
                self.run = Arc::clone(&run);
                self.intake.begin(run);
                self.retell = None;
                self.tell_untold(now);
                true
            }
            Err(error) => {
                self.disk.failed(&error, now);
                false
            }
        }
    }
}

impl DiskSide {
    pub(super) fn works(&mut self) {
        if self.rests_until.take().is_some() {
            self.backoff.reset();
            tracing::info!(target: "spillring", "the spill works again");
        }
    }

    pub(super) fn failed(&mut self, error: &SpillError, now: Instant) {
        if self.rests_until.is_none() {
            tracing::error!(target: "spillring", %error, "the spill does not work; entries stay where they are");
        }
        self.rests_until = Some(now + self.backoff.pause(fastrand::f64(), Duration::MAX));
    }
}
