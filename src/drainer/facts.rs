//! Gathers the facts for the decision at each turn.

use std::time::{Duration, Instant};

use super::DrainLoop;
use super::disk_side::RENUMBERINGS_MAX;
use super::eviction::{self, batch_bytes_max};
use super::pipeline::APPEND_ROWS_MAX;
use super::requests::FlushProgress;
use crate::policy::{
    DiskFacts, Drawn, Due, Facts, Front, OPEN_RUNS_MAX, RunsOpen, Staged, Stopping, Unread,
    Unspilled,
};
use crate::spill::{Evictable, Order};

impl DrainLoop {
    pub(super) fn facts(&mut self, progress: &FlushProgress, now: Instant) -> Facts {
        let may_gather = !self.requests.pending();
        let ring = self.ring.inspect(may_gather, now);
        let stopping = self.requests.stopping(now);
        let overdue = self.requests.is_overdue(now);
        let waiting = self.pipeline.first_waiting().map(|record| record.since);
        let disk = self.disk_facts(overdue, now);
        let mut facts = Facts {
            now,
            sink: self.sink.availability(self.pipeline.in_flight()),
            question: self.sink.question,
            renewal: self.renewal_facts(stopping.as_ref(), now),
            front: self.front_facts(),
            staged: self.staged_facts(),
            runs: self.runs_facts(&disk, now),
            unread: self.unread_facts(now),
            ring,
            drawn: self.drawn_facts(now),
            memory: self.memory_facts(),
            waiting_since: waiting.into_iter().chain(self.ring.since()).min(),
            disk,
            appends_in_a_row: self.appends_in_a_row,
            flush: self.requests.flush(progress),
            last_losses: due(self.must_announce_last_losses()),
            stopping,
            pending_max: if self.ring.is_held() {
                Duration::ZERO
            } else {
                self.config.pending_max
            },
            poll: self.ring.poll(),
        };
        if facts.finished() {
            facts.stopping = self.requests.finished(now);
        }
        facts
    }

    /// The end waits for the first signature of what the sink has, not for a newer one.
    fn renewal_facts(&self, stopping: Option<&Stopping>, now: Instant) -> Due {
        match &self.signer {
            Some(signer) if stopping.is_none() && signer.is_due(now) => Due::Now,
            Some(_) => self.sink.signature,
            None => Due::No,
        }
    }

    fn disk_facts(&mut self, overdue: bool, now: Instant) -> DiskFacts {
        let evictable = self.evictable();
        let settled = self.pipeline.settled();
        let numbers = self.config.batch_max.max(APPEND_ROWS_MAX);
        let disk = &mut self.disk;
        DiskFacts {
            order_since: disk.order_since(),
            writes: disk.writes.availability(overdue),
            reads: disk.reads.availability(overdue),
            upkeep: disk.upkeep.availability(overdue),
            cap: disk.eviction.cap(&self.config, &disk.view, &evictable),
            identity: due(self.sink.stranger.is_some()),
            turn_over: due(self.sequencer.lacks(numbers)),
            renumber: due(!disk.renumberings.is_empty()),
            settle_since: disk.settlement.due(settled, &disk.view, now),
            tick_at: disk.tick_at,
            end: disk.end,
        }
    }

    /// Describes what may be evicted.
    pub(super) fn evictable(&self) -> Evictable {
        let after = self.pipeline.read_after();
        eviction::evictable(&self.disk.view, after, self.sink.may_have)
    }

    fn front_facts(&self) -> Front {
        let dead_lettering = matches!(self.disk.order(), Some(Order::DeadLetter(_)));
        if dead_lettering || self.verdict().is_some() {
            Front::DeadLetter
        } else {
            Front::Deliverable
        }
    }

    fn staged_facts(&self) -> Staged {
        let bytes_max = batch_bytes_max(&self.disk.view);
        match self.pipeline.staged() {
            0 => Staged::Nothing,
            n if n >= self.config.batch_max || self.pipeline.staged_bytes() >= bytes_max => {
                Staged::Full
            }
            _ => Staged::Some,
        }
    }

    /// A disk that rests, or that is missing, holds up no batch.
    fn runs_facts(&mut self, disk: &DiskFacts, now: Instant) -> RunsOpen {
        if self.sent_run > self.disk.opened {
            return RunsOpen::SentAnyway;
        }
        if self.pipeline.newest_staged_run() <= Some(self.disk.opened) {
            self.unopened_since = None;
            return RunsOpen::Yes;
        }
        if self.sink.availability(self.pipeline.in_flight()).ready(now) {
            self.unopened_since.get_or_insert(now);
        }
        RunsOpen::NotYet(if disk.writes.ready(now) {
            self.unopened_since.unwrap_or(now) + OPEN_RUNS_MAX
        } else {
            now
        })
    }

    fn unread_facts(&mut self, now: Instant) -> Unread {
        let room = self.replay_room(now);
        if !self.is_unread() {
            Unread::None
        } else if room == 0
            || self.disk.is_lost()
            || self.disk.renumberings.len() >= RENUMBERINGS_MAX
        {
            Unread::Paced
        } else {
            Unread::Rows
        }
    }

    /// Whether the spill holds, or is reading, entries that are not in memory.
    pub(super) fn is_unread(&self) -> bool {
        let reading = matches!(self.disk.order(), Some(Order::Read { .. }));
        reading || self.disk.view.reaches_beyond(self.pipeline.read_after())
    }

    /// How many entries of the backlog may be staged now.
    pub(super) fn replay_room(&mut self, now: Instant) -> usize {
        // Evicted entries do not count towards the pace.
        let backlog = self.disk.backlog().entries;
        let left = backlog + self.disk.view.evicted;
        let staged = self.pipeline.spilled_in_memory();
        let Some(pace) = &mut self.pace else {
            return usize::MAX;
        };
        let allowed = pace.allows(left, now).saturating_sub(staged);
        // A backlog without entries may still have losses to read.
        if backlog == 0 { usize::MAX } else { allowed }
    }

    fn drawn_facts(&self, now: Instant) -> Drawn {
        let (entries, bytes) = self.draw_room(now);
        if self.pipeline.drawn() == 0 {
            Drawn::Nothing
        } else if entries == 0 || bytes == 0 {
            Drawn::Chunk
        } else {
            Drawn::Some
        }
    }

    fn memory_facts(&self) -> Unspilled {
        if self.pipeline.waits() {
            Unspilled::Waiting
        } else if self.pipeline.first_unspilled().is_some() {
            Unspilled::Appending
        } else {
            Unspilled::Empty
        }
    }

    fn must_announce_last_losses(&self) -> bool {
        !self.announced_last_losses
            && self.requests.is_stopping()
            && self
                .sequencer
                .has_unannounced(self.ring.entrance().lost().total())
    }
}

fn due(now: bool) -> Due {
    if now { Due::Now } else { Due::No }
}
