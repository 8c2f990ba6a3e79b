//! The ring's consumer: when to check the ring, what is inside, and popping.

use std::time::{Duration, Instant};

use super::sequencer::Sequencer;
use super::source::{Bounds, Entrance, Source};
use super::watch::{RingView, RingWatch};
use crate::config::Config;
use crate::drainer::pipeline::APPEND_ROWS_MAX;
use crate::event::{Key, Record};
use crate::policy::RingFacts;

/// The shortest wait between two checks of an empty ring; it doubles up to `poll_max`.
const POLL_MIN: Duration = Duration::from_micros(50);

/// The drainer's end of the ring.
pub(crate) struct RingConsumer {
    source: Box<dyn Source>,
    watch: RingWatch,
    /// Entries popped so far.
    popped: u64,
    poll: Duration,
    poll_max: Duration,
    /// The size of the ring, and its high water mark.
    entries_max: f64,
    bytes_max: f64,
    high_water: f64,
    /// Popped entries still take much of the ring's room, as they do in a file until they are safe elsewhere.
    held: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of a bound needs no 53 bits"
)]
impl RingConsumer {
    pub(crate) fn new(config: &Config, source: Box<dyn Source>) -> Self {
        Self {
            source,
            watch: RingWatch::new(config.ring_capacity, config.ring_bytes_max),
            popped: 0,
            poll: POLL_MIN,
            poll_max: config.poll_max,
            entries_max: config.ring_capacity as f64,
            bytes_max: config.ring_bytes_max as f64,
            high_water: config.ring_high_water,
            held: false,
        }
    }

    /// How full the ring is. If entries may gather, the ring is checked as rarely as possible.
    pub(crate) fn inspect(&mut self, may_gather: bool, now: Instant) -> RingFacts {
        let gate = || self.source.entrance().inside();
        let inside = match self.watch.inspect(may_gather, self.popped, now, gate) {
            RingView::Gathering(until) => return RingFacts::Gathering(until),
            RingView::Inside(inside) => inside,
        };
        let entries = inside.entries as f64 / self.entries_max;
        let bytes = inside.bytes as f64 / self.bytes_max;
        self.held = bytes >= self.high_water;
        if inside.entries == 0 {
            RingFacts::Empty
        } else if entries.max(bytes) >= self.high_water {
            RingFacts::High
        } else if inside.entries >= APPEND_ROWS_MAX as u64 {
            RingFacts::Chunk
        } else {
            RingFacts::Some
        }
    }

    /// Pops entries that were seen, and hands over those that are records; returns how many it popped.
    pub(crate) fn pop(
        &mut self,
        entries_max: usize,
        bytes_max: u64,
        now: Instant,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize {
        let bounds = Bounds {
            entries_max: self.watch.room(entries_max),
            bytes_max,
            since: self.watch.since().unwrap_or(now),
        };
        let popped = self.source.pop(bounds, sequencer, put);
        self.popped += popped as u64;
        if popped > 0 {
            self.stir();
            self.watch.popped(popped as u64, self.popped, now);
        } else if bounds.entries_max > 0 && bytes_max > 0 {
            // A publisher is inside and has not pushed yet.
            self.watch.stall(now + self.poll);
            self.rested();
        }
        popped
    }

    /// Whether the ring's entries survive for the next start.
    pub(crate) fn outlives(&self) -> bool {
        self.source.outlives()
    }

    /// Losses that did not come from the ring have numbers now.
    pub(crate) fn note(&mut self, sequencer: &Sequencer) {
        self.source.note(sequencer);
    }

    /// Whether popped entries keep publishers out.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Everything before this entry is acknowledged or on disk.
    pub(crate) fn release(&mut self, memory_only_from: Option<Key>) {
        self.source.release(memory_only_from);
    }

    /// Nothing that is still in the ring is older; `None` if it was empty.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.watch.since()
    }

    /// How long to wait until the next check.
    pub(crate) fn poll(&self) -> Duration {
        self.poll
    }

    /// There was nothing to do.
    pub(crate) fn rested(&mut self) {
        self.poll = (self.poll * 2).min(self.poll_max);
    }

    /// Something moves.
    pub(crate) fn stir(&mut self) {
        self.poll = POLL_MIN;
    }

    pub(crate) fn popped(&self) -> u64 {
        self.popped
    }

    /// The publishers' end of the ring.
    pub(crate) fn entrance(&self) -> &dyn Entrance {
        self.source.entrance()
    }
}

impl std::fmt::Debug for RingConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingConsumer")
            .field("watch", &self.watch)
            .field("popped", &self.popped)
            .finish_non_exhaustive()
    }
}
