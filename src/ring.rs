//! The ring: a bounded lock-free queue behind a gate.
//!
//! # Protocol
//!
//! The gate is one word that packs *closed*, *entries inside* and *bytes inside*:
//!
//! ```text
//!   63      62 ........ 40   39 ......... 0
//!  closed   entries (23 b)   bytes (40 b)
//! ```
//!
//! Neither count begins at zero, but as far below the highest bit of its field as its bound is: that bit of entries says
//! that there is no room for one more, and that of bytes, once a weight is added, that there is none for that weight. So
//! one look at three bits admits or refuses.
//!
//! **Enter.** A publisher first looks, and is refused without touching the word if there is no room or the ring is
//! closed. Else it adds one entry and its weight in one step. If the value before that step had no room after all, or
//! was closed, it subtracts the same again and is refused; else it is inside, and pushes onto the queue.
//!
//! **Leave.** The drainer pops, and only after its pops have returned subtracts what they weighed, once per batch
//! ([`Drain`]). So whoever is inside finds a free slot at once: a push never meets a slot that is still being emptied
//! (bare, it would spin until a preempted drainer runs again), and never a full queue. `ENTER` is the acquire to the
//! release of `LEAVE`: seeing the room means seeing the slots emptied. A publisher's undoing stands between the two
//! without breaking them, because every access that writes the word is a read-modify-write.
//!
//! **Close** sets the bit. Who adds after that sees it and goes; who added before is inside and will push. So once the
//! drainer, the only one to subtract for entries that were let in, sees *closed* and no entries, it has popped all that
//! were ever let in, and none will follow. The look first is what brings the count down while publishers go on
//! calling: without it their adding and undoing would keep it above zero.
//!
//! **Losses** are counted in a word of their own, touched only by losing. Each entry takes its value along, so that
//! the drainer learns of a loss where it happened: not later than the next entry of the thread that lost.
//!
//! Retries happen only inside the queue's push, and there only because another publisher succeeded: a stopped thread
//! holds up nobody who publishes. It can hold up the drainer: a publisher stopped between the two steps of its push
//! leaves a slot claimed but empty, and the drainer's pop spins on it, for as long as the scheduler keeps that thread
//! away.
//!
//! Overshoot is bounded: each thread overshoots by one entry of at most `bytes_max`, which is below 2³², so the fields
//! hold more than a hundred of the heaviest at once. Beyond that the carry makes the ring look fuller in entries and
//! emptier in bytes, until the undoing: the bound on bytes may be passed by then, the one on entries never. A thread that
//! is stopped between its adding and its undoing takes up room for as long.
//!
//! # Moves
//!
//! Moving an entry costs more than the gate, and the compiler leaves out no move across an atomic access. So an entry is
//! put into its slot before the gate, the slot is what is pushed or handed back, and the queue holds what has no
//! destructor ([`Kept`]), which would ask for a copy of its own. `benches/instructions.rs` counts.

use std::mem::ManuallyDrop;

use super::sync::{ArrayQueue, AtomicU64, CachePadded, order};

const CLOSED: u64 = 1 << 63;
/// No room for one more entry.
const FULL: u64 = 1 << 62;
const ENTRY: u64 = 1 << 40;
const BYTES: u64 = ENTRY - 1;
/// With a weight added: no room for that weight.
const HEAVY: u64 = 1 << 39;

/// A bounded queue of entries with many publishers and one drainer.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    queue: ArrayQueue<Kept<T>>,
    gate: CachePadded<AtomicU64>,
    lost: CachePadded<AtomicU64>,
    /// The gate with nothing inside.
    empty: u64,
    bytes_max: u64,
}

/// An entry in the queue, or handed back, which whoever has it must open: dropping it would leak the value.
pub(crate) type Kept<T> = Slot<ManuallyDrop<T>>;

/// An entry on its way through the ring.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) value: T,
    /// How many entries had been lost when this one was let in.
    pub(crate) lost: u64,
    weight: u32,
}

