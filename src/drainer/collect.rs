//! The outcomes of the disk's orders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DrainLoop;
use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Record, Run};
use crate::host::log;
use crate::metrics::Metrics;
use crate::policy::End;
use crate::spill::{Done, Order, Orphan, Reading, Renumbering};

impl DrainLoop {
    pub(super) fn collect_disk(&mut self, now: Instant) {
        let Some((order, done)) = self.disk.collect() else {
            return;
        };
        self.ring.stir();
        match done {
            Ok(done) => self.disk_done(order, done),
            Err(error) => self.disk_failed(order, &error, now),
        }
    }

    fn disk_done(&mut self, order: Order, done: Done) {
        match (order, done) {
            (Order::Append(records), Done::Appended { entries, took }) => {
                self.appended(&records, entries, took);
            }
            (Order::Read { .. }, Done::Read(reading)) => self.read(reading),
            (Order::DeadLetter(letters), Done::DeadLettered) => self.dead_lettered(&letters),
            (Order::Evict(evictable), Done::Evicted { entries }) => {
                let disk = &mut self.disk;
                disk.eviction.evicted(entries, &disk.view, &evictable);
                self.wrote();
            }
            (Order::Settle { .. }, Done::Settled(settled)) => {
                let more = self.disk.settlement.done(settled);
                self.counts.delivered += more;
                self.counts.replayed += more;
                self.disk.upkeep.works();
                self.requests.progress();
            }
            (Order::OpenRuns(_), Done::RunsOpened(local)) => {
                self.disk.opened = self.disk.opened.max(local);
                self.wrote();
            }
            (Order::Renumber(_), Done::Renumbered) => {
                self.disk.renumberings.pop_front();
                self.wrote();
            }
            (Order::Check, Done::Checked) => {
                self.disk.upkeep.works();
            }
            (Order::RenewIdentity, Done::Renewed(publisher)) => {
                self.renewed(publisher);
                self.wrote();
            }
            (Order::TurnOver { .. }, Done::TurnedOver(run)) => {
                self.turned_over(run);
                self.wrote();
            }
            (Order::Tick(_), Done::Ticked) => self.ticked(),
            (Order::End { .. }, Done::Ended) => {
                self.disk.end = End::Noted;
                self.requests.progress();
            }
            (order, done) => debug_assert!(false, "{done:?} does not answer {order:?}"),
        }
    }

    /// The disk has written something.
    pub(super) fn wrote(&mut self) {
        if self.disk.writes.works() {
            log::info!("the spill works again");
        }
        self.requests.progress();
    }

    fn disk_failed(&mut self, order: Order, error: &SpillError, now: Instant) {
        match order {
            Order::Append(records) => {
                // It may have written the first of them.
                let newest = self.disk.view.newest;
                let written = records.partition_point(|record| Some(record.key()) <= newest);
                let settled = self.pipeline.appended(&records[..written]);
                self.disk.settlement.add(settled);
                self.counts.appended += written as u64;
                let last = records.last().map(Record::key);
                self.disk.settlement.doubt(last);
                self.disk.writing_failed(error, now);
            }
            Order::Read { .. } => {
                if self.disk.reads.failed(Duration::MAX, now) {
                    log::error!(%error, "the backlog cannot be read; trying again");
                }
            }
            Order::Settle { .. } => {
                self.disk.settlement.failed();
                self.disk.upkeep_failed(error, now);
            }
            Order::Check => self.disk.upkeep_failed(error, now),
            Order::Tick(_) => {
                log::debug!(%error, "maintenance of the spill failed");
                self.ticked();
            }
            _ => self.disk.writing_failed(error, now),
        }
    }

    fn appended(&mut self, records: &[Record], entries: u64, took: Duration) {
        let settled = self.pipeline.appended(records);
        // The sink took them while they were being written: they count as spilled all the same.
        self.counts.replayed += settled.entries;
        self.disk.settlement.add(settled);
        self.counts.appended += entries;
        Metrics::appended(took);
        self.wrote();
    }

    fn read(&mut self, reading: Reading) {
        let Reading {
            mut records,
            through,
            trailing,
            orphans,
        } = reading;
        self.disk.reads.works();
        self.requests.progress();
        let run = self.sequencer.run();
        for record in &mut records {
            // By now more may be known of the run than its rows say.
            if record.run.id == run.id {
                record.run = Arc::clone(run);
            }
        }
        self.pipeline.read(records, through);
        self.announce_after_rows(trailing);
        self.announce(orphans);
    }

    /// Losses of this run after the last row of the spill: the next record in memory announces them.
    fn announce_after_rows(&mut self, losses: Vec<Loss>) {
        if losses.is_empty() {
            return;
        }
        let local = self.sequencer.run().local;
        if let Some(losses) = self.pipeline.carry_after_rows(local, losses) {
            self.sequencer.carry(losses);
        }
    }

    /// Losses of earlier runs get numbers of this one, which the spill must record.
    pub(super) fn announce(&mut self, orphans: Vec<Orphan>) {
        let count = orphans.iter().map(|orphan| orphan.count).sum();
        if count == 0 {
            return;
        }
        let first = self.sequencer.lose(count, LossReason::Corrupt);
        self.ring.note(&self.sequencer);
        self.disk.renumberings.push_back(Renumbering {
            orphans,
            first: Key::new(self.sequencer.run().local, first),
        });
    }

    fn turned_over(&mut self, run: Arc<Run>) {
        self.runs.add(self.sequencer.run());
        self.sequencer.begin(run);
    }

    fn ticked(&mut self) {
        if self.disk.end == End::Noted {
            self.disk.end = End::Done;
        }
    }
}
