//! The ring: a bounded lock-free queue with a gate.
//!
//! # Protocol
//!
//! The gate is one word that packs *closed*, the *next position* and the *bytes inside*:
//!
//! ```text
//!   63      62 ........ 32   31 ......... 0
//!  closed   position (31 b)   bytes (32 b)
//! ```
//!
//! Next to it is `head`: the position of the oldest entry inside. Positions count entries; each has a [cell](cells).
//!
//! **Enter.** A publisher reads `head`, then the gate. It is refused, without a write, if the ring is closed, if as
//! many entries as the capacity are between the two, or if its weight would exceed the bound on bytes. Otherwise one
//! compare-and-exchange claims the position and adds the weight. If the word has changed meanwhile, another publisher
//! or the drainer has succeeded, and it tries again. A publisher with a position fills its cell.
//!
//! **Leave.** The drainer pops, and only after its pops have returned gives back their weight and moves `head` past
//! them, once per batch ([`Drain`]). So a publisher with a position finds its cell empty at once. `ENTER` is the
//! acquire to the release of `LEAVE`: a publisher that sees the room also sees the emptied cells. `head` is read before
//! the gate, and is therefore never ahead of it. It may be out of date by then: before refusing an entry because of it,
//! the publisher reads again, and then sees at least what the publishers that claimed the positions saw (`TAKE` and
//! `READ`).
//!
//! **Close** sets the bit. A publisher that claims a position after that fails, and sees it; one that claimed before
//! will fill it. So once the drainer sees *closed* and no entries, it has popped every entry that ever entered, and
//! none will follow.
//!
//! Positions wrap after 2³¹. To mistake one lap for another, a publisher would have to be stopped between its read and
//! its step for exactly that many entries.
//!
//! **Losses** are counted in a separate word, touched only by losing. Each entry takes the word's value along, so that
//! the drainer learns of a loss where it happened: not later than the next entry of the thread that lost.
//!
//! # A stopped thread
//!
//! A publisher retries only because another thread succeeded: a stopped thread holds up no publisher, nor the drainer
//! itself. A publisher that is stopped between its step at the gate and the filling of its cell holds back later
//! entries, for as long as it is not scheduled: [`Drain`] ends before them, though entries are inside.
//!
//! # Moves
//!
//! Moving an entry costs more than the gate, and the compiler removes no move across an atomic access. So an entry is
//! put into its slot before the gate, the slot is what is pushed or handed back, and a cell holds a value without a
//! destructor ([`Kept`]), which would need its own copy. `benches/instructions/` counts.

use std::mem::ManuallyDrop;

use super::sync::{AtomicU64, CachePadded, Position, order};
use cells::Cells;

#[path = "ring/cells.rs"]
mod cells;

const CLOSED: u64 = 1 << 63;
const ENTRY: u64 = 1 << 32;
const BYTES: u64 = ENTRY - 1;
/// The largest position, and the mask of positions.
const POSITION_MAX: u64 = (1 << 31) - 1;

/// A bounded queue of entries with many publishers and one drainer.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    cells: Cells<Kept<T>>,
    gate: CachePadded<AtomicU64>,
    /// How many entries were popped and have given their room back. Only the drainer writes it.
    head: CachePadded<Position>,
    lost: CachePadded<AtomicU64>,
    capacity: u64,
    bytes_max: u64,
}

/// An entry in the queue, or handed back. Its holder must open it: dropping it would leak the value.
pub(crate) type Kept<T> = Slot<ManuallyDrop<T>>;

/// An entry on its way through the ring.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) value: T,
    /// How many entries had been lost when this one entered.
    pub(crate) lost: u64,
    weight: u32,
}

/// An entry that was refused.
#[derive(Debug)]
#[must_use]
pub(crate) enum PushError<T> {
    /// There is no room.
    Full(Kept<T>),
    /// The ring is closed.
    Closed(Kept<T>),
}

