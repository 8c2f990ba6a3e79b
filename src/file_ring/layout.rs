//! The layout of the file. Words have the machine's byte order: only this machine reads the file.
//!
//! | word | what | written by |
//! | --- | --- | --- |
//! | 0 | `spillrg1`, once the rest is there | creation |
//! | 1, 2 | the number of units, and the key | creation |
//! | 3 to 5 | the run's id, and its local number | creation |
//! | 6 | the format of packed entries | creation |
//! | 7, 8 | which start of the machine it was | creation |
//! | 9 | the first position | creation |
//! | 10 | a checksum over 1 to 9 | creation |
//! | 16 | `head` | publishers |
//! | 32, 33 | `tail`, `popped` | the drainer, once for many entries |
//! | 40, 41 | the last number given, and the last that was an entry's | the drainer, before an entry leaves it |
//! | 42 | how many of the losses have numbers | the same |
//! | 48 | losses | publishers |
//!
//! A record: its first word ([`commit`](super::record::commit)); checksum (32 bits), kind (4) and length in words
//! (28); the losses when it was let in; its number, or 0; how many losses are directly before it, or [`A_LOSS`]; the
//! packed entry.

use super::super::sync::{AtomicU64, order};
use super::POSITION;

/// Words before the first unit.
pub(crate) const CONTROL: usize = 64;
/// Words of a unit: a cache line.
pub(super) const UNIT: u64 = 8;

const MAGIC_AT: usize = 0;
pub(super) const UNITS: usize = 1;
pub(super) const KEY: usize = 2;
const RUN: usize = 3;
const LOCAL: usize = 5;
const FORMAT: usize = 6;
const BOOT: usize = 7;
const BASE: usize = 9;
const CHECK: usize = 10;
pub(super) const BEGINNING: usize = 16;
pub(super) const TAIL: usize = 32;
pub(super) const POPPED: usize = 33;
pub(super) const LAST: usize = 40;
pub(super) const LAST_ENTRY: usize = 41;
pub(super) const NUMBERED: usize = 42;
pub(super) const LOSSES: usize = 48;

const MAGIC: u64 = u64::from_le_bytes(*b"spillrg1");

/// Words of a record before its payload.
pub(super) const HEADER: usize = 5;
pub(super) const COMMIT: usize = 0;
pub(super) const LENGTH: usize = 1;
pub(super) const LOST: usize = 2;
pub(super) const NUMBER: usize = 3;
pub(super) const BEFORE: usize = 4;

/// Replaces the losses before it: the number is that of a loss, as the entry could not be encoded.
pub(super) const A_LOSS: u64 = u64::MAX;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The payload is not what was packed. Never written.
    Damaged = 0,
    Entry = 1,
    /// Nothing: the lap ends here.
    Pad = 2,
    /// An entry that its publisher could not pack.
    Void = 3,
}

/// The properties of a ring that never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) key: u64,
    /// The id of the run, in two halves.
    pub(crate) run: (u64, u64),
    pub(crate) local: u32,
    pub(crate) format: u32,
    /// The boot id of the machine, in two halves.
    pub(crate) boot: (u64, u64),
    /// The first position.
    pub(crate) base: u64,
}

impl Created {
    fn words(&self, units: u64) -> [u64; CHECK - UNITS] {
        let (high, low) = self.run;
        let (local, format) = (u64::from(self.local), u64::from(self.format));
        let (boot, id) = self.boot;
        [
            units, self.key, high, low, local, format, boot, id, self.base,
        ]
    }

    /// Writes into a file of zeros.
    pub(super) fn write(&self, to: &[AtomicU64], units: u64) {
        let words = self.words(units);
        for (word, value) in to[UNITS..].iter().zip(words) {
            word.store(value, order::COUNT);
        }
        to[CHECK].store(checksum(&words), order::COUNT);
        for position in [BEGINNING, TAIL] {
            to[position].store(self.base & POSITION, order::COUNT);
        }
        // Of the run, with no number assigned.
        for last in [LAST, LAST_ENTRY] {
            to[last].store(u64::from(self.local) << 40, order::COUNT);
        }
        to[MAGIC_AT].store(MAGIC, order::FILL);
    }

    /// Reads the properties from a file, and how many units it has.
    pub(super) fn read(from: &[AtomicU64]) -> Result<(Self, u64), &'static str> {
        let word = |at: usize| from[at].load(order::COUNT);
        if from.len() <= CONTROL {
            return Err("it is too short");
        }
        if word(MAGIC_AT) != MAGIC {
            return Err("it was never completed, or is not a ring");
        }
        let units = word(UNITS);
        let short = |word: u64| u32::try_from(word).map_err(|_| "its control words are damaged");
        let created = Self {
            key: word(KEY),
            run: (word(RUN), word(RUN + 1)),
            local: short(word(LOCAL))?,
            format: short(word(FORMAT))?,
            boot: (word(BOOT), word(BOOT + 1)),
            base: word(BASE),
        };
        if word(CHECK) != checksum(&created.words(units)) {
            return Err("its control words are damaged");
        }
        if !units.is_power_of_two() || (from.len() - CONTROL) as u64 != units * UNIT {
            return Err("its length does not match its control words");
        }
        Ok((created, units))
    }
}

fn checksum(words: &[u64]) -> u64 {
    let mix = |sum: u64, word: &u64| (sum ^ word).wrapping_mul(MIX).rotate_left(29);
    words.iter().fold(MIX, mix)
}

/// An odd number with bits everywhere.
pub(super) const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
