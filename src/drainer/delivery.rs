//! The sink's side: asking, delivering, and what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Closing, Drainer, POLL_MIN};
use crate::courier::{Order, Outcome};
use crate::error::{SinkError, SpillError};
use crate::event::{Batch, Key, Loss, LossReason, Position, Run};
use crate::metrics::Metrics;
use crate::policy::Doubt;
use crate::sink::Delivery;
use crate::spill::DeadLetterReason;

/// The longest wait between two attempts to reach a sink, or to ask it after a doubt.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

impl Drainer {
    pub(super) fn ask(&mut self) {
        self.sink.asked = true;
        self.courier.send(Order::Position(
            self.spill.publisher(),
            self.config.ack_timeout,
        ));
    }

    pub(super) fn deliver(&mut self, now: Instant) {
        self.poll = POLL_MIN;
        if let Some((reason, detail)) = self.sentence() {
            self.bury(reason, &detail, now);
            return;
        }
        if self.pipeline.staged() == 0 {
            self.close(now);
            return;
        }
        let limit = self.config.ack_timeout;
        let batch = self.pipeline.launch(
            self.spill.publisher(),
            self.config.batch_max,
            self.config.entry_bytes_max,
            limit,
            now,
        );
        if let Some(batch) = batch {
            self.open_runs(&batch, now);
            self.courier.send(Order::Deliver(batch));
        }
    }

    /// The next start must know which runs the stream may tell of. A disk that fails holds up no delivery: it is tried
    /// again with the next batch.
    fn open_runs(&mut self, batch: &Batch, now: Instant) {
        if self.disk.rests_until.is_some_and(|at| now < at) {
            return;
        }
        if let Err(error) = self.spill.open_runs(batch.records()) {
            self.disk.failed(&error, now);
        }
    }

    /// Tells the sink how far the run has come beyond its last entry.
    fn close(&mut self, now: Instant) {
        self.intake.number_losses();
        let batch = Batch {
            publisher: self.spill.publisher(),
            records: Vec::new(),
            through: Position {
                run: self.run.id,
                n: self.intake.last_n(),
            },
            limit: self.config.ack_timeout,
        };
        let batch = self.pipeline.launch_closing(batch, now);
        self.courier.send(Order::Deliver(batch));
    }

    pub(super) fn collect_outcome(&mut self, now: Instant) {
        if !self.sink.asked && !self.pipeline.in_flight() {
            return;
        }
        let Some(outcome) = self.courier.collect() else {
            return;
        };
        self.poll = POLL_MIN;
        match outcome {
            Outcome::Position(Ok(position)) if self.sink.asked => self.answered(position, now),
            Outcome::Position(Err(error)) if self.sink.asked => {
                self.sink.asked = false;
                self.sink_failed(error, now);
            }
            Outcome::Delivered(delivery) if self.pipeline.in_flight() => self.landed(delivery, now),
            Outcome::Delivered(Delivery {
                stopped: Some(error),
                ..
            }) => {
                self.sink.asked = false;
                self.sink_failed(error, now);
            }
            Outcome::Position(_) | Outcome::Delivered(_) => {}
        }
    }

    fn answered(&mut self, position: Option<Position>, now: Instant) {
        self.sink.asked = false;
        let known = position.map_or(Ok(()), |position| match self.spill.key_of(&position) {
            Some(key) if !self.is_ahead(&position) => self.settle_through(key, now),
            _ => self.take_new_identity(position),
        });
        match known {
            // The trouble is over only once something is delivered: an answer may be all that this sink is good for.
            Ok(()) => {
                self.sink.doubt = Doubt::None;
                self.eviction.settled();
                self.sink.rests_until = None;
            }
            Err(error) => {
                let pause = self.sink.backoff.pause(fastrand::f64(), Duration::MAX);
                self.sink.rests_until = Some(now + pause);
                self.disk.failed(&error, now);
            }
        }
    }

    /// The sink has everything up to `key`. A disk that cannot remove it now does so later.
    fn settle_through(&mut self, key: Key, now: Instant) -> Result<(), SpillError> {
        let before = std::mem::take(&mut self.counts.unremoved);
        let settled = self.spill.settle_through(key).or_else(|error| {
            self.disk.failed(&error, now);
            let left = self.spill.entries_through(key);
            self.counts.unremoved = left.as_ref().map_or(before, |left| *left);
            left
        })?;
        let replayed = settled.saturating_sub(before);
        let unspilled = self.pipeline.settle_through(key);
        self.counts.replayed += replayed;
        self.counts.delivered += replayed + unspilled;
        Ok(())
    }

    /// Whether the sink has come further in this run than we have: somebody else goes on with it.
    fn is_ahead(&self, position: &Position) -> bool {
        position.run == self.run.id && position.n > self.intake.last_n()
    }

    /// The sink holds a cursor of ours that is not our doing: this directory, or the machine that we run on, is a copy.
    fn take_new_identity(&mut self, position: Position) -> Result<(), SpillError> {
        let old = self.spill.publisher();
        let publisher = self.spill.renew_identity()?;
        Metrics::cloned();
        tracing::warn!(
            target: "spillring", %old, new = %publisher, cursor = %position,
            "the sink has come further with this publisher than this spill directory knows: it is a copy. \
             Going on under a new publisher id"
        );
        let renamed = |run: &Run| {
            Arc::new(Run {
                publisher,
                ..run.clone()
            })
        };
        for record in self.pipeline.records_mut() {
            record.run = renamed(&record.run);
        }
        self.run = renamed(&self.run);
        self.intake.rename(Arc::clone(&self.run));
        Ok(())
    }