/// The content of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) closed: bool,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize, bytes_max: u32) -> Self {
        Self {
            cells: Cells::new(capacity),
            gate: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(Position::new(0)),
            lost: CachePadded::new(AtomicU64::new(0)),
            capacity: capacity as u64,
            bytes_max: u64::from(bytes_max),
        }
    }

    /// Accepts the entry, or hands it back. An entry heavier than the whole bound weighs as much as the bound: it
    /// enters an empty ring.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, it would be handed a copy of the entry"
    )]
    pub(crate) fn push(&self, value: T, weight: usize) -> Result<(), PushError<T>> {
        let weight = (weight as u64).min(self.bytes_max);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounded by bytes_max, a u32"
        )]
        let mut slot = Slot {
            value: ManuallyDrop::new(value),
            lost: 0,
            weight: weight as u32,
        };
        let position = match self.enter(weight) {
            Ok(position) => position,
            Err(Refusal::Full) => return Err(PushError::Full(slot)),
            Err(Refusal::Closed) => return Err(PushError::Closed(slot)),
        };
        slot.lost = self.lost.load(order::COUNT);
        self.cells.fill(position, slot);
        Ok(())
    }

    /// The state after this many entries.
    #[cfg(test)]
    pub(crate) fn after(entries: u64, capacity: usize, bytes_max: u32) -> Self {
        let mut ring = Self::new(capacity, bytes_max);
        let gate = (entries & POSITION_MAX) * ENTRY;
        ring.gate = CachePadded::new(AtomicU64::new(gate));
        ring.head = CachePadded::new(Position::new(entries));
        ring
    }

    /// Pushes an entry of weight 0 as a publisher that is stopped half-way. Call the result to continue.
    #[cfg(test)]
    pub(crate) fn push_half(&self, value: T) -> impl FnOnce() + use<'_, T> {
        let slot = Slot::light(value);
        let position = self.enter(0).ok();
        move || {
            if let Some(position) = position {
                self.cells.fill(position, slot);
            }
        }
    }

    /// Counts an entry that its publisher dropped.
    #[inline]
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, order::COUNT);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(order::COUNT)
    }

    /// Refuses entries from now on.
    pub(crate) fn close(&self) {
        self.gate.fetch_or(CLOSED, order::COUNT);
    }

    /// Counts every push that happened before the call.
    pub(crate) fn inside(&self) -> Inside {
        let head = self.head.load(order::ENTER);
        let word = self.gate.load(order::COUNT);
        Inside {
            closed: word & CLOSED != 0,
            entries: between(head, word),
            bytes: word & BYTES,
        }
    }

    /// How many entries have entered so far. Counts every push that happened before the call, and never decreases.
    pub(crate) fn accepted(&self) -> u64 {
        let head = self.head.load(order::ENTER);
        head + between(head, self.gate.load(order::COUNT))
    }

    /// Pops entries; their room is given back when the iterator is dropped. For the drainer only.
    pub(crate) fn drain(&self) -> Drain<'_, T> {
        Drain {
            ring: self,
            next: self.head.load(order::COUNT),
            bytes: 0,
        }
    }

    /// Claims a position.
    #[inline]
    fn enter(&self, weight: u64) -> Result<u64, Refusal> {
        let mut head = self.head.load(order::ENTER);
        let mut word = self.gate.load(order::READ);
        loop {
            if word & CLOSED != 0 {
                return Err(Refusal::Closed);
            }
            if (word & BYTES) + weight > self.bytes_max {
                return Err(Refusal::Full);
            }
            if between(head, word) >= self.capacity {
                let now = self.head.load(order::ENTER);
                if now == head {
                    return Err(Refusal::Full);
                }
                head = now;
                word = self.gate.load(order::READ);
                continue;
            }
            // The last position is followed by the first.
            let taken = (word + ENTRY + weight) & !CLOSED;
            match (self.gate).compare_exchange_weak(word, taken, order::TAKE, order::READ) {
                Ok(_) => return Ok(word / ENTRY),
                Err(now) => word = now,
            }
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

/// How many positions there are from `head` to the gate.
#[inline]
fn between(head: u64, gate: u64) -> u64 {
    (gate / ENTRY).wrapping_sub(head) & POSITION_MAX
}

impl<T> Kept<T> {
    fn light(value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            lost: 0,
            weight: 0,
        }
    }

    fn open(self) -> Slot<T> {
        Slot {
            value: ManuallyDrop::into_inner(self.value),
            lost: self.lost,
            weight: self.weight,
        }
    }
}

impl<T> PushError<T> {
    /// An entry that another ring had no room for.
    pub(crate) fn full(value: T) -> Self {
        Self::Full(Slot::light(value))
    }

    pub(crate) fn closed(value: T) -> Self {
        Self::Closed(Slot::light(value))
    }

    pub(crate) fn into_value(self) -> T {
        match self {
            Self::Full(slot) | Self::Closed(slot) => slot.open().value,
        }
    }
}

/// Pops entries in order, and gives their room back at the end, in one step. Ends at an entry whose publisher has not
/// finished its push: never waits.
#[derive(Debug)]
pub(crate) struct Drain<'a, T> {
    ring: &'a Ring<T>,
    next: u64,
    bytes: u64,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = Slot<T>;

    fn next(&mut self) -> Option<Slot<T>> {
        let slot = self.ring.cells.take(self.next & POSITION_MAX)?.open();
        self.next += 1;
        self.bytes += u64::from(slot.weight);
        Some(slot)
    }
}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        if self.next != self.ring.head.load(order::COUNT) {
            self.ring.gate.fetch_sub(self.bytes, order::COUNT);
            self.ring.head.store(self.next, order::LEAVE);
        }
    }
}
