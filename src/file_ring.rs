//! A ring of words in a shared, mapped file: published entries outlive the process.
//!
//! The pages of a shared file belong to the kernel, so a completed store survives whatever happens to the process:
//! SIGKILL, an abort, the kernel's OOM killer. A power cut keeps what the file system keeps, which for a tmpfs is
//! nothing.
//!
//! # Protocol
//!
//! After [64 control words](layout) come units of 64 bytes. A *position* counts units, modulo 2⁴⁰; it has one unit,
//! and a unit has one position in each lap. A record begins at a unit and is contiguous: five words, then the packed
//! entry.
//!
//! `head` is one word: *closed*, how many records have entered (23 bits), and the position after the last of them (40
//! bits). `tail` is the position of the oldest record that is not safe elsewhere, and `popped` counts the records that
//! the drainer has taken.
//!
//! **Publish.** A publisher reads `tail` and `popped`, then `head`. It is refused, without a write, if the ring is
//! closed, or if its record would exceed the bound on entries or reach round to `tail`. Otherwise one
//! compare-and-exchange claims the record's place. A record that does not fit before the end of the lap gets the next
//! lap's first unit, after a *pad*. The publisher packs the entry into its place, word by word, and finally stores the
//! record's first word (`FILL`): the position, mixed with the key of the file. Only then does `publish` return.
//!
//! **Take.** The drainer reads the first word (`FILLED`, the acquire to `FILL`) of the next record. If that is a
//! different word, nobody has claimed the place, or its publisher was stopped before the end. A record that its
//! publisher dropped half-way, because packing panicked or wrote a different length than announced, is *void*: it
//! holds up nothing.
//!
//! **Free.** Room is given back when an entry is acknowledged or on disk, not when it is taken: `tail` moves past it
//! (`LEAVE`). `ENTER` is the matching acquire: a publisher that sees the room also sees that the record there was read.
//! Before a publisher is refused it reads both words again, and then sees at least what the publishers that claimed the
//! places saw (`TAKE` and `READ`).
//!
//! **Numbers.** Before an entry leaves the drainer its number is stored in its record, and in a control word. The next
//! start, which reads the file after a kill, gives the same number to the same entry: an entry that the
//! sink or the spill already has is recognised. If a store survives a kill, so do those before it (`NOTE`).
//!
//! The key is random and in no payload, so no payload can be mistaken for a record.

use super::ring::{Inside, Refusal};
use super::sync::{AtomicU64, order};
use layout::{
    A_LOSS, BEFORE, BEGINNING, COMMIT, HEADER, LAST, LAST_ENTRY, LOSSES, NUMBER, NUMBERED, POPPED,
    TAIL, UNIT,
};
pub(crate) use layout::{CONTROL, Created, RecordKind};
pub(crate) use record::{Claim, Taken};

#[path = "file_ring/layout.rs"]
mod layout;
#[path = "file_ring/record.rs"]
mod record;

const CLOSED: u64 = 1 << 63;
const ENTRY: u64 = 1 << 40;
/// The bits of a position.
const POSITION: u64 = ENTRY - 1;
/// The bits of a count of records.
const COUNT: u64 = (1 << 23) - 1;

/// Access to the words of the memory.
pub(crate) trait Words {
    fn words(&self) -> &[AtomicU64];

    /// From now on a unit belongs to the thread that writes or reads it: for the model, which sees no race between
    /// atomic words.
    #[inline]
    fn enter(&self, _unit: u64) {}
}

/// A bounded queue of packed entries with many publishers and one drainer.
#[derive(Debug)]
pub(crate) struct FileRing<W> {
    memory: W,
    key: u64,
    /// A power of two.
    units: u64,
    entries_max: u64,
}

impl<W: Words> FileRing<W> {
    /// Makes a ring of memory that is all zeros.
    pub(crate) fn create(memory: W, entries_max: usize, created: &Created) -> Self {
        let units = (memory.words().len() - CONTROL) as u64 / UNIT;
        created.write(memory.words(), units);
        Self::over(memory, created.key, units, entries_max as u64)
    }

