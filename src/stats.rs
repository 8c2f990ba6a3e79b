//! The counts of a publisher: the terms of the law of conservation, and the depths.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::LossReason;
use crate::ids::{Position, PublisherId, RunId};

/// Counts of one run, and the depths at this moment. Always
/// `inherited + accepted = delivered + in_ring + in_memory + spilled + dead_lettered + discarded` holds.
///
/// ```
/// use std::time::Duration;
/// use spillring::event::LossReason;
/// use spillring::{RawEntry, testing};
///
/// let (drainer, _sink) = testing::start();
/// drainer.publisher().publish(RawEntry::new("acme.agent-7", *b"{}"));
///
/// let stats = drainer.stats();
/// assert_eq!(stats.entered(), stats.accounted());
/// for reason in LossReason::ALL {
///     println!("{reason}: {}", stats.count(reason));
/// }
/// println!("{}: {} wait on disk", stats.state.as_str(), stats.spilled);
///
/// let limit = Duration::from_secs(10);
/// let account = drainer.shutdown(limit).wait(limit)?;
/// assert_eq!((account.accepted, account.delivered), (1, 1));
/// assert_eq!((account.lost.total(), account.discarded.total()), (0, 0));
/// # Ok::<(), spillring::error::TicketError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The state of the drainer.
    pub state: State,
    /// Entries that earlier runs had left in the spill.
    pub inherited: u64,
    /// Entries that have entered the ring. Exact at every moment: never decreases.
    pub accepted: u64,
    /// Attempts to publish that handed the entry back.
    pub returned: u64,
    /// Entries that `publish` dropped.
    pub lost: Lost,
    /// Entries that the sink has acknowledged.
    pub delivered: u64,
    /// How many of them came from the spill.
    pub replayed: u64,
    /// Entries ever written to the spill in this run.
    pub appended: u64,
    /// Entries in the ring now, and those popped since the drainer last reported.
    pub in_ring: u64,
    /// Entries out of the ring, under way, and not on disk.
    pub in_memory: u64,
    /// Entries in the spill now.
    pub spilled: u64,
    /// Entries moved to the dead letters: the sum of the next two.
    pub dead_lettered: u64,
    /// Those larger than `entry_bytes_max`.
    pub oversize: u64,
    /// Those that the sink rejected.
    pub rejected: u64,
    /// Failed deliveries and position queries.
    pub delivery_errors: u64,
    /// Accepted entries that were dropped.
    pub discarded: Discarded,
    /// Bytes of the entries in the ring.
    pub ring_bytes: u64,
    /// Bytes of the entries in the spill.
    pub spill_bytes: u64,
    /// How many bytes entries and dead letters may take together: the configured value, or less if the disk has less
    /// room. 0 while no publisher is running.
    #[serde(default)]
    pub spill_bytes_max: u64,
    /// How long the oldest entry out of the ring has been waiting for its acknowledgement.
    #[serde(with = "humantime_serde")]
    pub oldest_entry_age: Option<Duration>,
    /// The newest assigned number, of the last entry out of the ring or of a loss.
    #[serde(default)]
    pub last: Option<Position>,
    /// Whether the sink worked when it was last used. False until its first answer.
    #[serde(default)]
    pub sink_up: bool,
    /// The sink's last error, until it works again.
    #[serde(default)]
    pub sink_trouble: Option<String>,
}

/// Entries that `publish` dropped, by reason.
///
/// See the example of [`Stats`].
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

/// Accepted entries that were dropped, by reason.
///
/// See the example of [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Discarded {
    /// Evicted from the spill at its cap.
    pub spill_evicted: u64,
    /// Could not be encoded.
    pub encode_error: u64,
    /// Damaged in the spill.
    pub corrupt: u64,
    /// Too large, or rejected by the sink, and the spill had no room for a dead letter.
    #[serde(default)]
    pub dead_letters_full: u64,
}

/// The state of the drainer.
///
/// See the example of [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Entries go from the ring to the sink.
    #[default]
    Live,
    /// The sink takes nothing: entries go into the spill.
    Spilling,
    /// The backlog is being replayed to the sink; new entries join it.
    Replaying,
    /// The spill is at its cap, the sink takes nothing, and nothing is evicted: the ring fills.
    SpillFull,
    /// Neither sink nor disk takes anything: the ring fills.
    DiskAway,
    /// Closed; the rest is being delivered or spilled.
    Stopping,
    /// Ended.
    Stopped,
}

/// Whether a spill is healthy.
///
/// See the example of [`status`](crate::operate::status()).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// Everything is there, and can be read.
    Healthy,
    /// Something is missing or cannot be read. A start delivers the rest.
    Damaged,
    /// A publisher is running or starting, so nobody else can inspect it.
    #[default]
    InUse,
}

/// The state of a publisher, as in `status.json`: readable without access to the database.
///
/// See the example of [`status`](crate::operate::status()).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The publisher of the directory; `None` if that can no longer be read.
    pub publisher: Option<PublisherId>,
    /// Whether the spill is healthy.
    #[serde(default)]
    pub health: Health,
    /// The damage, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The run that wrote this, if any.
    pub run: Option<RunId>,
    /// Its process, while it is running.
    pub pid: Option<u32>,
    /// The sink has acknowledged at least everything up to here, as of a second ago, or as last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Position>,
    /// When this was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// How many bytes they count towards [`spill_bytes_max`](crate::Config::spill_bytes_max).
    #[serde(default)]
    pub dead_letter_bytes: u64,
    /// Segments that lost rows, were delivered as far as they could be read, and are kept next to the others.
    #[serde(default)]
    pub quarantined: Vec<PathBuf>,
    /// The ring, if it is kept in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStatus>,
    /// Other rings in its directory that have entries but no process: each waits for the next start of its publisher.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<RingStatus>,
    /// The counts of that run; if no publisher is running, only the depths of the spill.
    pub stats: Stats,
}

/// A ring in a file: [`Status::ring`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RingStatus {
    /// The file.
    pub file: PathBuf,
    /// Whether it is still in place; if not, its entries die with the process.
    pub in_place: bool,
    /// How many of its bytes hold entries that are neither delivered nor spilled. If no publisher is running, the next
    /// start recovers them.
    pub bytes: u64,
}

impl Lost {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.queue_full + self.already_shutdown + self.spill_full
    }
}

impl Discarded {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.spill_evicted + self.encode_error + self.corrupt + self.dead_letters_full
    }
}

impl Stats {
    /// The left side of the law of conservation: `inherited + accepted`.
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

    /// The count of one reason, as the sink announces it: those for which the dead letters had no room count as
    /// `DeadLettered`, too.
    #[must_use]
    pub fn count(&self, reason: LossReason) -> u64 {
        match reason {
            LossReason::QueueFull => self.lost.queue_full,
            LossReason::AlreadyShutdown => self.lost.already_shutdown,
            LossReason::SpillFull => self.lost.spill_full,
            LossReason::SpillEvicted => self.discarded.spill_evicted,
            LossReason::EncodeError => self.discarded.encode_error,
            LossReason::Corrupt => self.discarded.corrupt,
            LossReason::DeadLettered => self.dead_lettered + self.discarded.dead_letters_full,
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

    /// The name of the state in metrics, logs and `status.json`, such as `spill_full`.
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