    fn landed(&mut self, delivery: Delivery, now: Instant) {
        let (settled, took) = self.pipeline.land(delivery.stored, now);
        self.counts.delivered += settled.records;
        self.counts.replayed += settled.spilled;
        self.counts.unremoved += settled.spilled;
        if settled.records > 0 {
            Metrics::delivered(settled.records, took);
            self.requests.progress();
            self.tidy_settled(now);
        }
        match delivery.stopped {
            // Whatever it says of a next record: there is none.
            _ if settled.left == 0 && settled.records > 0 => self.sink_works(),
            // No more is told of what is lost from now on: publishers may never stop calling.
            None if settled.left == 0 => {
                self.closing = Closing::Done;
                self.sink_works();
            }
            None => {
                let why = "the sink stored less than it was given, and did not say why";
                self.sink_failed(SinkError::Unknown(why.to_owned()), now);
            }
            Some(SinkError::Rejected(detail)) => {
                self.sink_works();
                self.sink.condemned = self.pipeline.front().map(|record| (record.key(), detail));
            }
            Some(error) => {
                if settled.records > 0 {
                    self.sink.backoff.reset();
                }
                self.sink_failed(error, now);
            }
        }
    }

    /// As [`remove_settled`](Self::remove_settled), but not while the disk rests: on one that stays full each try looks
    /// at all that has been delivered since.
    pub(super) fn tidy_settled(&mut self, now: Instant) {
        if self.disk.rests_until.is_none_or(|at| now >= at) {
            self.remove_settled(now);
        }
    }

    /// Removes what the sink has from the spill; what cannot be removed now is removed with the next.
    pub(super) fn remove_settled(&mut self, now: Instant) {
        let totals = self.spill.totals();
        let Some(key) = self.pipeline.settled() else {
            return;
        };
        if totals.entries == 0 && totals.losses == 0 {
            return;
        }
        match self.spill.remove_through(key) {
            Ok(removed) => {
                let delivered = std::mem::take(&mut self.counts.unremoved);
                self.spill.count_told(removed.saturating_sub(delivered));
            }
            Err(error) => self.disk.failed(&error, now),
        }
    }

    /// Why the next record must not go to the sink, if so.
    pub(super) fn sentence(&self) -> Option<(DeadLetterReason, String)> {
        let record = self.pipeline.front()?;
        let size = record.bytes.len() as u64;
        if size > self.config.entry_bytes_max {
            let detail = format!(
                "{size} bytes; entry_bytes_max is {}",
                self.config.entry_bytes_max
            );
            return Some((DeadLetterReason::Oversize, detail));
        }
        let (key, detail) = self.sink.condemned.as_ref()?;
        (*key == record.key()).then(|| (DeadLetterReason::Rejected, detail.clone()))
    }

    /// Moves the next record to the dead letters.
    fn bury(&mut self, reason: DeadLetterReason, detail: &str, now: Instant) {
        let kept = !self.lacks_room_for_letter();
        let Some(record) = self.pipeline.pop_front() else {
            return;
        };
        let buried = if kept {
            self.spill.dead_letter(&record, reason, detail)
        } else {
            self.spill.give_up(&record)
        };
        match buried {
            Ok(()) if !kept => {
                tracing::error!(target: "spillring", id = %record.id(), ?reason, detail, "an entry is given up: the spill is at its cap and cannot keep it as a dead letter");
                self.disk.works();
            }
            Ok(()) => {
                tracing::warn!(target: "spillring", id = %record.id(), ?reason, detail, "an entry is now a dead letter");
                self.disk.works();
            }
            Err(_) if self.spill.is_absent() => {
                tracing::error!(target: "spillring", id = %record.id(), ?reason, detail, "an entry is given up: without a spill it cannot be kept");
            }
            Err(error) => {
                self.pipeline.push_front(record);
                self.disk.failed(&error, now);
                return;
            }
        }
        self.sink.condemned = None;
        match reason {
            DeadLetterReason::Oversize => self.counts.oversize += 1,
            DeadLetterReason::Rejected => self.counts.rejected += 1,
        }
        let mut losses = record.losses.clone();
        let loss = Loss {
            count: 1,
            reason: LossReason::DeadLettered,
        };
        loss.join(&mut losses);
        // If rows of the spill come next, they bring the loss along from there.
        if self.pipeline.staged() == 0 && self.unread() {
            return;
        }
        if let Some(losses) = self.pipeline.carry(&record, losses)
            && record.run.id == self.run.id
        {
            self.intake.carry(losses);
        }
    }

    fn sink_works(&mut self) {
        self.sink.rests_until = None;
        self.sink.backoff.reset();
        if self.sink.trouble.take().is_some() {
            tracing::info!(target: "spillring", "the sink takes entries again");
        }
    }

    fn sink_failed(&mut self, error: SinkError, now: Instant) {
        self.counts.delivery_errors += 1;
        if matches!(self.sink.trouble, Some(SinkError::Disconnected(_)))
            && !matches!(error, SinkError::Disconnected(_))
        {
            // It was reached: what it says now is another matter.
            self.sink.backoff.reset();
        }
        let pause = match error {
            SinkError::Misconfigured(_) => self.config.backoff_max,
            SinkError::Disconnected(_) | SinkError::Unknown(_) => {
                self.sink.backoff.pause(fastrand::f64(), RECONNECT_MAX)
            }
            SinkError::Unavailable(_) | SinkError::Rejected(_) => {
                self.sink.backoff.pause(fastrand::f64(), Duration::MAX)
            }
        };
        if matches!(error, SinkError::Unknown(_)) {
            self.sink.doubt = Doubt::Ask;
        }
        self.sink.rests_until = Some(now + pause);
        if self.sink.trouble.as_ref() != Some(&error) {
            tracing::warn!(target: "spillring", %error, "nothing is delivered for now");
            self.sink.trouble = Some(error);
        }
    }
}
