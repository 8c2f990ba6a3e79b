//! A ring of words in a file that is shared into memory: what was published outlives the process.
//!
//! The pages of a shared file belong to the kernel, so a store that was made is there whatever becomes of the process: SIGKILL,
//! an abort, the kernel's OOM killer. A power cut keeps what the file system keeps, which for a tmpfs is nothing.
//!
//! # Protocol
//!
//! After [64 control words](layout) come units of 64 bytes. A *position* counts units, modulo 2⁴⁰; it has one unit, and
//! a unit has one position in each lap. A record begins at a unit and lies in one piece: five words, then the packed entry.
//!
//! `head` is one word: *closed*, how many records were ever let in (23 bits), and the position after the last of them (40
//! bits). `tail` is the position of the oldest record that is not safe elsewhere, and `popped` counts the records that the
//! drainer has taken.
//!
//! **Publish.** A publisher looks at `tail` and `popped`, then at `head`. It is refused, without a write, if the ring is closed,
//! or if its record would pass the bound on entries or reach round to `tail`. Else one compare-and-exchange takes the record's
//! place; a record that does not fit before the end of the lap has the next lap's first unit, and a *pad* before it. Whoever
//! has the place packs the entry into it, word by word, and at last stores the record's first word (`FILL`): the position,
//! mixed with the key of the file. Only then does `publish` return.
//!
//! **Take.** The drainer looks at the first word (`FILLED`, the acquire to `FILL`) of the record that is next. If it is another
//! one, nobody has taken the place, or its publisher was stopped before the end. A record that its publisher dropped half-way,
//! because packing panicked or wrote another length than it had said, is *void*: nobody waits for it.
//!
//! **Free.** Room is given back when an entry is acknowledged or on disk, not when it is taken: `tail` moves past it (`LEAVE`).
//! `ENTER` is the acquire to that: who sees the room sees the record in it as read. Before a publisher is refused it looks
//! at both words again, and then sees at least what those saw who took the places (`TAKE` and `LOOK`).
//!
//! **Numbers.** Before an entry leaves the drainer's hands its number is stored in its record, and in a control word. Whoever
//! [reads the file](recovery) after a kill gives the same number to the same entry: what the sink or the spill has already is
//! recognised. What a store finds stored before it is there after a kill as well (`NOTE`).
//!
//! The key is random and in no payload, so no payload can be mistaken for a record.

use super::sync::{AtomicU64, order};
use layout::{
    A_LOSS, BEFORE, BEGINNING, COMMIT, HEADER, Kind, LAST, LAST_ENTRY, LOSSES, NUMBER, NUMBERED,
    POPPED, TAIL, UNIT,
};
pub(crate) use layout::{CONTROL, Created};
pub(crate) use record::{Claim, Found, Taken};

#[path = "file_ring/layout.rs"]
mod layout;
#[path = "file_ring/record.rs"]
mod record;

const CLOSED: u64 = 1 << 63;
const ENTRY: u64 = 1 << 40;
/// Of positions.
const POSITION: u64 = ENTRY - 1;
/// Of counts of records.
const COUNT: u64 = (1 << 23) - 1;

/// Where the words are.
pub(crate) trait Words {
    fn words(&self) -> &[AtomicU64];

    /// A unit belongs to who writes it, or reads it, from now on: for the model, which sees no race between atomic words.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

/// What is in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filling {
    pub(crate) closed: bool,
    /// Those that were not taken.
    pub(crate) entries: u64,
    /// Of everything that is not safe elsewhere.
    pub(crate) bytes: u64,
}

impl<W: Words> FileRing<W> {
    /// Makes a ring of memory that is all zeros.
    pub(crate) fn create(memory: W, entries_max: usize, created: &Created) -> Self {
        let units = (memory.words().len() - CONTROL) as u64 / UNIT;
        created.write(memory.words(), units);
        Self::over(memory, created.key, units, entries_max as u64)
    }

    /// Over what another process has left.
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

