//! Making room in a spill at its cap, at the cost of its oldest entries.

use std::time::Instant;

use super::{BATCH_BYTES_MAX, Drainer};
use crate::config::{Config, WhenSpillFull};
use crate::event::{Key, Record, Run};
use crate::spill::{Evictable, Spill};

/// The bytes that one eviction makes room for are this part of the cap at the most: a small spill is not emptied at once.
const CAP_PARTS: u64 = 16;

/// How many bytes one eviction removes at the most, give or take an entry.
const EVICT_BYTES_MAX: u64 = 4 * BATCH_BYTES_MAX;

/// What is known about evicting.
#[derive(Debug)]
pub(super) struct Eviction {
    /// Up to there entries may have reached the sink under the run before, until the sink has said how far it has come.
    doubtful_through: Option<Key>,
    /// A backlog in which nothing could be evicted: its bounds, and its newest entry.
    stuck: Option<(Evictable, Option<Key>)>,
}

impl Eviction {
    /// One batch may have been on its way when the last run ended. If that cannot be read, all of it may have been.
    pub(super) fn new(config: &Config, spill: &mut Spill, run: &Run) -> Self {
        let doubtful_through = match config.when_spill_full {
            WhenSpillFull::RefuseNew => None,
            WhenSpillFull::EvictOldest if spill.is_salvaging() => Some(Key::new(run.local, 0)),
            WhenSpillFull::EvictOldest => spill
                .batch_end(Config::BATCH_MAX, BATCH_BYTES_MAX)
                .unwrap_or(spill.newest()),
        };
        Self {
            doubtful_through,
            stuck: None,
        }
    }

    /// The sink has said how far it has come.
    pub(super) fn settled(&mut self) {
        self.doubtful_through = None;
    }
}

impl Drainer {
    /// Whether room can be made, as far as is known.
    pub(super) fn may_evict(&self) -> bool {
        self.config.when_spill_full == WhenSpillFull::EvictOldest
            && !self.spill.is_salvaging()
            && self.eviction.stuck != Some((self.evictable(), self.spill.newest()))
    }

    pub(super) fn evict(&mut self, now: Instant) {
        // What the sink has goes first.
        if self.counts.unremoved > 0 {
            self.remove_settled(now);
            return;
        }
        let evictable = self.evictable();
        let bytes_max = self.spill.bytes_max();
        let excess = self.spill.totals().bytes.saturating_sub(bytes_max);
        let room = BATCH_BYTES_MAX.min(bytes_max / CAP_PARTS).max(1);
        let bytes = (excess + room).min(EVICT_BYTES_MAX);
        match self.spill.evict(evictable, bytes) {
            Ok(0) => self.eviction.stuck = Some((evictable, self.spill.newest())),
            Ok(_) => {
                self.disk.works();
                self.requests.progress();
            }
            Err(error) => self.disk.failed(&error, now),
        }
    }

    /// Neither what the sink may have, nor what memory holds.
    fn evictable(&self) -> Evictable {
        Evictable {
            after: self
                .pipeline
                .read_after()
                .max(self.eviction.doubtful_through),
            before: self.pipeline.unspilled().next().map(Record::key),
        }
    }
}
