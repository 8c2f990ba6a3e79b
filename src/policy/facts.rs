//! The facts for the decision.

use std::time::{Duration, Instant};

/// All facts for the decision.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Instant,
    pub(crate) sink: Availability,
    /// The sink must be asked what it has stored before it gets anything.
    pub(crate) question: Due,
    /// The sink's newest signature is so old that it must sign again.
    pub(crate) renewal: Due,
    pub(crate) front: Front,
    pub(crate) staged: Staged,
    pub(crate) runs: RunsOpen,
    pub(crate) unread: Unread,
    pub(crate) ring: RingFacts,
    pub(crate) drawn: Drawn,
    /// Whether anything outside the ring is in memory only.
    pub(crate) memory: Unspilled,
    /// The age of the oldest entry, ring included, that is in memory only and not being appended; `None` if there is
    /// none.
    pub(crate) waiting_since: Option<Instant>,
    pub(crate) disk: DiskFacts,
    /// How many appends were ordered since the backlog had its turn.
    pub(crate) appends_in_a_row: u32,
    pub(crate) flush: Flush,
    /// At the end: losses after the last entry must still be announced to the sink.
    pub(crate) last_losses: Due,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) pending_max: Duration,
    /// How long to wait if there is nothing to do.
    pub(crate) poll: Duration,
}

/// The disk's part of the facts.
#[derive(Debug, Clone)]
pub(crate) struct DiskFacts {
    /// Since when an order has been under way.
    pub(crate) order_since: Option<Instant>,
    pub(crate) writes: Availability,
    pub(crate) reads: Availability,
    /// Settlements and checks: their failures hold up no entry.
    pub(crate) upkeep: Availability,
    pub(crate) cap: Cap,
    /// The sink has come further with this publisher than we know: another id must be taken before anything is sent.
    pub(crate) identity: Due,
    /// The run's numbers are used up: another must begin before anything is popped.
    pub(crate) turn_over: Due,
    pub(crate) renumber: Due,
    /// Since when the sink has something that the spill still counts.
    pub(crate) settle_since: Option<Instant>,
    pub(crate) tick_at: Instant,
    pub(crate) end: End,
}

/// Whether a worker can take an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    Free,
    Busy,
    /// Failed; not before then.
    RestsUntil(Instant),
    /// Its thread has ended.
    Gone,
}

/// Whether the spill takes new entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cap {
    Room,
    /// At its cap; room can be made.
    Evictable,
    /// At its cap, or the disk is full.
    Full,
    /// There is no spill.
    Absent,
}

/// Whether something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    No,
    Now,
}

/// The progress of the run's clean end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Unnoted,
    /// It is on disk; the last status is not.
    Noted,
    Done,
}

/// Whether the next record may go to the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Deliverable,
    /// It must become a dead letter, or is becoming one.
    DeadLetter,
}

/// How much is ready for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    Nothing,
    Some,
    /// A whole batch.
    Full,
}

/// Whether the spill has recorded that the staged records' runs may be in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunsOpen {
    Yes,
    /// Not yet; a batch waits until then at most.
    NotYet(Instant),
    /// Not yet, and a batch was sent all the same.
    SentAnyway,
}

/// Whether the spill holds entries that are not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    None,
    Rows,
    /// Not to be read yet: the backlog has shrunk fast enough.
    Paced,
}

/// How much was popped for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawn {
    Nothing,
    Some,
    /// No more may be drawn: a whole append waits, or the spill's cap is reached.
    Chunk,
}

/// Whether the drainer holds entries that are not on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unspilled {
    Empty,
    /// All of them are being appended.
    Appending,
    Waiting,
}

/// Whether somebody waits for a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    None,
    Wanted,
    /// The entries are on disk; whether the files are in place must be checked.
    Check,
}

/// How full the ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RingFacts {
    Empty,
    /// Nothing can, or should, be popped until then.
    Gathering(Instant),
    Some,
    /// Enough for a whole append.
    Chunk,
    /// Past its high water mark.
    High,
}

/// The end was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// What is not delivered by then is spilled.
    pub(crate) deadline: Instant,
    /// When something last moved.
    pub(crate) progress_at: Instant,
}

impl Availability {
    pub(crate) fn ready(self, now: Instant) -> bool {
        match self {
            Self::Free => true,
            Self::Busy | Self::Gone => false,
            Self::RestsUntil(at) => now >= at,
        }
    }
}
