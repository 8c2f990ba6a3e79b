//! What the drainer does next, as a pure function of plain facts, and how long it backs off.
//!
//! Three rules stand behind the order of the steps. The sink, when it is free and a batch is ready, gets it at once:
//! handing over costs nothing. Relieving the ring and reading the backlog take turns, so that neither a flood of new
//! entries keeps the backlog from leaving nor a long backlog keeps the ring from being relieved; past the high water
//! mark, where entries are about to be refused, relief has most of the turns. And nothing is staged from the ring
//! while the spill holds entries that are not in memory: that is what keeps the order.

use std::time::{Duration, Instant};

/// The one thing to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the sink how far it has come.
    Ask,
    /// Hand what is staged to the sink.
    Deliver,
    /// Carry over some rows of a database that had to be set aside.
    Salvage,
    /// Read the oldest rows of the spill that are not in memory.
    StageSpill,
    /// Pop and encode from the ring.
    StageRing,
    /// Write what is in memory only, and a chunk of the ring, to the spill.
    Relieve,
    /// Make room in the spill, at the cost of its oldest entries.
    Evict,
    /// Nothing, for so long at the most.
    Wait(Duration),
    /// Come to an end.
    Stop,
}

/// Everything the decision rests on.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Instant,
    pub(crate) sink: Hand,
    /// The sink must be asked before it gets anything.
    pub(crate) doubt: Doubt,
    pub(crate) staged: Staged,
    /// The spill holds entries that are not staged.
    pub(crate) unread: Unread,
    pub(crate) ring: RingFacts,
    /// Since when the oldest entry that is in memory only has been waiting; none if there is none.
    pub(crate) memory_since: Option<Instant>,
    pub(crate) disk: Hand,
    /// How often the ring was relieved since anything was staged.
    pub(crate) reliefs: u32,
    /// Somebody waits for a flush.
    pub(crate) flush: Flush,
    pub(crate) untold: Untold,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) pending_max: Duration,
    /// How long to wait if there is nothing to do.
    pub(crate) poll: Duration,
}

/// Whether the sink, or the disk, can be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    Free,
    /// At work (the sink), or at its cap (the disk).
    Busy,
    /// At its cap, and room can be made (the disk).
    Full,
    /// Failed; not before then.
    RestsUntil(Instant),
}

/// Whether it is known what the sink has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    None,
    Ask,
}

/// How much is out of ring and spill and ready to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    Nothing,
    Some,
    /// A whole batch.
    Full,
}

/// Whether the spill holds entries that are not staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    None,
    Rows,
    /// Rows, not all of which are in their place yet.
    Salvaging,
    /// Rows that are not to be read yet: they could not be, or the backlog has shrunk fast enough.
    Resting,
}

/// Whether somebody waits for a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    None,
    Wanted,
}

/// Whether losses behind the last entry have still to be told to the sink, when the end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untold {
    Nothing,
    Losses,
}

/// How full the ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RingFacts {
    Empty,
    /// A few entries came since the last pop, and more may come until then.
    Gathering(Instant),
    Some,
    /// Enough for a whole transaction of the spill.
    Chunk,
    /// Past its high water mark.
    High,
}

/// The end is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// What is not delivered by then is spilled.
    pub(crate) deadline: Instant,
    /// When something last moved.
    pub(crate) progress_at: Instant,
}

/// How long an end that is overdue waits for a disk that takes nothing.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(500);

/// How often the ring is relieved before the backlog has its turn, when entries are about to be refused.
pub(crate) const RELIEFS_MAX: u32 = 8;

/// Decides.
pub(crate) fn next(facts: &Facts) -> Step {
    if facts.finished() || facts.hopeless() {
        return Step::Stop;
    }
    let relief = facts.relief();
    let stage = facts.stage();
    if facts.overdue() {
        return relief.unwrap_or_else(|| facts.wait());
    }
    if facts.sink_ready() {
        if facts.doubt == Doubt::Ask {
            return Step::Ask;
        }
        let more = facts.staged == Staged::Some || facts.last_word_due();
        if facts.staged == Staged::Full || (more && stage.is_none()) {
            return Step::Deliver;
        }
    }
    match (stage, relief) {
        (None, Some(relief)) => relief,
        (_, Some(relief)) if facts.reliefs < facts.turns() => relief,
        (Some(stage), _) => stage,
        (None, None) => facts.wait(),
    }
}