/// An entry that was not let in.
#[derive(Debug)]
#[must_use]
pub(crate) enum Refused<T> {
    /// There is no room.
    Full(Kept<T>),
    /// The ring is closed.
    Closed(Kept<T>),
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) closed: bool,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

enum Refusal {
    Full,
    Closed,
}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize, bytes_max: u32) -> Self {
        let bytes_max = u64::from(bytes_max);
        let empty = (FULL - capacity as u64 * ENTRY) + (HEAVY - 1 - bytes_max);
        Self {
            queue: ArrayQueue::new(capacity),
            gate: CachePadded::new(AtomicU64::new(empty)),
            lost: CachePadded::new(AtomicU64::new(0)),
            empty,
            bytes_max,
        }
    }

    /// Lets the entry in, or hands it back. An entry heavier than the whole bound weighs as much as the bound: it
    /// enters an empty ring.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, it would be handed a copy of the entry"
    )]
    pub(crate) fn push(&self, value: T, weight: usize) -> Result<(), Refused<T>> {
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
        match self.enter(weight) {
            Ok(()) => slot.lost = self.lost.load(order::COUNT),
            Err(Refusal::Full) => return Err(Refused::Full(slot)),
            Err(Refusal::Closed) => return Err(Refused::Closed(slot)),
        }
        self.queue.push(slot).map_err(|slot| {
            debug_assert!(false, "the gate let in more than the queue holds");
            self.gate.fetch_sub(ENTRY + weight, order::COUNT);
            Refused::Full(slot)
        })
    }

    /// Counts an entry that its publisher dropped.
    #[inline]
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, order::COUNT);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(order::COUNT)
    }

    /// Refuses whoever comes from now on.
    pub(crate) fn close(&self) {
        self.gate.fetch_or(CLOSED, order::COUNT);
    }

    pub(crate) fn inside(&self) -> Inside {
        let word = self.gate.load(order::COUNT);
        let sum = (word & !CLOSED).wrapping_sub(self.empty);
        Inside {
            closed: word & CLOSED != 0,
            entries: sum / ENTRY,
            bytes: sum & BYTES,
        }
    }

    /// How many entries stand in the queue. Counts every push that happened before the call.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Pops entries; their room is given back when the iterator is dropped. For the drainer alone.
    pub(crate) fn drain(&self) -> Drain<'_, T> {
        Drain {
            ring: self,
            popped: 0,
        }
    }

    #[inline]
    fn enter(&self, weight: u64) -> Result<(), Refusal> {
        admit(self.gate.load(order::COUNT), weight)?;
        let before = self.gate.fetch_add(ENTRY + weight, order::ENTER);
        admit(before, weight).inspect_err(|_| {
            self.gate.fetch_sub(ENTRY + weight, order::COUNT);
        })
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while let Some(slot) = self.queue.pop() {
            drop(slot.open());
        }
    }
}

impl<T> Kept<T> {
    fn open(self) -> Slot<T> {
        Slot {
            value: ManuallyDrop::into_inner(self.value),
            lost: self.lost,
            weight: self.weight,
        }
    }
}

impl<T> Refused<T> {
    pub(crate) fn into_value(self) -> T {
        match self {
            Self::Full(slot) | Self::Closed(slot) => slot.open().value,
        }
    }
}

#[inline]
fn admit(word: u64, weight: u64) -> Result<(), Refusal> {
    if (word + weight) & (CLOSED | FULL | HEAVY) == 0 {
        Ok(())
    } else if word & CLOSED != 0 {
        Err(Refusal::Closed)
    } else {
        Err(Refusal::Full)
    }
}

/// Pops entries in order, and gives their room back at the end, in one step.
#[derive(Debug)]
pub(crate) struct Drain<'a, T> {
    ring: &'a Ring<T>,
    popped: u64,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = Slot<T>;

    fn next(&mut self) -> Option<Slot<T>> {
        let slot = self.ring.queue.pop()?.open();
        self.popped += ENTRY + u64::from(slot.weight);
        Some(slot)
    }
}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        if self.popped != 0 {
            self.ring.gate.fetch_sub(self.popped, order::LEAVE);
        }
    }
}
