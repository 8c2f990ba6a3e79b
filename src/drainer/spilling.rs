//! Popping for the sink or for the disk, and the disk's orders.

use std::time::{Duration, Instant};

use super::DrainLoop;
use super::disk_side::Sent;
use super::eviction::batch_bytes_max;
use crate::policy::{DiskStep, End};
use crate::spill::{Order, Room};
use crate::stats::State;

/// How often the spill syncs its watermark and writes `status.json`.
const TICK_EVERY: Duration = Duration::from_secs(1);

impl DrainLoop {
    pub(super) fn stage_ring(&mut self, now: Instant) {
        let (entries_max, bytes_max) = self.batch_room();
        let pipeline = &mut self.pipeline;
        let popped = self.ring.pop(
            entries_max,
            bytes_max,
            now,
            &mut self.sequencer,
            &mut |record| pipeline.stage(record),
        );
        self.popped(popped);
    }

    pub(super) fn stage_drawn(&mut self) {
        let (entries_max, bytes_max) = self.batch_room();
        self.pipeline.stage_drawn(entries_max, bytes_max);
    }

    pub(super) fn draw(&mut self, now: Instant) {
        let (entries_max, bytes_max) = self.draw_room(now);
        let pipeline = &mut self.pipeline;
        let popped = self.ring.pop(
            entries_max,
            bytes_max,
            now,
            &mut self.sequencer,
            &mut |record| pipeline.draw(record),
        );
        self.popped(popped);
    }

    fn popped(&mut self, popped: usize) {
        if popped > 0 {
            self.requests.progress();
        }
    }

    /// How many entries and bytes may be drawn until there is a whole chunk, or the spill is at its cap. At an overdue
    /// end the cap no longer counts.
    pub(super) fn draw_room(&self, now: Instant) -> (usize, u64) {
        let (entries, bytes) = self.pipeline.chunk_room();
        let view = &self.disk.view;
        if view.room == Room::Absent || self.requests.is_overdue(now) {
            return (entries, bytes);
        }
        let kept = view.totals.bytes + view.totals.dead_letter_bytes + self.pipeline.drawn_bytes();
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
        let made = match step {
            DiskStep::Append => {
                let records = self.pipeline.append();
                Some((Order::Append(records.clone()), Sent::Append(records)))
            }
            DiskStep::Read => Some((self.read_order(now), Sent::Read)),
            DiskStep::DeadLetter => self.dead_letters_order(),
            DiskStep::Evict => {
                let evictable = self.evictable();
                Some((Order::Evict(evictable), Sent::Evict(evictable)))
            }
            DiskStep::OpenRuns => Some((Order::OpenRuns(self.runs_to_open()), Sent::Other)),
            DiskStep::Settle => self.settle_order(),
            DiskStep::Renumber => {
                let oldest = self.disk.renumberings.front();
                oldest.map(|renumbering| (Order::Renumber(renumbering.clone()), Sent::Other))
            }
            DiskStep::Check => Some((Order::Check, Sent::Check)),
            DiskStep::RenewIdentity => Some((Order::RenewIdentity, Sent::Other)),
            DiskStep::TurnOver => {
                let last_n = self.sequencer.last_n();
                Some((Order::TurnOver { last_n }, Sent::Other))
            }
            DiskStep::Tick => Some((self.tick_order(now), Sent::Tick)),
            DiskStep::End => Some((self.end_order(), Sent::End)),
        };
        if let Some((order, sent)) = made {
            self.disk.send(order, sent, now);
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
        let sent = self.unopened.map_or(0, |unopened| unopened.sent);
        let staged = self.pipeline.newest_staged_run();
        staged.map_or(sent, |staged| staged.max(sent))
    }

    fn settle_order(&mut self) -> Option<(Order, Sent)> {
        let through = self.pipeline.settled()?;
        Some((self.disk.settlement.order(through), Sent::Settle))
    }

    /// The last one, after the end of the run, reports that nobody is running.
    fn tick_order(&mut self, now: Instant) -> Order {
        self.disk.tick_at = now + TICK_EVERY;
        let mut stats = self.ring.stats();
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
