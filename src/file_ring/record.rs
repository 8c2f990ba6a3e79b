//! One record: written by its publisher, read by the drainer.

use super::super::sync::{AtomicU64, order};
use super::layout::{A_LOSS, BEFORE, COMMIT, HEADER, LENGTH, LOST, MIX, NUMBER, RecordKind};
use super::{POSITION, units_of};

/// The layout of the shape: the length in words takes this many bits, the kind the four above it, the checksum the
/// rest.
const LENGTH_BITS: u32 = 28;
const CHECK_SHIFT: u32 = 32;

/// A place in the ring that belongs to its publisher. Dropped, it becomes a void record.
#[derive(Debug)]
pub(crate) struct Claim<'r> {
    record: &'r [AtomicU64],
    position: u64,
    key: u64,
    lost: u64,
    /// Words that were put, including those past its end.
    put: usize,
    expected: usize,
    check: Checksum,
    committed: bool,
}

/// The checksum of a payload: in four lanes, so that the processor works on four words at once.
#[derive(Debug, Clone, Copy)]
struct Checksum {
    lanes: [u64; 4],
}

/// A record that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(super) position: u64,
    /// The position after it.
    pub(crate) next: u64,
    pub(crate) kind: RecordKind,
    /// How many entries had been lost when it entered.
    pub(crate) lost: u64,
    /// Its number, or 0, and the losses directly before it.
    pub(crate) number: u64,
    pub(crate) before: u64,
}

/// The first word of a whole record.
pub(super) fn commit(key: u64, position: u64) -> u64 {
    key ^ position
}

impl<'r> Claim<'r> {
    pub(super) fn new(record: &'r [AtomicU64], position: u64, key: u64, lost: u64) -> Self {
        Self {
            record,
            position,
            key,
            lost,
            put: 0,
            expected: record.len() - HEADER,
            check: Checksum { lanes: [MIX; 4] },
            committed: false,
        }
    }

    /// Announces how many words will be put; otherwise the record is void.
    pub(super) fn expect(&mut self, words: usize) {
        self.expected = words;
    }

    /// The next word of the payload.
    #[inline]
    pub(crate) fn put(&mut self, word: u64) {
        if let Some(place) = self.record.get(HEADER + self.put) {
            place.store(word, order::COUNT);
            self.check.add(self.put, word);
        }
        self.put += 1;
    }

    /// Completes the entry, if its payload has the announced length.
    #[inline]
    pub(crate) fn commit(self) {
        let whole = self.put == self.expected && self.put == self.record.len() - HEADER;
        self.commit_as(if whole {
            RecordKind::Entry
        } else {
            RecordKind::Void
        });
    }

    pub(super) fn commit_as(mut self, kind: RecordKind) {
        self.finish(kind);
    }

    fn finish(&mut self, kind: RecordKind) {
        self.committed = true;
        let shape = (self.record.len() - HEADER) as u64 | ((kind as u64) << LENGTH_BITS);
        let check = self.check.finish(self.position, shape);
        let record = self.record;
        record[LENGTH].store(shape | (check << CHECK_SHIFT), order::COUNT);
        record[LOST].store(self.lost, order::COUNT);
        record[NUMBER].store(0, order::COUNT);
        record[BEFORE].store(0, order::COUNT);
        record[COMMIT].store(commit(self.key, self.position), order::FILL);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.finish(RecordKind::Void);
        }
    }
}

impl Taken {
    /// Reads words that begin with a whole record.
    pub(super) fn read(record: &[AtomicU64], position: u64, payload: &mut Vec<u8>) -> Self {
        let word = |at: usize| record[at].load(order::COUNT);
        let shape = word(LENGTH);
        let length = shape & ((1 << LENGTH_BITS) - 1);
        let kind = (shape & ((1 << CHECK_SHIFT) - 1)) >> LENGTH_BITS;
        let room = record.len() - HEADER;
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(room);
        let mut check = Checksum { lanes: [MIX; 4] };
        payload.clear();
        for (at, word) in record[HEADER..HEADER + length].iter().enumerate() {
            let word = word.load(order::COUNT);
            check.add(at, word);
            payload.extend_from_slice(&word.to_le_bytes());
        }
        let sound =
            check.finish(position, shape & ((1 << CHECK_SHIFT) - 1)) == shape >> CHECK_SHIFT;
        let written = [RecordKind::Entry, RecordKind::Pad, RecordKind::Void];
        let kind = written.into_iter().find(|&known| known as u64 == kind);
        let kind = kind.filter(|&kind| sound || kind == RecordKind::Void);
        Self {
            position,
            next: (position + units_of(length)) & POSITION,
            kind: kind.unwrap_or(RecordKind::Damaged),
            lost: word(LOST),
            number: word(NUMBER),
            before: word(BEFORE),
        }
    }

    /// Whether its number is that of a loss.
    pub(crate) fn is_lost(&self) -> bool {
        self.before == A_LOSS
    }
}

impl Checksum {
    #[inline]
    fn add(&mut self, at: usize, word: u64) {
        let lane = &mut self.lanes[at % 4];
        *lane = (*lane ^ word).wrapping_mul(MIX).rotate_left(29);
    }

    /// Covers the payload, its position, and its length and kind: 32 bits.
    fn finish(&self, position: u64, shape: u64) -> u64 {
        let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(MIX).rotate_left(29);
        let sum = self.lanes.iter().copied().fold(position, mix);
        mix(sum, shape) >> CHECK_SHIFT
    }
}