    /// Opens what another process has left.
    pub(crate) fn read(memory: W) -> Result<(Self, Created), &'static str> {
        let (created, units) = Created::read(memory.words())?;
        Ok((Self::over(memory, created.key, units, 0), created))
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> &W {
        &self.memory
    }

    fn over(memory: W, key: u64, units: u64, entries_max: u64) -> Self {
        Self {
            memory,
            key,
            units,
            entries_max,
        }
    }

    /// Claims the place of a record with this many words of payload. A record larger than a quarter of the ring could
    /// keep others out for long, and enters as a void one.
    pub(crate) fn claim(&self, payload: usize) -> Result<Claim<'_>, Refusal> {
        let words = if payload as u64 > self.units * UNIT / 4 {
            0
        } else {
            payload
        };
        let units = units_of(words);
        let (mut tail, mut popped) = self.room();
        let mut head = self.word(BEGINNING).load(order::READ);
        loop {
            if head & CLOSED != 0 {
                return Err(Refusal::Closed);
            }
            let position = head & POSITION;
            let pad = self.pad(position, units);
            let inside = position.wrapping_sub(tail) & POSITION;
            let entries = (head / ENTRY).wrapping_sub(popped) & COUNT;
            if inside + pad + units > self.units || entries >= self.entries_max {
                let now = self.room();
                if now == (tail, popped) {
                    return Err(Refusal::Full);
                }
                (tail, popped) = now;
                head = self.word(BEGINNING).load(order::READ);
                continue;
            }
            let count = (head / ENTRY + 1) & COUNT;
            let taken = count * ENTRY + ((position + pad + units) & POSITION);
            let step =
                self.word(BEGINNING)
                    .compare_exchange_weak(head, taken, order::TAKE, order::READ);
            match step {
                Ok(_) => {
                    if pad > 0 {
                        self.claimed(position, 0).commit_as(RecordKind::Pad);
                    }
                    let mut claim = self.claimed((position + pad) & POSITION, words);
                    claim.expect(payload);
                    return Ok(claim);
                }
                Err(now) => head = now,
            }
        }
    }

    fn room(&self) -> (u64, u64) {
        let tail = self.word(TAIL).load(order::ENTER);
        (tail, self.word(POPPED).load(order::ENTER))
    }

    /// How many units are left at the end of the lap.
    fn pad(&self, position: u64, units: u64) -> u64 {
        let left = self.units - (position & (self.units - 1));
        if left < units { left } else { 0 }
    }

    fn claimed(&self, position: u64, words: usize) -> Claim<'_> {
        self.enter(position, units_of(words));
        let record = &self.record(position)[..HEADER + words];
        Claim::new(record, position, self.key, self.lost())
    }

    fn enter(&self, position: u64, units: u64) {
        let first = position & (self.units - 1);
        (first..first + units).for_each(|unit| self.memory.enter(unit));
    }

    /// The words from a position to the end of the lap.
    fn record(&self, position: u64) -> &[AtomicU64] {
        let unit = position & (self.units - 1);
        let end = CONTROL + word_index(self.units * UNIT);
        &self.memory.words()[CONTROL + word_index(unit * UNIT)..end]
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        &self.memory.words()[at]
    }

    /// Counts an entry that its publisher dropped.
    pub(crate) fn lose(&self) {
        self.word(LOSSES).fetch_add(1, order::COUNT);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.word(LOSSES).load(order::COUNT)
    }

    /// Refuses entries from now on.
    pub(crate) fn close(&self) {
        self.word(BEGINNING).fetch_or(CLOSED, order::COUNT);
    }

    /// Entries that were not taken, and the bytes of everything that is not safe elsewhere. Counts every publish that
    /// happened before the call.
    pub(crate) fn inside(&self) -> Inside {
        let (tail, popped) = self.room();
        let head = self.word(BEGINNING).load(order::COUNT);
        Inside {
            closed: head & CLOSED != 0,
            entries: (head / ENTRY).wrapping_sub(popped) & COUNT,
            bytes: ((head & POSITION).wrapping_sub(tail) & POSITION) * UNIT * 8,
        }
    }

    /// How many records have entered so far. Counts every publish that happened before the call, and never decreases.
    pub(crate) fn accepted(&self) -> u64 {
        let popped = self.word(POPPED).load(order::ENTER);
        let head = self.word(BEGINNING).load(order::COUNT);
        popped + ((head / ENTRY).wrapping_sub(popped) & COUNT)
    }

    /// The oldest position that is not safe elsewhere.
    pub(crate) fn tail(&self) -> u64 {
        self.word(TAIL).load(order::ENTER)
    }

    /// Takes the record at a position, with its payload as bytes; or the next one, if that is a pad. For the drainer
    /// only.
    pub(crate) fn take(&self, position: u64, payload: &mut Vec<u8>) -> Option<Taken> {
        let mut position = position;
        loop {
            let record = self.record(position);
            if record[COMMIT].load(order::FILLED) != record::commit(self.key, position) {
                return None;
            }
            let taken = Taken::read(record, position, payload);
            self.enter(position, taken.next.wrapping_sub(position) & POSITION);
            if taken.kind != RecordKind::Pad {
                return Some(taken);
            }
            position = self.lap_after(position);
        }
    }

    /// The first position of the next lap.
    fn lap_after(&self, position: u64) -> u64 {
        ((position | (self.units - 1)) + 1) & POSITION
    }

    /// Stores the number of an entry, and the number of losses directly before it, before the entry leaves the
    /// drainer. `numbered` of the ring's losses have numbers by then.
    pub(crate) fn number_entry(&self, taken: &Taken, number: u64, before: u64, numbered: u64) {
        self.stamp(taken, number, before);
        self.word(LAST_ENTRY).store(number, order::NOTE);
        self.number_losses(number, numbered);
    }

    /// Stores the number of an entry that is lost because it could not be encoded.
    pub(crate) fn number_loss(&self, taken: &Taken, number: u64, numbered: u64) {
        self.stamp(taken, number, A_LOSS);
        self.number_losses(number, numbered);
    }

    /// Stores the last assigned number, and how many of the ring's losses have numbers. After a kill between the two
    /// stores, losses with no record after them count twice: better than not at all.
    pub(crate) fn number_losses(&self, last: u64, numbered: u64) {
        self.word(LAST).store(last, order::NOTE);
        self.word(NUMBERED).store(numbered, order::NOTE);
    }

    fn stamp(&self, taken: &Taken, number: u64, before: u64) {
        let record = self.record(taken.position);
        record[BEFORE].store(before, order::NOTE);
        record[NUMBER].store(number, order::NOTE);
    }

    /// Stores how many records were taken.
    pub(crate) fn set_popped(&self, popped: u64) {
        self.word(POPPED).store(popped, order::LEAVE);
    }

    /// Everything before this position is safe elsewhere.
    pub(crate) fn free(&self, position: u64) {
        self.word(TAIL).store(position, order::LEAVE);
    }

    /// The last assigned number.
    pub(crate) fn last(&self) -> u64 {
        self.word(LAST).load(order::COUNT)
    }

    /// The last number that an entry got.
    pub(crate) fn last_entry(&self) -> u64 {
        self.word(LAST_ENTRY).load(order::COUNT)
    }

    /// How many of the losses have numbers.
    pub(crate) fn numbered(&self) -> u64 {
        self.word(NUMBERED).load(order::COUNT)
    }

    /// The records from `tail` on, as a dead process has left them. Where there is no record the next unit is tried: a
    /// publisher was killed before it had written there.
    pub(crate) fn left(&self, mut each: impl FnMut(&Taken, &[u8])) {
        let (tail, mut payload) = (self.tail() & POSITION, Vec::new());
        let mut at = tail;
        while at.wrapping_sub(tail) & POSITION < self.units {
            at = match self.take(at, &mut payload) {
                None => (at + 1) & POSITION,
                Some(taken) => {
                    each(&taken, &payload);
                    if taken.kind == RecordKind::Damaged {
                        (at + 1) & POSITION
                    } else {
                        taken.next
                    }
                }
            };
        }
    }
}

/// How many units a record takes.
fn units_of(payload: usize) -> u64 {
    ((HEADER + payload) as u64).div_ceil(UNIT)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an index into existing memory"
)]
fn word_index(words: u64) -> usize {
    words as usize
}
