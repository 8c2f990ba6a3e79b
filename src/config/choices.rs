//! Choices: what a publisher does when something fails or is full, and what its spill survives.

use serde::{Deserialize, Serialize};

/// What an entry survives once it counts as on disk.
///
/// See the example of [`Config`](crate::Config).
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
///
/// See the example of [`Config`](crate::Config).
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

/// What happens at the spill's cap.
///
/// See the example of [`Config`](crate::Config).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenSpillFull {
    /// The ring is no longer emptied into the spill. Once the ring is full, new entries are refused with the reason
    /// `spill_full`. If dead letters fill the spill, entries still go to the sink, but those that it rejects are no
    /// longer kept, until dead letters are removed or requeued ([`DeadLetters`](crate::operate::DeadLetters)).
    #[default]
    RefuseNew,
    /// The oldest entries of the backlog are evicted, as announced losses with the reason `spill_evicted`. Entries that
    /// the sink may already have, and the newest entry of each run, stay. Before that the sink has
    /// [`pending_max`](crate::Config::pending_max) to make room, or less if the ring rises above
    /// [`ring_high_water`](crate::Config::ring_high_water).
    EvictOldest,
}

/// What happens if the spill directory cannot be used at the start: it cannot be created or written, or its disk fails.
/// Damage does not count, nor does a disk that fails later.
///
/// See the example of [`Config`](crate::Config).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenSpillUnusable {
    /// [`start`](fn@crate::start) returns an error with the remedy.
    #[default]
    FailStart,
    /// The publisher starts without a spill, and logs an error. Until the next start, entries that the sink does not
    /// take stay in the ring, a full ring refuses new ones, and entries that the sink rejects are dropped. The
    /// publisher has a temporary id. If another publisher uses the directory, the start still fails.
    StartWithout,
}

/// What happens if [`ring_dir`](crate::Config::ring_dir) cannot be used at the start: it is full, not writable, or
/// another process uses the ring.
///
/// See the example of [`Config`](crate::Config).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenRingUnusable {
    /// The start returns an error with the remedy.
    #[default]
    FailStart,
    /// The ring is in memory this time, which is logged as an error. Entries that an earlier process left wait for the
    /// next start.
    UseMemory,
}
