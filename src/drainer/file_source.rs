//! The drainer's end of a ring that outlives the process.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use super::encoder::Encoder;
use super::sequencer::Sequencer;
use super::source::{Bounds, Entrance, Source};
use crate::durable::Durable;
use crate::event::{Key, Record, unix_ms};
use crate::file_ring::{RecordKind, Taken};
use crate::publisher::Shared;
use crate::ring_file::MappedRing;

#[derive(Debug)]
pub(crate) struct FileSource<E> {
    shared: Arc<Shared<E>>,
    ring: Arc<MappedRing>,
    encoder: Encoder,
    payload: Vec<u8>,
    /// The position of the next record.
    next: u64,
    popped: u64,
    /// The last number of each record that was popped and is not safe elsewhere, and the position after it.
    unreleased: VecDeque<(Key, u64)>,
    _entries: PhantomData<E>,
}

impl<E: Durable> FileSource<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, ring: Arc<MappedRing>) -> Self {
        Self {
            shared,
            encoder: Encoder::default(),
            payload: Vec::new(),
            next: ring.tail(),
            ring,
            popped: 0,
            unreleased: VecDeque::new(),
            _entries: PhantomData,
        }
    }

    /// The number is in the ring before anybody else has the record.
    fn number(
        &mut self,
        taken: &Taken,
        sequencer: &mut Sequencer,
        bounds: &Bounds,
        popped_ms: u64,
    ) -> Option<Record> {
        sequencer.number_losses(taken.lost, || self.shared.lost());
        let encoded = match taken.kind {
            RecordKind::Entry => self
                .encoder
                .unpack_and_encode::<E>(E::FORMAT, &self.payload),
            RecordKind::Void | RecordKind::Pad => {
                Err("it is too large, or could not be packed".to_owned())
            }
            RecordKind::Damaged => Err("it was damaged in memory".to_owned()),
        };
        let record = sequencer.number(encoded, popped_ms, bounds.since);
        let (last, numbered) = (sequencer.last_key().number(), sequencer.numbered());
        match &record {
            Some(record) => {
                let before = record.lost_before();
                self.ring.number_entry(taken, last, before, numbered);
            }
            None => self.ring.number_loss(taken, last, numbered),
        }
        record
    }
}

impl<E: Durable> Source for FileSource<E> {
    fn pop(
        &mut self,
        bounds: Bounds,
        sequencer: &mut Sequencer,
        put: &mut dyn FnMut(Record),
    ) -> usize {
        let entries_max = bounds.entries_max.min(sequencer.left());
        let popped_ms = unix_ms();
        let (mut popped, mut bytes) = (0, 0);
        while popped < entries_max && bytes < bounds.bytes_max && sequencer.left() > 0 {
            let Some(taken) = self.ring.take(self.next, &mut self.payload) else {
                break;
            };
            popped += 1;
            self.next = taken.next;
            let record = self.number(&taken, sequencer, &bounds, popped_ms);
            self.unreleased
                .push_back((sequencer.last_key(), taken.next));
            if let Some(record) = record {
                bytes += record.size();
                put(record);
            }
        }
        if popped > 0 {
            self.popped += popped as u64;
            self.ring.set_popped(self.popped);
        }
        popped
    }

    fn outlives(&self) -> bool {
        true
    }

    fn note(&mut self, sequencer: &Sequencer) {
        let (last, numbered) = (sequencer.last_key().number(), sequencer.numbered());
        self.ring.number_losses(last, numbered);
    }

    fn release(&mut self, memory_only_from: Option<Key>) {
        let safe = |key: Key| memory_only_from.is_none_or(|from| key < from);
        let mut free = None;
        while let Some(&(key, next)) = self.unreleased.front()
            && safe(key)
        {
            self.unreleased.pop_front();
            free = Some(next);
        }
        if let Some(position) = free {
            self.ring.free(position);
        }
    }

    fn entrance(&self) -> &dyn Entrance {
        &*self.shared
    }
}
