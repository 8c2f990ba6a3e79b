//! What the drainer does next, as a pure function of plain facts.
//!
//! Handing an order to a worker costs nothing, so a free worker gets its order first; then memory is staged, then the
//! ring is drawn for the disk. Four rules give the order of the rest:
//!
//! - A sink that is free gets a ready batch at once, whatever the disk is doing.
//! - Appending and reading take turns at the disk. Past the high water mark, where entries are about to be refused,
//!   appending has most of the turns.
//! - Nothing is staged from memory while the spill holds entries that are not in memory: that keeps the order.
//! - An order that nobody waits for, such as a settlement, goes when the disk has nothing else to do, and first once it
//!   is [late](LATE).

mod backoff;
mod disk;
mod facts;

use std::time::{Duration, Instant};

pub(crate) use backoff::Backoff;
pub(crate) use facts::{
    Cap, DiskFacts, Doubt, Drawn, Due, End, Facts, Flush, Front, Hand, Memory, OrderUnderWay,
    RingFacts, Runs, Staged, Stopping, Unread, Untold,
};

/// The one thing to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the sink how far it has come.
    Ask,
    /// Hand what is staged to the sink, or the last losses of the run.
    Deliver,
    /// Let the sink sign again how far it has come.
    Renew,
    /// Hand the disk an order.
    Disk(DiskStep),
    /// Pop from the ring, for the sink.
    StageRing,
    /// Stage what was drawn for the disk.
    StageDrawn,
    /// Pop a chunk from the ring, for the disk.
    Draw,
    /// Nothing, for at most this long.
    Wait(Duration),
    /// The end.
    Stop,
}

/// The order that the disk gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskStep {
    Append,
    Read,
    DeadLetter,
    Evict,
    OpenRuns,
    Settle,
    Retell,
    Check,
    RenewIdentity,
    TurnOver,
    Tick,
    End,
}

/// How long an end that is overdue waits for workers that get nothing done.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(500);

/// How long such an end waits for an order of the disk that is under way: a slow disk is not a dead one.
pub(crate) const STOP_ORDER_MAX: Duration = Duration::from_secs(5);

/// How long such an end rests after a failure of the disk.
pub(crate) const STOP_RETRY: Duration = Duration::from_millis(20);

/// How many appends may go before the backlog has its turn, when entries are about to be refused.
pub(crate) const RELIEFS_MAX: u32 = 8;

/// How long the first batch of a run waits until the spill has noted that the run is open.
pub(crate) const OPEN_RUNS_MAX: Duration = Duration::from_millis(250);

/// An order of low priority goes first once it has been due for this long.
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

    /// The end was asked for, and all is delivered; or all is on disk, and time is up.
    pub(crate) fn finished(&self) -> bool {
        let Some(stopping) = self.stopping else {
            return false;
        };
        let settled = self.memory == Memory::Empty && self.ring == RingFacts::Empty;
        let delivered = self.staged == Staged::Nothing
            && self.sink != Hand::Busy
            && self.unread == Unread::None
            && self.untold == Untold::Nothing
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
        Some(match self.disk.order {
            OrderUnderWay::Append(since) | OrderUnderWay::Other(since) => {
                at.max(since + STOP_ORDER_MAX)
            }
            OrderUnderWay::None => at,
        })
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
        if self.doubt == Doubt::Ask {
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

    /// The next start must know which runs the stream may name. The disk has a moment to note it.
    fn may_send_runs(&self) -> bool {
        match self.runs {
            Runs::Open | Runs::Sent => true,
            Runs::Unopened(until) => self.now >= until,
        }
    }

    /// All entries have gone, and losses after the last one must still be announced.
    fn last_word_due(&self) -> bool {
        self.stopping.is_some()
            && self.untold == Untold::Losses
            && self.staged == Staged::Nothing
            && self.memory == Memory::Empty
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
            Hand::RestsUntil(at) => Some(at),
            Hand::Free | Hand::Busy | Hand::Gone => None,
        };
        // While entries gather nobody looks at the ring; an outcome or a request wakes the drainer.
        let look = match self.ring {
            RingFacts::Gathering(until) => until.saturating_duration_since(self.now),
            _ => self.poll,
        };
        let events = [
            rest(self.sink),
            rest(self.disk.writes),
            rest(self.disk.reads),
            rest(self.disk.upkeep),
            match self.runs {
                Runs::Open | Runs::Sent => None,
                Runs::Unopened(until) => Some(until),
            },
            Some(self.disk.tick_at),
            self.stopping.map(|stopping| stopping.deadline),
            self.hopeless_at(),
            self.waiting_since.map(|since| since + self.pending_max),
        ];
        let next = events.into_iter().flatten().filter(|at| *at > self.now);
        Step::Wait(next.min().map_or(look, |at| look.min(at - self.now)))
    }
}

#[cfg(test)]
mod tests;
