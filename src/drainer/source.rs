//! The ring as the drainer sees it, for any type of entry. The type parameter ends here.

use std::sync::Arc;
use std::time::Instant;

use super::encoder::Encoder;
use super::sequencer::Sequencer;
use crate::event::{Event, Key, Record, unix_ms};
use crate::ingress::Ingress;
use crate::publisher::Shared;
pub(crate) use crate::ring::Inside;
use crate::stats::{Lost, Stats};

/// The drainer's end of the ring.
pub(crate) trait Source: Send {
    /// Pops entries within these bounds, has them numbered, and hands over those that are records. Returns how many
    /// were popped, including those that could not be encoded.
    ///
    /// Never waits: it ends at an entry that its publisher has not finished pushing.
    fn pop(
        &mut self,
        bounds: Bounds,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize;

    /// Whether the ring's entries survive for the next start.
    fn outlives(&self) -> bool {
        false
    }

    /// Losses outside the ring have numbers now.
    fn note(&mut self, _sequencer: &Sequencer) {}

    /// Popped entries before this one are acknowledged or on disk; all of them, if there is none.
    fn release(&mut self, _memory_only_from: Option<Key>) {}

    /// The publishers' end of the ring.
    fn entrance(&self) -> &dyn Entrance;
}

/// The publishers' end of the ring, as the drainer uses it.
pub(crate) trait Entrance {
    /// The content of the gate; every push that happened before the call is in it.
    fn inside(&self) -> Inside;

    /// Refuses new entries from now on.
    fn close(&self);

    /// Sets whether a full ring is due to a spill at its cap.
    fn blame_spill(&self, full: bool);

    /// The ring's losses so far.
    fn lost(&self) -> Lost;

    /// The drainer's last stats, completed by what only the ring and its publishers know.
    fn stats(&self) -> Stats;
}

/// Bounds of a pop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entries_max: usize,
    /// About this many encoded bytes.
    pub(crate) bytes_max: u64,
    /// No entry has been in the ring for longer.
    pub(crate) since: Instant,
}

/// The end of a ring in memory.
#[derive(Debug)]
pub(crate) struct RingSource<E> {
    shared: Arc<Shared<E>>,
    encoder: Encoder,
}

impl<E: Event> RingSource<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>) -> Self {
        Self {
            shared,
            encoder: Encoder::default(),
        }
    }
}

impl<E: Event> Source for RingSource<E> {
    fn pop(
        &mut self,
        bounds: Bounds,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize {
        let entries_max = bounds.entries_max.min(sequencer.left());
        let popped_ms = unix_ms();
        let shared = Arc::clone(&self.shared);
        let Ingress::Memory(ring) = &shared.ingress else {
            return 0;
        };
        let mut drain = ring.drain();
        let (mut popped, mut bytes) = (0, 0);
        while popped < entries_max && bytes < bounds.bytes_max && sequencer.left() > 0 {
            let Some(slot) = drain.next() else { break };
            popped += 1;
            sequencer.number_losses(slot.lost, || shared.lost());
            let encoded = self.encoder.encode(slot.value);
            if let Some(record) = sequencer.number(encoded, popped_ms, bounds.since) {
                bytes += record.size();
                put(record);
            }
        }
        popped
    }

    fn entrance(&self) -> &dyn Entrance {
        &*self.shared
    }
}

impl<E> Entrance for Shared<E> {
    fn inside(&self) -> Inside {
        self.ingress.inside()
    }

    fn close(&self) {
        self.ingress.close();
    }

    fn blame_spill(&self, full: bool) {
        self.refusals.blame_spill(full);
    }

    fn lost(&self) -> Lost {
        self.refusals.lost(self.ingress.lost())
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}
