//! What a publisher does when something fails or is full, and what its spill survives.

use serde::{Deserialize, Serialize};

/// What an entry survives once it counts as being on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpillDurability {
    /// The death of the process (SIGKILL, abort), but not of the machine: nothing is synced.
    ProcessCrash,
    /// A power cut: one sync a commit.
    #[default]
    PowerLoss,
}

/// Whether checkpoints are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Signing {
    /// With keys in the spill directory, a new one for each run.
    #[default]
    On,
    /// No checkpoints: `verify` finds accidents only.
    Off,
}

/// What happens when the spill is at its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenSpillFull {
    /// The ring is no longer emptied into the spill, and once it is full, new entries are refused with the reason
    /// `spill_full`. If it is dead letters that fill the spill, entries still go to the sink, but what it refuses for good
    /// is no longer kept, until dead letters are removed or requeued ([`DeadLetters`](crate::operate::DeadLetters)).
    #[default]
    RefuseNew,
    /// The oldest entries of the backlog are evicted, but for what the sink may already have and the newest of each run:
    /// announced losses with the reason `spill_evicted`. The sink is given [`pending_max`](crate::Config::pending_max) first, or
    /// until the ring is past [`ring_high_water`](crate::Config::ring_high_water).
    EvictOldest,
}

/// What happens if the spill directory cannot be used at the start: it cannot be made or written, or its disk fails.
/// Damage is no reason, nor is a disk that fails later on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenSpillUnusable {
    /// [`start`](fn@crate::start) is an error that says what to do about it.
    #[default]
    FailStart,
    /// The publisher starts without a spill, and says so loudly. Until it is started again, what the sink does not take
    /// stays in the ring, a full ring refuses, and an entry that the sink refuses is given up. It has a publisher's id
    /// for this time only. That another publisher has the directory is still an error.
    StartWithout,
}

/// What happens if [`ring_dir`](crate::Config::ring_dir) cannot be used at the start: it is full, not writable, or another process
/// has the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenRingUnusable {
    /// The start is an error that says what to do about it.
    #[default]
    FailStart,
    /// The ring is in memory this time, which is logged as an error. What an earlier process has left waits for the next start.
    UseMemory,
}
