//! The state of the disk: the order under way, and what is known of the spill.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eviction::Eviction;
use super::rests::{News, Rests};
use super::settlement::Settlement;
use crate::config::Config;
use crate::error::SpillError;
use crate::event::Record;
use crate::host::log;
use crate::policy::{Availability, End, OrderUnderWay};
use crate::spill::{
    Done, Evictable, Letter, Order, Outcome, Renumbering, Room, Settled, SpillWorker, View,
};
use crate::worker::Collected;

#[derive(Debug)]
pub(super) struct DiskSide {
    pub(super) worker: SpillWorker,
    /// As of the last outcome.
    pub(super) view: View,
    under_way: Option<UnderWay>,
    /// Orders sent so far; the last of them is the one under way.
    sent: u64,
    /// The newest order that succeeded and found the files in place.
    confirmed: u64,
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
    thread: Thread,
    /// The outcome of an order to a thread that has ended.
    refused: Option<Outcome>,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    what: Sent,
}

/// What the drainer keeps of an order until its outcome.
#[derive(Debug)]
pub(super) enum Sent {
    Append(Arc<[Record]>),
    Read,
    DeadLetter(Vec<Letter>),
    Evict(Evictable),
    Settle,
    Check,
    Tick,
    End,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    Alive,
    Ended,
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
            thread: Thread::Alive,
            refused: None,
        }
    }

    pub(super) fn send(&mut self, order: Order, what: Sent, now: Instant) {
        debug_assert!(self.under_way.is_none(), "one order at a time");
        self.sent += 1;
        self.under_way = Some(UnderWay { since: now, what });
        if self.thread == Thread::Ended {
            self.refused = Some(Outcome {
                done: without_thread(&order),
                view: self.view,
            });
        } else {
            self.worker.send(order);
        }
    }

    /// An outcome, with the order that it answers.
    pub(super) fn collect(&mut self) -> Option<(Sent, Result<Done, SpillError>)> {
        self.under_way.as_ref()?;
        let outcome = match self.refused.take() {
            Some(refused) => refused,
            None => match self.worker.collect() {
                Collected::Nothing => return None,
                Collected::Outcome(outcome) => outcome,
                Collected::Gone => self.is_gone(),
            },
        };
        let sent = self.under_way.take()?.what;
        self.view = outcome.view;
        if outcome.done.is_ok() && !matches!(sent, Sent::Read) {
            self.confirmed = self.sent;
        }
        Some((sent, outcome.done))
    }

    /// The thread has ended without an outcome, and there will be none.
    fn is_gone(&mut self) -> Outcome {
        log::error!("the spill's thread has ended: continuing without a spill");
        self.thread = Thread::Ended;
        self.view.room = Room::Absent;
        Outcome {
            done: Err(SpillError::Absent),
            view: self.view,
        }
    }

    /// The content of the disk can no longer be read.
    pub(super) fn is_lost(&self) -> bool {
        self.thread == Thread::Ended
    }

    pub(super) fn under_way(&self) -> OrderUnderWay {
        match &self.under_way {
            None => OrderUnderWay::None,
            Some(UnderWay {
                since,
                what: Sent::Append(_),
            }) => OrderUnderWay::Append(*since),
            Some(order) => OrderUnderWay::Other(order.since),
        }
    }

    /// How long the order under way has taken so far.
    pub(super) fn busy_for(&self, now: Instant) -> Duration {
        let since = self.under_way.as_ref().map(|order| order.since);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(super) fn is_reading(&self) -> bool {
        let what = self.under_way.as_ref().map(|order| &order.what);
        matches!(what, Some(Sent::Read))
    }

    pub(super) fn is_dead_lettering(&self) -> bool {
        let what = self.under_way.as_ref().map(|order| &order.what);
        matches!(what, Some(Sent::DeadLetter(_)))
    }

    /// The end of the run is recorded, or being recorded.
    pub(super) fn is_ending(&self) -> bool {
        let what = self.under_way.as_ref().map(|order| &order.what);
        self.end != End::Unnoted || matches!(what, Some(Sent::End))
    }

    /// Orders sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The newest order that has found the files in place.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub(super) fn write_availability(&self, overdue: bool) -> Availability {
        self.writes.availability(overdue)
    }

    /// Entries of the spill that are not delivered.
    pub(super) fn spilled(&self) -> u64 {
        let unsettled = self.settlement.unsettled().entries;
        self.view.totals.entries.saturating_sub(unsettled)
    }

    /// Entries that were delivered from the spill, which did not count them.
    pub(super) fn uncounted(&self) -> u64 {
        let unsettled = self.settlement.unsettled().entries;
        unsettled.saturating_sub(self.view.totals.entries)
    }

    pub(super) fn spill_bytes(&self) -> u64 {
        let unsettled = self.settlement.unsettled().bytes;
        self.view.totals.bytes.saturating_sub(unsettled)
    }

    pub(super) fn writing_works(&mut self) {
        if self.writes.works() == News::Yes {
            log::info!("the spill works again");
        }
    }

    pub(super) fn writing_failed(&mut self, error: &SpillError, now: Instant) {
        if self.writes.failed(Duration::MAX, now) == News::Yes {
            log::error!(%error, "the spill does not work; entries stay in memory");
        }
    }

    pub(super) fn reading_failed(&mut self, error: &SpillError, now: Instant) {
        if self.reads.failed(Duration::MAX, now) == News::Yes {
            log::error!(%error, "the backlog cannot be read; trying again");
        }
    }

    pub(super) fn upkeep_failed(&mut self, error: &SpillError, now: Instant) {
        if self.upkeep.failed(Duration::MAX, now) == News::Yes {
            log::warning!(%error, "the spill cannot record what was delivered; trying again");
        }
    }
}

/// The outcome of an order that no thread carries out: it succeeds if a publisher may run without it.
fn without_thread(order: &Order) -> Result<Done, SpillError> {
    match order {
        Order::Settle { through, .. } => Ok(Done::Settled(Settled::nothing(*through))),
        Order::DeadLetter(_) => Ok(Done::DeadLettered),
        Order::OpenRuns(local) => Ok(Done::RunsOpened(*local)),
        Order::Check => Ok(Done::Checked),
        Order::Tick(_) => Ok(Done::Ticked),
        Order::End { .. } => Ok(Done::Ended),
        Order::Append(_)
        | Order::Read { .. }
        | Order::Evict(_)
        | Order::Renumber(_)
        | Order::RenewIdentity
        | Order::TurnOver { .. } => Err(SpillError::Absent),
    }
}
