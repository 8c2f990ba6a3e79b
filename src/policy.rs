//! Decides what the drainer does next, as a pure function of plain facts.
//!
//! An order to a worker costs nothing, so a free worker gets its order first. Then records in memory are staged, then
//! the ring is drawn for the disk. Four rules order the rest:
//!
//! - A free sink gets a ready batch at once, whatever the disk is doing.
//! - Appends and replays take turns at the disk. Past the high water mark, where entries are about to be refused,
//!   appends get most of the turns.
//! - Nothing is staged from memory while the spill holds entries that are not in memory: that keeps the order.
//! - An order that nobody waits for, such as a settlement, goes when the disk has nothing else to do, and first once
//!   it is [late](LATE).

mod backoff;
mod disk;
mod facts;

use std::time::{Duration, Instant};

pub(crate) use backoff::Backoff;
pub(crate) use facts::{
    Availability, Cap, DiskFacts, Drawn, Due, End, Facts, Flush, Front, RingFacts, RunsOpen,
    Staged, Stopping, Unread, Unspilled,
};

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the sink for its position.
    Ask,
    /// Send the staged batch to the sink, or the last losses of the run.
    Deliver,
    /// Let the sink sign its newest checkpoint again.
    Renew,
    /// Send an order to the disk.
    Disk(DiskStep),
    /// Pop from the ring, for the sink.
    StageRing,
    /// Stage what was drawn for the disk.
    StageDrawn,
    /// Pop a chunk from the ring, for the disk.
    Draw,
    /// Do nothing, for at most this long.
    Wait(Duration),
    /// End.
    Stop,
}

/// The next order for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskStep {
    Append,
    Read,
    DeadLetter,
    Evict,
    OpenRuns,
    Settle,
    Renumber,
    Check,
    RenewIdentity,
    TurnOver,
    Tick,
    End,
}

/// How long an overdue end waits for workers that make no progress.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(500);

/// How long an overdue end waits for an order of the disk that is under way: a slow disk is not a dead one.
pub(crate) const STOP_ORDER_MAX: Duration = Duration::from_secs(5);

/// How long an overdue end rests after a failure of the disk.
pub(crate) const STOP_RETRY: Duration = Duration::from_millis(20);

/// How many appends may be ordered before the backlog has its turn, when entries are about to be refused.
pub(crate) const APPENDS_IN_A_ROW_MAX: u32 = 8;

/// How long the first batch of a run waits for the spill to record that the run is open.
pub(crate) const OPEN_RUNS_MAX: Duration = Duration::from_millis(250);

/// For how long an order of low priority must have been due to go first.
pub(crate) const LATE: Duration = Duration::from_millis(500);

/// Decides.
pub(crate) fn next(facts: &Facts) -> Step {
    if facts.ended() || facts.hopeless() {
        return Step::Stop;
    }
    let step = if facts.finished() {
        facts.last_order()
    } else if facts.overdue() {
        facts.rescue()
    } else {
        facts
            .serve_sink()
            .or_else(|| facts.order())
            .or_else(|| facts.stage_memory())
            .or_else(|| facts.draw_ahead())
    };
    step.unwrap_or_else(|| facts.wait())
}

impl Facts {
    fn ended(&self) -> bool {
        self.stopping.is_some() && self.disk.end == End::Done
    }

    /// The end was requested, and everything is delivered; or everything is on disk, and time is up.
    pub(crate) fn finished(&self) -> bool {
        let Some(stopping) = self.stopping else {
            return false;
        };
        let settled = self.memory == Unspilled::Empty && self.ring == RingFacts::Empty;
        let delivered = self.staged == Staged::Nothing
            && self.sink != Availability::Busy
            && self.unread == Unread::None
            && self.last_losses == Due::No
            && self.renewal == Due::No;
        settled && (delivered || self.now >= stopping.deadline)
    }

    /// Nothing has moved for the whole grace of an end.
    fn hopeless(&self) -> bool {
        self.hopeless_at().is_some_and(|at| self.now >= at)
    }

    fn hopeless_at(&self) -> Option<Instant> {
        let stopping = self.stopping?;
        let from = if self.finished() {
            stopping.progress_at
        } else {
            stopping.deadline.max(stopping.progress_at)
        };
        let at = from + STOP_GRACE;
        let order = self.disk.order_since.map(|since| since + STOP_ORDER_MAX);
        Some(order.map_or(at, |order| at.max(order)))
    }

    pub(crate) fn overdue(&self) -> bool {
        self.stopping
            .is_some_and(|stopping| self.now >= stopping.deadline)
    }

    fn sink_ready(&self) -> bool {
        self.sink.ready(self.now)
    }

    fn serve_sink(&self) -> Option<Step> {
        if !self.sink_ready() || self.disk.identity == Due::Now {
            return None;
        }
        if self.question == Due::Now {
            return Some(Step::Ask);
        }
        if self.front == Front::DeadLetter || !self.may_send_runs() {
            return None;
        }
        if self.renewal == Due::Now && self.staged == Staged::Nothing {
            return Some(Step::Renew);
        }
        let some = self.staged == Staged::Some || self.last_word_due();
        let more = self.can_stage() || self.can_read();
        (self.staged == Staged::Full || (some && !more)).then_some(Step::Deliver)
    }

    /// The next start must know which runs the stream may name. The disk has a moment to record that.
    fn may_send_runs(&self) -> bool {
        match self.runs {
            RunsOpen::Yes | RunsOpen::SentAnyway => true,
            RunsOpen::NotYet(until) => self.now >= until,
        }
    }

    /// All entries are delivered, but losses after the last one must still be announced.
    fn last_word_due(&self) -> bool {
        self.stopping.is_some()
            && self.last_losses == Due::Now
            && self.staged == Staged::Nothing
            && self.memory == Unspilled::Empty
            && self.unread == Unread::None
            && self.ring == RingFacts::Empty
    }

    /// Entries in memory can be staged: nothing in the spill comes before them.
    fn can_stage(&self) -> bool {
        self.unread == Unread::None
            && self.staged != Staged::Full
            && (self.drawn != Drawn::Nothing || self.can_pop())
    }

    fn can_pop(&self) -> bool {
        self.ring >= RingFacts::Some && self.disk.turn_over == Due::No
    }

    fn stage_memory(&self) -> Option<Step> {
        self.can_stage().then_some(match self.drawn {
            Drawn::Nothing => Step::StageRing,
            Drawn::Some | Drawn::Chunk => Step::StageDrawn,
        })
    }

    fn wait(&self) -> Step {
        let rest = |hand| match hand {
            Availability::RestsUntil(at) => Some(at),
            Availability::Free | Availability::Busy | Availability::Gone => None,
        };
        // While entries gather nobody checks the ring; an outcome or a request wakes the drainer.
        let check = match self.ring {
            RingFacts::Gathering(until) => until.saturating_duration_since(self.now),
            _ => self.poll,
        };
        let events = [
            rest(self.sink),
            rest(self.disk.writes),
            rest(self.disk.reads),
            rest(self.disk.upkeep),
            match self.runs {
                RunsOpen::Yes | RunsOpen::SentAnyway => None,
                RunsOpen::NotYet(until) => Some(until),
            },
            Some(self.disk.tick_at),
            self.stopping.map(|stopping| stopping.deadline),
            self.hopeless_at(),
            self.waiting_since.map(|since| since + self.pending_max),
        ];
        let next = events.into_iter().flatten().filter(|at| *at > self.now);
        Step::Wait(next.min().map_or(check, |at| check.min(at - self.now)))
    }
}

#[cfg(test)]
mod tests;
