//! Makes room in a spill at its cap by evicting the oldest entries.

use super::pipeline::BATCH_BYTES_MAX;
use crate::config::{Config, WhenSpillFull};
use crate::event::Key;
use crate::policy::Cap;
use crate::spill::{Evictable, Room, SinkMayHave, View};

/// One eviction makes room for at most this part of the cap: a small spill is not emptied at once.
const CAP_PARTS: u64 = 16;

/// A batch has at most this part of the cap: staged records are not evicted.
const BATCH_PARTS: u64 = 8;

/// One eviction makes room for at most this many bytes.
const EVICT_BYTES_MAX: u64 = 4 * BATCH_BYTES_MAX;

/// What is known about evicting.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    /// A backlog in which nothing could be evicted.
    stuck: Option<Backlog>,
}

/// Determines whether something can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backlog {
    after: Option<Key>,
    doubt: SinkMayHave,
    newest: Option<Key>,
}

impl Eviction {
    /// Whether the spill takes new entries, or can make room for them.
    pub(super) fn cap(&self, config: &Config, view: &View, evictable: &Evictable) -> Cap {
        match view.room {
            Room::Absent => Cap::Absent,
            Room::Some if !view.is_at_cap() => Cap::Room,
            Room::Some if self.can_evict(config, view, evictable) => Cap::Evictable,
            Room::Some | Room::Full => Cap::Full,
        }
    }

    /// If dead letters alone have reached the cap, evicting cannot help.
    fn can_evict(&self, config: &Config, view: &View, evictable: &Evictable) -> bool {
        config.when_spill_full == WhenSpillFull::EvictOldest
            && view.totals.dead_letters.bytes < view.bytes_max
            && self.stuck != Some(Backlog::of(view, evictable))
    }

    /// This many entries were evicted.
    pub(super) fn evicted(&mut self, entries: u64, view: &View, evictable: &Evictable) {
        self.stuck = (entries == 0).then(|| Backlog::of(view, evictable));
    }
}

impl Backlog {
    fn of(view: &View, evictable: &Evictable) -> Self {
        Self {
            after: evictable.after,
            doubt: evictable.doubt,
            newest: view.newest,
        }
    }
}

/// The largest size of a batch, in bytes.
pub(super) fn batch_bytes_max(view: &View) -> u64 {
    BATCH_BYTES_MAX.min(view.bytes_max / BATCH_PARTS).max(1)
}

/// What may be evicted: neither what the sink may have, nor what is in memory.
pub(super) fn evictable(view: &View, after: Option<Key>, doubt: SinkMayHave) -> Evictable {
    let excess = view.bytes().saturating_sub(view.bytes_max);
    let room = BATCH_BYTES_MAX.min(view.bytes_max / CAP_PARTS).max(1);
    Evictable {
        after,
        doubt,
        bytes: (excess + room).min(EVICT_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests;
