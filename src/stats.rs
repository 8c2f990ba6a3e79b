//! What a publisher has done so far: the terms of the law of conservation, and how deep things stand.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{LossReason, Position, PublisherId, RunId};

/// Counts of one run, and the depths at this moment. Always
/// `inherited + accepted = delivered + in_ring + in_memory + spilled + dead_lettered + discarded` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// What the drainer is about.
    pub state: State,
    /// Entries that earlier runs had left in the spill.
    pub inherited: u64,
    /// Entries that the ring has taken. Exact at every moment: never decreases.
    pub accepted: u64,
    /// Attempts that handed the entry back.
    pub returned: u64,
    /// Entries that `publish` dropped.
    pub lost: Lost,
    /// Entries that the sink has acknowledged.
    pub delivered: u64,
    /// Those of them that came out of the spill.
    pub replayed: u64,
    /// Entries ever written to the spill in this run.
    pub appended: u64,
    /// Entries in the ring now, with those that the drainer has taken out since it last reported.
    pub in_ring: u64,
    /// Entries out of the ring, on their way, and not on disk.
    pub in_memory: u64,
    /// Entries in the spill now.
    pub spilled: u64,
    /// Entries moved to the dead letters: the sum of the next two.
    pub dead_lettered: u64,
    /// Those larger than `entry_bytes_max`.
    pub oversize: u64,
    /// Those that the sink refused.
    pub rejected: u64,
    /// Deliveries, and questions to the sink, that failed.
    pub delivery_errors: u64,
    /// Accepted entries that were given up.
    pub discarded: Discarded,
    /// Bytes that the entries in the ring hold.
    pub ring_bytes: u64,
    /// Bytes of the entries in the spill.
    pub spill_bytes: u64,
    /// How many bytes entries and dead letters may take together: what was configured, as far as the disk has room. 0 while
    /// no publisher is running.
    #[serde(default)]
    pub spill_bytes_max: u64,
    /// How long the oldest entry out of the ring has been waiting for its acknowledgement.
    #[serde(with = "humantime_serde")]
    pub oldest_entry_age: Option<Duration>,
    /// The newest number given, to the last entry out of the ring or to a loss.
    #[serde(default)]
    pub last: Option<Position>,
    /// Whether the sink worked when it was last used. False until it has first answered.
    #[serde(default)]
    pub sink_up: bool,
    /// What the sink failed with, until it works again.
    #[serde(default)]
    pub sink_trouble: Option<String>,
}

/// Entries that `publish` dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lost {
    /// The ring was full.
    pub queue_full: u64,
    /// The publisher was closed.
    pub already_shutdown: u64,
    /// The ring was full because the spill is at its cap.
    pub spill_full: u64,
}

/// Accepted entries that were given up, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Discarded {
    /// Evicted from the spill at its cap.
    pub spill_evicted: u64,
    /// Could not be encoded.
    pub encode_error: u64,
    /// Damaged in the spill.
    pub corrupt: u64,
}

/// What the drainer is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Entries go from the ring to the sink.
    #[default]
    Live,
    /// The sink takes nothing: entries go into the spill.
    Spilling,
    /// The backlog goes to the sink, and what is new joins it.
    Replaying,
    /// The spill is at its cap, the sink takes nothing, and nothing is evicted: the ring fills.
    SpillFull,
    /// Neither sink nor disk takes anything: the ring fills.
    DiskAway,
    /// Closed; what is left is delivered or spilled.
    Stopping,
    /// At an end.
    Stopped,
}

/// Whether a spill is as it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// Everything is there, and can be read.
    Healthy,
    /// Something is missing or cannot be read. A start delivers the rest.
    Damaged,
    /// A publisher is running, or just starting, and nobody else can look.
    #[default]
    InUse,
}

/// How things stand, as `status.json` says it: for whoever may not open the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The publisher that the directory belongs to; `None` if that cannot be read any more.
    pub publisher: Option<PublisherId>,
    /// Whether the spill is as it should be.
    #[serde(default)]
    pub health: Health,
    /// What is wrong with a damaged one: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The run that wrote this, if one ever did.
    pub run: Option<RunId>,
    /// Its process, while it is running.
    pub pid: Option<u32>,
    /// The sink has acknowledged everything of the publisher up to here, at the least: a second ago, or when it was last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Position>,
    /// When this was so, in milliseconds since 1970.
    pub at_ms: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// How many bytes they count for in [`spill_bytes_max`](crate::Config::spill_bytes_max).
    #[serde(default)]
    pub dead_letter_bytes: u64,
    /// Segments that lost rows, were delivered as far as they could be read, and are kept beside the others.
    #[serde(default)]
    pub quarantined: Vec<PathBuf>,
    /// The ring, if it is kept in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStatus>,
    /// Other rings in its directory that have entries, and no process: each waits for the next start of its publisher.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<RingStatus>,
    /// The counts of that run; with no publisher running, only the depths of the spill.
    pub stats: Stats,
}

/// A ring that is kept in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RingStatus {
    /// The file.
    pub file: PathBuf,
    /// Whether it is where it was; if not, what is in it dies with the process.
    pub in_place: bool,
    /// How many of its bytes have entries that are neither delivered nor spilled. With no publisher running the next start takes
    /// them over.
    pub bytes: u64,
}

impl Lost {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.queue_full + self.already_shutdown + self.spill_full
    }
}

impl Discarded {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.spill_evicted + self.encode_error + self.corrupt
    }
}

impl Stats {
    /// What the law of conservation says the left side is: `inherited + accepted`.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.inherited + self.accepted
    }

    /// The right side of the law: where those entries are now.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.delivered
            + self.in_ring
            + self.in_memory
            + self.spilled
            + self.dead_lettered
            + self.discarded.total()
    }

    /// The count of one reason; dead letters are `dead_lettered`.
    #[must_use]
    pub fn count(&self, reason: LossReason) -> u64 {
        match reason {
            LossReason::QueueFull => self.lost.queue_full,
            LossReason::AlreadyShutdown => self.lost.already_shutdown,
            LossReason::SpillFull => self.lost.spill_full,
            LossReason::SpillEvicted => self.discarded.spill_evicted,
            LossReason::EncodeError => self.discarded.encode_error,
            LossReason::Corrupt => self.discarded.corrupt,
            LossReason::DeadLettered => self.dead_lettered,
        }
    }
}

impl State {
    /// Every state, in the order of their labels in the metrics.
    pub const ALL: [Self; 7] = [
        Self::Live,
        Self::Spilling,
        Self::Replaying,
        Self::SpillFull,
        Self::DiskAway,
        Self::Stopping,
        Self::Stopped,
    ];

    /// The state as metrics, logs and `status.json` write it, such as `spill_full`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Spilling => "spilling",
            Self::Replaying => "replaying",
            Self::SpillFull => "spill_full",
            Self::DiskAway => "disk_away",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}
