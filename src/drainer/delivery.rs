//! The sink's orders, and their outcomes.

use std::sync::Arc;
use std::time::Instant;

use super::DrainLoop;
use crate::error::SinkError;
use crate::event::{Batch, Position, Record};
use crate::metrics::Metrics;
use crate::policy::Due;
use crate::sink::Delivery;
use crate::sink_worker::{SinkOrder, SinkOutcome};
use crate::worker::Collected;

impl DrainLoop {
    pub(super) fn ask(&mut self) {
        self.sink.asked = true;
        let limit = self.config.ack_timeout;
        self.sink.worker.send(SinkOrder::Ask(self.publisher, limit));
    }

    /// Lets the sink sign its newest checkpoint again.
    pub(super) fn renew(&mut self, now: Instant) {
        let Some(signer) = &self.signer else { return };
        signer.asked(now);
        self.sink.signature = Due::No;
        self.sink.asked = true;
        let order = SinkOrder::Renew(self.publisher, Arc::clone(signer), self.config.ack_timeout);
        self.sink.worker.send(order);
    }

    pub(super) fn deliver(&mut self, now: Instant) {
        self.ring.stir();
        let (config, pipeline) = (&self.config, &mut self.pipeline);
        let records = pipeline.take_batch(config.batch_max, config.entry_bytes_max);
        let through = records.last().map(Record::id);
        let batch = Arc::new(Batch {
            publisher: self.publisher,
            records,
            through: through.unwrap_or_else(|| self.last_position()),
            limit: self.config.ack_timeout,
            signer: self.signer.clone(),
        });
        self.pipeline.launch(Arc::clone(&batch), now);
        self.note_sent(&batch);
        self.sink.worker.send(SinkOrder::Deliver(batch));
    }

    /// How far the run has come past its last entry. An empty batch reports it.
    fn last_position(&mut self) -> Position {
        self.number_losses();
        Position {
            run: self.sequencer.run().id,
            n: self.sequencer.last_n(),
        }
    }

    /// Numbers the losses after the last entry.
    pub(super) fn number_losses(&mut self) {
        let lost = self.ring.entrance().lost();
        self.sequencer.number_losses(lost.total(), || lost);
    }

    /// The stream may name these runs from now on. The next start must know them.
    fn note_sent(&mut self, batch: &Batch) {
        self.sink.sent = Some(batch.through.run);
        let newest = batch.records.last().map_or(0, |record| record.run.local);
        self.sent_run = self.sent_run.max(newest);
    }

    /// Entries that the sink acknowledges while the end is being recorded stay in the spill: the next start asks for
    /// the position.
    pub(super) fn collect_sink(&mut self, now: Instant) {
        let waits = self.sink.asked || self.pipeline.in_flight();
        if !waits || self.disk.is_ending() {
            return;
        }
        let outcome = match self.sink.worker.collect() {
            Collected::Nothing => return,
            Collected::Outcome(outcome) => outcome,
            Collected::Gone => return self.sink_is_gone(now),
        };
        self.ring.stir();
        match outcome {
            SinkOutcome::Answered(answer) => {
                self.sink.asked = false;
                match answer {
                    Ok(position) => self.answered(position),
                    Err(error) => self.sink_failed(error, now),
                }
            }
            SinkOutcome::Delivered(delivery) => self.landed(delivery, now),
            SinkOutcome::Renewed(renewed) => {
                self.sink.asked = false;
                if let Err(error) = renewed {
                    self.sink_failed(error, now);
                }
            }
        }
    }

    fn sink_is_gone(&mut self, now: Instant) {
        // The outcome of the batch is unknown.
        self.pipeline.land(0, now);
        if self.sink.thread_ended() {
            self.counts.delivery_errors += 1;
        }
    }

    fn landed(&mut self, delivery: Delivery, now: Instant) {
        let (landed, took) = self.pipeline.land(delivery.stored, now);
        self.counts.delivered += landed.records;
        self.counts.replayed += landed.spilled.entries;
        self.disk.settlement.add(landed.spilled);
        if landed.records > 0 {
            Metrics::delivered(landed.records, took);
            self.requests.progress();
            // Its checkpoint covers earlier records.
            self.sink.signature = Due::No;
        }
        match delivery.stopped {
            // An error about a next record does not matter: there is none.
            _ if landed.left == 0 && landed.records > 0 => self.sink.works(),
            // Later losses are only counted: publishers may never stop calling.
            None if landed.left == 0 => {
                self.announced_last_losses = true;
                self.sink.works();
            }
            None => {
                let why = "the sink stored a part of a batch, and gave no reason";
                self.sink_failed(SinkError::Unknown(why.to_owned()), now);
            }
            Some(SinkError::Rejected(detail)) => {
                self.sink.works();
                let front = self.pipeline.front().map(Record::key);
                self.sink.rejected = front.map(|key| (key, detail));
            }
            Some(error) => {
                if landed.records > 0 {
                    self.sink.rests.reset();
                }
                self.sink_failed(error, now);
            }
        }
    }

    fn sink_failed(&mut self, error: SinkError, now: Instant) {
        self.counts.delivery_errors += 1;
        self.sink.failed(error, now);
    }
}