    /// Takes the place of a record with so many words of payload. One larger than a quarter of the ring could keep others
    /// out for long, and is let in as a void one.
    pub(crate) fn claim(&self, payload: usize) -> Result<Claim<'_>, Refusal> {
        let words = if payload as u64 > self.units * UNIT / 4 {
            0
        } else {
            payload
        };
        let units = units_of(words);
        let (mut tail, mut popped) = self.room();
        let mut head = self.word(BEGINNING).load(order::LOOK);
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
                head = self.word(BEGINNING).load(order::LOOK);
                continue;
            }
            let count = (head / ENTRY + 1) & COUNT;
            let taken = count * ENTRY + ((position + pad + units) & POSITION);
            let step =
                self.word(BEGINNING)
                    .compare_exchange_weak(head, taken, order::TAKE, order::LOOK);
            match step {
                Ok(_) => {
                    if pad > 0 {
                        self.claimed(position, 0).commit_as(Kind::Pad);
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

    /// How many units are left over at the end of the lap.
    fn pad(&self, position: u64, units: u64) -> u64 {
        let left = self.units - (position & (self.units - 1));
        if left < units { left } else { 0 }
    }

    fn claimed(&self, position: u64, words: usize) -> Claim<'_> {
        self.enter(position, units_of(words));
        let record = &self.record(position)[..HEADER + words];
        Claim::new(record, position, self.key, self.losses())
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

    pub(crate) fn losses(&self) -> u64 {
        self.word(LOSSES).load(order::COUNT)
    }

    /// Refuses whoever comes from now on.
    pub(crate) fn close(&self) {
        self.word(BEGINNING).fetch_or(CLOSED, order::COUNT);
    }

    pub(crate) fn filling(&self) -> Filling {
        let (tail, popped) = self.room();
        let head = self.word(BEGINNING).load(order::COUNT);
        Filling {
            closed: head & CLOSED != 0,
            entries: (head / ENTRY).wrapping_sub(popped) & COUNT,
            bytes: ((head & POSITION).wrapping_sub(tail) & POSITION) * UNIT * 8,
        }
    }

    /// How many records were ever let in. Counts every publish that happened before the call, and never decreases.
    pub(crate) fn accepted(&self) -> u64 {
        let popped = self.word(POPPED).load(order::ENTER);
        let head = self.word(BEGINNING).load(order::COUNT);
        popped + ((head / ENTRY).wrapping_sub(popped) & COUNT)
    }

    /// The oldest position that is not safe elsewhere.
    pub(crate) fn tail(&self) -> u64 {
        self.word(TAIL).load(order::ENTER)
    }

    /// Takes the record at a position, and its payload as bytes; or the one after it, if that is a pad. For the drainer alone.
    pub(crate) fn take(&self, position: u64, payload: &mut Vec<u8>) -> Option<Taken> {
        let mut position = position;
        loop {
            let record = self.record(position);
            if record[COMMIT].load(order::FILLED) != record::commit(self.key, position) {
                return None;
            }
            let taken = Taken::read(record, position, payload);
            self.enter(position, taken.next.wrapping_sub(position) & POSITION);
            if !taken.is_pad() {
                return Some(taken);
            }
            position = self.lap_after(position);
        }
    }

    /// The first position of the next lap.
    fn lap_after(&self, position: u64) -> u64 {
        ((position | (self.units - 1)) + 1) & POSITION
    }

    /// Stores the number of an entry, and how many losses are directly before it, before it leaves the drainer's hands. So many
    /// of the ring's losses have numbers by then.
    pub(crate) fn number_entry(&self, taken: &Taken, number: u64, before: u64, numbered: u64) {
        self.stamp(taken, number, before);
        self.word(LAST_ENTRY).store(number, order::NOTE);
        self.number_losses(number, numbered);
    }

    /// Stores the number under which an entry is lost that could not be encoded.
    pub(crate) fn number_loss(&self, taken: &Taken, number: u64, numbered: u64) {
        self.stamp(taken, number, A_LOSS);
        self.number_losses(number, numbered);
    }

    /// Stores the last number that was given, and how many of the ring's losses have numbers. After a kill between the two,
    /// losses with no record after them count twice: better than not at all.
    pub(crate) fn number_losses(&self, last: u64, numbered: u64) {
        self.word(LAST).store(last, order::NOTE);
        self.word(NUMBERED).store(numbered, order::NOTE);
    }

    fn stamp(&self, taken: &Taken, number: u64, before: u64) {
        let record = self.record(taken.position);
        record[BEFORE].store(before, order::NOTE);
        record[NUMBER].store(number, order::NOTE);
    }

    /// So many records were taken.
    pub(crate) fn set_popped(&self, popped: u64) {
        self.word(POPPED).store(popped, order::LEAVE);
    }

    /// Everything before this position is safe elsewhere.
    pub(crate) fn free(&self, position: u64) {
        self.word(TAIL).store(position, order::LEAVE);
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> u64 {
        self.word(LAST).load(order::COUNT)
    }

    /// The last number that an entry was given.
    pub(crate) fn last_entry(&self) -> u64 {
        self.word(LAST_ENTRY).load(order::COUNT)
    }

    /// How many of the losses have numbers.
    pub(crate) fn numbered(&self) -> u64 {
        self.word(NUMBERED).load(order::COUNT)
    }

    /// The records from `tail` on, as a process that is dead has left them. Where there is none the next unit is looked at: a
    /// publisher was killed before it had written it.
    pub(crate) fn left(&self, mut each: impl FnMut(&Taken, &[u8])) {
        let (tail, mut payload) = (self.tail() & POSITION, Vec::new());
        let mut at = tail;
        while at.wrapping_sub(tail) & POSITION < self.units {
            at = match self.take(at, &mut payload) {
                None => (at + 1) & POSITION,
                Some(taken) => {
                    each(&taken, &payload);
                    if taken.found == Found::Damaged {
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
    reason = "an index into memory that is there"
)]
fn word_index(words: u64) -> usize {
    words as usize
}
