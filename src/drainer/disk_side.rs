//! The state of the disk: the order under way, and what is known of the spill.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::eviction::Eviction;
use super::rests::Rests;
use super::settlement::Settlement;
use crate::config::Config;
use crate::error::SpillError;
use crate::host::log;
use crate::policy::End;
use crate::spill::{Done, Order, Renumbering, Room, SpillWorker, Tally, View};
use crate::worker::Collected;

#[derive(Debug)]
pub(super) struct DiskSide {
    pub(super) worker: SpillWorker,
    /// As of the last outcome.
    pub(super) view: View,
    /// The order under way, and since when.
    under_way: Option<(Instant, Order)>,
    /// Orders sent so far; the last of them is the one under way.
    pub(super) sent: u64,
    /// The newest order that succeeded and found the files in place.
    pub(super) confirmed: u64,
    pub(super) writes: Rests,
    pub(super) reads: Rests,
    pub(super) upkeep: Rests,
    pub(super) settlement: Settlement,
    pub(super) eviction: Eviction,
    /// Runs up to this local number are open.
    pub(super) opened: u32,
    /// Losses of earlier runs, numbered in this run, not yet written to the spill.
    pub(super) renumberings: VecDeque<Renumbering>,
    pub(super) tick_at: Instant,
    pub(super) end: End,
    /// Its thread has ended.
    lost: bool,
}

/// How many renumberings may wait before reading does.
pub(super) const RENUMBERINGS_MAX: usize = 64;

impl DiskSide {
    pub(super) fn new(config: &Config, worker: SpillWorker, view: View, now: Instant) -> Self {
        Self {
            worker,
            view,
            under_way: None,
            sent: 0,
            confirmed: 0,
            writes: Rests::new(config),
            reads: Rests::new(config),
            upkeep: Rests::new(config),
            settlement: Settlement::default(),
            eviction: Eviction::default(),
            opened: 0,
            renumberings: VecDeque::new(),
            tick_at: now,
            end: End::Unnoted,
            lost: false,
        }
    }

    pub(super) fn send(&mut self, order: Order, now: Instant) {
        debug_assert!(self.under_way.is_none(), "one order at a time");
        self.sent += 1;
        if !self.lost {
            self.worker.send(order.clone());
        }
        self.under_way = Some((now, order));
    }

    /// The order that was carried out, or failed, and its outcome.
    pub(super) fn collect(&mut self) -> Option<(Order, Result<Done, SpillError>)> {
        let (_, order) = self.under_way.as_ref()?;
        let done = match self.worker.collect() {
            Collected::Nothing => return None,
            Collected::Outcome(outcome) => {
                self.view = outcome.view;
                outcome.done
            }
            Collected::Gone if self.lost => without_thread(order),
            Collected::Gone => {
                log::error!("the spill's thread has ended: continuing without a spill");
                self.lost = true;
                self.view.room = Room::Absent;
                Err(SpillError::Absent)
            }
        };
        let (_, order) = self.under_way.take()?;
        if done.is_ok() && !matches!(order, Order::Read { .. }) {
            self.confirmed = self.sent;
        }
        Some((order, done))
    }

    /// The content of the disk can no longer be read: its thread has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The order under way.
    pub(super) fn order(&self) -> Option<&Order> {
        self.under_way.as_ref().map(|(_, order)| order)
    }

    /// Since when an order has been under way.
    pub(super) fn order_since(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|(since, _)| *since)
    }

    /// The end of the run is recorded, or being recorded.
    pub(super) fn is_ending(&self) -> bool {
        self.end != End::Unnoted || matches!(self.order(), Some(Order::End { .. }))
    }

    /// What the spill holds that is not delivered.
    pub(super) fn backlog(&self) -> Tally {
        let unsettled = self.settlement.unsettled();
        self.view.totals.backlog.without(unsettled)
    }

    /// Entries that were delivered from the spill, which did not count them.
    pub(super) fn uncounted(&self) -> u64 {
        let unsettled = self.settlement.unsettled();
        unsettled.without(self.view.totals.backlog).entries
    }

    pub(super) fn writing_failed(&mut self, error: &SpillError, now: Instant) {
        if self.writes.failed(Duration::MAX, now) {
            log::error!(%error, "the spill cannot be written to; entries stay in memory");
        }
    }

    pub(super) fn upkeep_failed(&mut self, error: &SpillError, now: Instant) {
        if self.upkeep.failed(Duration::MAX, now) {
            log::warning!(%error, "the spill cannot record what was delivered; trying again");
        }
    }
}

/// The answer to an order that no thread carries out. Orders for new numbers or ids fail: no disk would record them.
fn without_thread(order: &Order) -> Result<Done, SpillError> {
    match order {
        Order::Renumber(_) | Order::RenewIdentity => Err(SpillError::Absent),
        order => order.without_spill(),
    }
}
