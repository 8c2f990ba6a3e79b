//! What the drainer orders of the spill, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SpillError;
use crate::event::{Key, Loss, PublisherId, Record, Run, fresh_uuid};
use crate::stats::Status;

use super::tally::Tally;

/// One order at a time is under way.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Write these records, which are in memory only, after everything that the spill has. They are in key order and
    /// complete: between the spill's newest entry and the last of these, nothing else is undelivered.
    Append(Arc<[Record]>),
    /// Read the oldest records after this key.
    Read {
        after: Option<Key>,
        entries_max: usize,
        bytes_max: u64,
    },
    /// The sink has everything up to this key.
    Settle { through: Key, entries: Counted },
    /// Keep these entries as dead letters; losses take their places.
    DeadLetter(Vec<NewDeadLetter>),
    /// Make room at the cost of the oldest entries.
    Evict(Evictable),
    /// Entries of the runs up to this local number may be in the stream from now on.
    OpenRuns(u32),
    /// Losses of earlier runs are announced under numbers of this run from now on.
    Renumber(Renumbering),
    /// Look whether the files are where they were.
    Check,
    /// Take another publisher id.
    RenewIdentity,
    /// The run has used up its numbers: end it at `last_n`, and begin another.
    TurnOver { last_n: u64 },
    /// Once a second: sync the watermark, remove what is delivered, look for what has vanished, write `status.json`.
    Tick(Box<Status>),
    /// Note the clean end of the run. The losses have no entry after them; the first has this number.
    End {
        last_n: u64,
        first_n: u64,
        losses: Vec<Loss>,
    },
}

impl Order {
    /// The answer where there is no spill: it succeeds if a publisher may run without it.
    pub(crate) fn without_spill(&self) -> Result<Done, SpillError> {
        Ok(match self {
            Self::Append(_) | Self::Evict(_) | Self::TurnOver { .. } => {
                return Err(SpillError::Absent);
            }
            Self::Read { after, .. } => Done::Read(Reading {
                through: *after,
                ..Reading::default()
            }),
            Self::Settle { through, .. } => Done::Settled(Settled::nothing(*through)),
            Self::DeadLetter(_) => Done::DeadLettered,
            Self::OpenRuns(local) => Done::RunsOpened(*local),
            Self::Renumber(_) => Done::Renumbered,
            Self::Check => Done::Checked,
            Self::RenewIdentity => Done::Renewed(PublisherId(fresh_uuid())),
            Self::Tick(_) => Done::Ticked,
            Self::End { .. } => Done::Ended,
        })
    }
}

/// How many entries of the spill a settlement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// They went through memory, which counted them.
    Known(Tally),
    /// The spill must count them.
    Unknown,
}

/// An entry to be kept as a dead letter, or dropped if the cap leaves no room for it.
#[derive(Debug, Clone)]
pub(crate) struct NewDeadLetter {
    pub(crate) record: Record,
    pub(crate) reason: DeadLetterReason,
    pub(crate) detail: String,
    pub(crate) keep: Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    /// At the cap: only the loss is noted.
    NoRoom,
}

/// Why an entry became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    /// Larger than `entry_bytes_max`.
    Oversize,
    /// The sink will never take it.
    Rejected,
}

impl DeadLetterReason {
    /// As metrics, logs and the spill write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Oversize => "oversize",
            Self::Rejected => "rejected",
        }
    }
}

/// Which entries may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evictable {
    /// Those after it: memory has the others.
    pub(crate) after: Option<Key>,
    /// The sink may have what an earlier run sent it: the oldest batch stays as well.
    pub(crate) doubt: SinkMayHave,
    /// About how many bytes to make room for.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkMayHave {
    Nothing,
    /// The sink has not said yet how far it has come.
    OldestBatch,
}

/// A stretch of numbers of an earlier run that are gone, with no entry after them to announce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) first: Key,
    pub(crate) count: u64,
}

/// Orphans, and the first of the numbers that this run gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renumbering {
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) first: Key,
}

/// What comes of an order.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: Result<Done, SpillError>,
    /// How the spill is after it, also after an error.
    pub(crate) view: View,
}

#[derive(Debug)]
pub(crate) enum Done {
    /// All of the records are in the spill; `entries` of them are new.
    Appended {
        entries: u64,
        took: Duration,
    },
    Read(Reading),
    Settled(Settled),
    DeadLettered,
    /// So many; 0 if none may be.
    Evicted {
        entries: u64,
    },
    RunsOpened(u32),
    Renumbered,
    Checked,
    Renewed(PublisherId),
    TurnedOver(Arc<Run>),
    Ticked,
    Ended,
}

/// So much of a settlement was carried out: all of it, or some that the spill could count at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) through: Key,
    /// Entries that the spill no longer counts.
    pub(crate) tally: Tally,
}

impl Settled {
    /// Of a spill that held nothing.
    pub(crate) fn nothing(through: Key) -> Self {
        Self {
            through,
            tally: Tally::default(),
        }
    }
}

/// Some of the backlog.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) records: Vec<Record>,
    /// Everything up to here is among the records, delivered, or announced: the next reading goes on after it.
    pub(crate) through: Option<Key>,
    /// Losses after the last record, to be announced by the next entry of the newest run.
    pub(crate) trailing: Vec<Loss>,
    pub(crate) orphans: Vec<Orphan>,
}

/// How the spill is, in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) totals: Totals,
    /// The newest entry that the spill ever had.
    pub(crate) newest: Option<Key>,
    /// How many bytes backlog and dead letters may have: what was configured, as far as the disk has room.
    pub(crate) bytes_max: u64,
    /// When the oldest entry was popped from the ring, in milliseconds since 1970.
    pub(crate) oldest_popped_ms: Option<u64>,
    /// At the start, when the newest entry was popped; later, when an entry was last written.
    pub(crate) inherited_until_ms: Option<u64>,
    /// Entries found damaged or missing since the start.
    pub(crate) corrupt: u64,
    /// Entries found that nobody had known of.
    pub(crate) surplus: u64,
    pub(crate) evicted: u64,
    pub(crate) room: Room,
}

/// What there is, as of the last order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Undelivered entries.
    pub(crate) backlog: Tally,
    pub(crate) dead_letters: Tally,
    /// Stretches of absent numbers, which must be settled like entries.
    pub(crate) absent: u64,
}

/// Whether the disk has room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Room {
    #[default]
    Some,
    /// The last append found none, and none has come since.
    Full,
    /// There is no spill at all: it could not be used at the start.
    Absent,
}

impl View {
    /// Backlog and dead letters together have reached the cap.
    pub(crate) fn is_at_cap(&self) -> bool {
        self.bytes() >= self.bytes_max
    }

    /// Of the backlog and the dead letters together.
    pub(crate) fn bytes(&self) -> u64 {
        self.totals.backlog.bytes + self.totals.dead_letters.bytes
    }

    /// Whether there are entries after this key, or losses that only reading finds.
    pub(crate) fn reaches_beyond(&self, key: Option<Key>) -> bool {
        self.newest > key
    }
}
