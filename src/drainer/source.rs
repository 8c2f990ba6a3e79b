//! The ring as the drainer sees it, for any type of entry. The generic ends here.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::sequencer::{Encoded, Sequencer};
use crate::event::{Event, Record, unix_ms};
use crate::host;
use crate::publisher::Shared;
pub(crate) use crate::ring::Inside;
use crate::stats::{Lost, Stats};

/// A buffer that grew beyond this for one entry is given back.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// The drainer's end of the ring.
pub(crate) trait Source: Send {
    /// Pops entries within these bounds, has them numbered, and hands over those that are records. Returns how many were
    /// popped, including those that could not be encoded.
    ///
    /// It never waits: an entry that its publisher has not finished pushing ends it.
    fn pop(
        &mut self,
        bounds: Bounds,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize;

    /// What the gate says.
    fn inside(&self) -> Inside;

    /// How many entries are in the ring; every push that happened before the call is among them.
    fn queued(&self) -> usize;

    /// Refuses new entries from now on.
    fn close(&self);

    /// Says whether a full ring is the doing of a spill at its cap.
    fn blame_spill(&self, full: bool);

    /// The ring's losses so far.
    fn lost(&self) -> Lost;

    /// The drainer's last stats, completed by what only the ring and its publishers know.
    fn stats(&self) -> Stats;
}

/// How much is popped at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entries_max: usize,
    /// About so many encoded bytes.
    pub(crate) bytes_max: u64,
    /// No entry has been in the ring for longer.
    pub(crate) since: Instant,
}

/// The one source, over a shared ring.
#[derive(Debug)]
pub(crate) struct RingSource<E> {
    shared: Arc<Shared<E>>,
    buffer: Vec<u8>,
}

impl<E: Event> RingSource<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>) -> Self {
        Self {
            shared,
            buffer: Vec::new(),
        }
    }

    /// Encodes an entry and drops it, which is the host's code as well.
    fn encode(&mut self, entry: E) -> Encoded {
        self.buffer.clear();
        let buffer = &mut self.buffer;
        let encoded = host::call(|| {
            entry
                .encode(buffer)
                .map(|()| Arc::from(entry.subject()))
                .map_err(|error| error.to_string())
        });
        host::drop_quietly(entry);
        let encoded = match encoded {
            Some(Ok(_)) if self.buffer.len() > Record::BYTES_MAX => {
                let bytes = self.buffer.len();
                Err(format!("its {bytes} bytes are more than can be stored"))
            }
            Some(Ok(subject)) => Ok((subject, Bytes::copy_from_slice(&self.buffer))),
            Some(Err(problem)) => Err(problem),
            None => Err("encoding it panicked".to_owned()),
        };
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        encoded
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
        let mut drain = shared.ring.drain();
        let (mut popped, mut bytes) = (0, 0);
        while popped < entries_max && bytes < bounds.bytes_max && sequencer.left() > 0 {
            let Some(slot) = drain.next() else { break };
            popped += 1;
            sequencer.number_losses(slot.lost, || self.lost());
            let encoded = self.encode(slot.value);
            if let Some(record) = sequencer.number(encoded, popped_ms, bounds.since) {
                bytes += record.size();
                put(record);
            }
        }
        popped
    }

    fn inside(&self) -> Inside {
        self.shared.ring.inside()
    }

    fn queued(&self) -> usize {
        self.shared.ring.queued()
    }

    fn close(&self) {
        self.shared.ring.close();
    }

    fn blame_spill(&self, full: bool) {
        self.shared.refusals.blame_spill(full);
    }

    fn lost(&self) -> Lost {
        self.shared.refusals.lost(self.shared.ring.lost())
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }
}
