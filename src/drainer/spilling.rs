//! Popping for the sink or for the disk, and the disk's orders.

use std::time::{Duration, Instant};

use super::DrainLoop;
use super::eviction::batch_bytes_max;
use super::pipeline::Pipeline;
use crate::event::Record;
use crate::policy::{DiskStep, End};
use crate::spill::{Order, Room};
use crate::stats::State;

/// How often the spill syncs its watermark and writes `status.json`.
const TICK_EVERY: Duration = Duration::from_secs(1);

impl DrainLoop {
    pub(super) fn stage_ring(&mut self, now: Instant) {
        self.pop(self.batch_room(), now, Pipeline::stage);
    }

    pub(super) fn stage_drawn(&mut self) {
        let (entries_max, bytes_max) = self.batch_room();
        self.pipeline.stage_drawn(entries_max, bytes_max);
    }

    pub(super) fn draw(&mut self, now: Instant) {
        self.pop(self.draw_room(now), now, Pipeline::draw);
    }

    /// Pops at most so many entries and bytes; returns how many entries it popped.
    pub(super) fn pop(
        &mut self,
        (entries_max, bytes_max): (usize, u64),
        now: Instant,
        put: fn(&mut Pipeline, Record),
    ) -> usize {
        let pipeline = &mut self.pipeline;
        let popped = self.ring.pop(
            entries_max,
            bytes_max,
            now,
            &mut self.sequencer,
            &mut |record| put(pipeline, record),
        );
        if popped > 0 {
            self.requests.progress();
        }
        popped
    }

    /// How many entries and bytes may be drawn until there is a whole chunk, or the spill is at its cap. At an overdue
    /// end the cap no longer counts.
    pub(super) fn draw_room(&self, now: Instant) -> (usize, u64) {
        let (entries, bytes) = self.pipeline.chunk_room();
        let view = &self.disk.view;
        if view.room == Room::Absent || self.requests.is_overdue(now) {
            return (entries, bytes);
        }
        let kept = view.bytes() + self.pipeline.drawn_bytes();
        (entries, bytes.min(view.bytes_max.saturating_sub(kept)))
    }

    /// How many entries and bytes may be staged until there is a whole batch.
    fn batch_room(&self) -> (usize, u64) {
        (
            self.config.batch_max.saturating_sub(self.pipeline.staged()),
            batch_bytes_max(&self.disk.view).saturating_sub(self.pipeline.staged_bytes()),
        )
    }

    pub(super) fn order(&mut self, step: DiskStep, now: Instant) {
        let order = match step {
            DiskStep::Append => Some(Order::Append(self.pipeline.append())),
            DiskStep::Read => Some(self.read_order(now)),
            DiskStep::DeadLetter => self.dead_letters().map(Order::DeadLetter),
            DiskStep::Evict => Some(Order::Evict(self.evictable())),
            DiskStep::OpenRuns => Some(Order::OpenRuns(self.runs_to_open())),
            DiskStep::Settle => self.settle_order(),
            DiskStep::Renumber => self
                .disk
                .renumberings
                .front()
                .map(|oldest| Order::Renumber(oldest.clone())),
            DiskStep::Check => Some(Order::Check),
            DiskStep::RenewIdentity => Some(Order::RenewIdentity),
            DiskStep::TurnOver => Some(Order::TurnOver {
                last_n: self.sequencer.last_n(),
            }),
            DiskStep::Tick => Some(self.tick_order(now)),
            DiskStep::End => Some(self.end_order()),
        };
        if let Some(order) = order {
            self.disk.send(order, now);
        }
    }

    fn read_order(&mut self, now: Instant) -> Order {
        let (entries_max, bytes_max) = self.batch_room();
        Order::Read {
            after: self.pipeline.read_after(),
            entries_max: entries_max.min(self.replay_room(now)),
            bytes_max,
        }
    }

    fn runs_to_open(&self) -> u32 {
        let staged = self.pipeline.newest_staged_run();
        self.sent_run.max(staged.unwrap_or_default())
    }

    fn settle_order(&mut self) -> Option<Order> {
        let through = self.pipeline.settled()?;
        Some(self.disk.settlement.order(through))
    }

    /// The last one, after the end of the run, reports that nobody is running.
    fn tick_order(&mut self, now: Instant) -> Order {
        self.disk.tick_at = now + TICK_EVERY;
        let mut stats = self.ring.entrance().stats();
        let mut pid = Some(std::process::id());
        if self.disk.end == End::Noted {
            stats.state = State::Stopped;
            pid = None;
        }
        Order::Tick(Box::new(self.status(pid, stats)))
    }

    fn end_order(&mut self) -> Order {
        self.number_losses();
        let (first_n, losses) = self.sequencer.trailing();
        Order::End {
            last_n: self.sequencer.last_n(),
            first_n,
            losses,
        }
    }
}