impl Facts {
    /// Nothing is left anywhere, or all that is left is on disk and time is up.
    fn finished(&self) -> bool {
        let Some(stopping) = self.stopping else {
            return false;
        };
        let settled = self.memory_since.is_none() && self.ring == RingFacts::Empty;
        let delivered = self.staged == Staged::Nothing
            && self.sink != Hand::Busy
            && self.unread == Unread::None
            && self.untold == Untold::Nothing;
        settled && (delivered || self.now >= stopping.deadline)
    }

    /// Time is up, and for the whole grace what is left could be put nowhere.
    fn hopeless(&self) -> bool {
        self.stopping.is_some_and(|stopping| {
            self.now >= stopping.deadline.max(stopping.progress_at) + STOP_GRACE
        })
    }

    /// All entries have gone, and losses behind the last one are left to be told.
    fn last_word_due(&self) -> bool {
        self.stopping.is_some()
            && self.untold == Untold::Losses
            && self.staged == Staged::Nothing
            && self.unread == Unread::None
            && self.ring == RingFacts::Empty
    }

    fn overdue(&self) -> bool {
        self.stopping
            .is_some_and(|stopping| self.now >= stopping.deadline)
    }

    fn sink_ready(&self) -> bool {
        self.sink.ready(self.now)
    }

    fn stage(&self) -> Option<Step> {
        match (self.staged, self.unread, self.ring) {
            (_, Unread::Salvaging, _) => Some(Step::Salvage),
            (Staged::Full, _, _)
            | (_, Unread::Resting, _)
            | (_, Unread::None, RingFacts::Empty | RingFacts::Gathering(_)) => None,
            (_, Unread::Rows, _) => Some(Step::StageSpill),
            (_, Unread::None, _) => Some(Step::StageRing),
        }
    }

    fn turns(&self) -> u32 {
        if self.ring == RingFacts::High {
            RELIEFS_MAX
        } else {
            1
        }
    }

    /// How entries that are in memory only get to the disk, if they should and it can take them.
    ///
    /// At an end that is overdue the cap no longer counts, nor does a rest: keeping what was accepted comes first.
    fn relief(&self) -> Option<Step> {
        let since = self.memory_since?;
        if self.overdue() {
            return Some(Step::Relieve);
        }
        let urgent = self.relief_urgent(since);
        if self.disk == Hand::Full {
            return urgent.then_some(Step::Evict);
        }
        let wanted = urgent || self.relief_useful();
        (wanted && self.disk.ready(self.now)).then_some(Step::Relieve)
    }

    /// Entries are about to be refused, or have been in memory only for too long. For less nothing is evicted: the sink
    /// may be making room already.
    fn relief_urgent(&self, since: Instant) -> bool {
        let stuck = self.unread != Unread::None || self.doubt == Doubt::Ask || !self.sink_ready();
        let pending_too_long = self.now >= since + self.pending_max;
        stuck && (self.ring == RingFacts::High || pending_too_long)
    }

    /// A whole transaction waits behind the backlog, or somebody for a flush that the sink does not bring about.
    fn relief_useful(&self) -> bool {
        let behind_backlog = self.unread != Unread::None;
        let not_taking =
            behind_backlog || self.doubt == Doubt::Ask || matches!(self.sink, Hand::RestsUntil(_));
        (behind_backlog && self.ring >= RingFacts::Chunk)
            || (not_taking && self.flush == Flush::Wanted)
    }

    fn wait(&self) -> Step {
        let rest = |hand| match hand {
            Hand::RestsUntil(at) => Some(at),
            Hand::Free | Hand::Busy | Hand::Full => None,
        };
        // While entries gather nobody looks at the ring; an outcome or a request wakes the drainer.
        let look = match self.ring {
            RingFacts::Gathering(until) => until.saturating_duration_since(self.now),
            _ => self.poll,
        };
        let events = [
            rest(self.sink),
            rest(self.disk),
            self.stopping.map(|stopping| stopping.deadline),
            self.memory_since.map(|since| since + self.pending_max),
        ];
        let next = events.into_iter().flatten().filter(|at| *at > self.now);
        Step::Wait(next.min().map_or(look, |at| look.min(at - self.now)))
    }
}

impl Hand {
    fn ready(self, now: Instant) -> bool {
        match self {
            Self::Free => true,
            Self::Busy | Self::Full => false,
            Self::RestsUntil(at) => now >= at,
        }
    }
}

/// Exponential backoff with full jitter.
///
/// Source: Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            failures: 0,
        }
    }

    /// How long to rest after one more failure, at the most `limit`; `jitter` is a random number in `0.0..1.0`.
    pub(crate) fn pause(&mut self, jitter: f64, limit: Duration) -> Duration {
        let ceiling = self
            .min
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.max)
            .min(limit);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(jitter)
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests;
