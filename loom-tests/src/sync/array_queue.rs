//! Stands in for crossbeam's `ArrayQueue`: its algorithm (0.3.14), step by step, on loom's atomics.
//!
//! A push panics where the original would refuse, and where it would have to wait for a pop: with the gate in front
//! neither may happen. A pop that waits for a half-done push yields to loom, which is what waiting means there.
//!
//! No access is ordered more than in the original. Where that puts a `SeqCst` fence behind a relaxed load of the tail
//! and then looks again, the tail is loaded with acquire, which is the part of the fence that is needed. The whole fence
//! would also make up for a gate that orders too little, and the gate is not to lean on what the queue does inside.
//!
//! What a slot holds is kept in a plain cell, which loom doesn't see: only the stamps order who touches it, as in the
//! original. Beside it stands a cell that loom does watch, so an access that nothing orders is an error.

use std::cell::Cell;
use std::fmt;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::yield_now;

/// A bounded queue that panics where a gated one must never come.
pub(crate) struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: Box<[Slot<T>]>,
}

/// The stamp says in which lap the slot is empty or full.
struct Slot<T> {
    stamp: AtomicUsize,
    watched: UnsafeCell<()>,
    value: Cell<Option<T>>,
}

const fn empty(lap: usize) -> usize {
    2 * lap
}

const fn full(lap: usize) -> usize {
    2 * lap + 1
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slot = || Slot {
            stamp: AtomicUsize::new(empty(0)),
            watched: UnsafeCell::new(()),
            value: Cell::new(None),
        };
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            slots: std::iter::repeat_with(slot).take(capacity).collect(),
        }
    }

    /// # Panics
    ///
    /// If the queue is full, or the slot is still being emptied.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Acquire);
        loop {
            let (slot, lap) = self.at(tail);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == empty(lap) {
                let claim = (Ordering::AcqRel, Ordering::Acquire);
                match (self.tail).compare_exchange(tail, tail + 1, claim.0, claim.1) {
                    Ok(_) => {
                        slot.put(value);
                        slot.stamp.store(full(lap), Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else if stamp + 1 == empty(lap) {
                panic!("{}", self.broken_promise(tail));
            } else {
                // Another push has succeeded meanwhile.
                yield_now();
                tail = self.tail.load(Ordering::Acquire);
            }
        }
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let (slot, lap) = self.at(head);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == full(lap) {
                let claim = (Ordering::AcqRel, Ordering::Relaxed);
                match (self.head).compare_exchange(head, head + 1, claim.0, claim.1) {
                    Ok(_) => {
                        let value = slot.take();
                        slot.stamp.store(empty(lap + 1), Ordering::Release);
                        return value;
                    }
                    Err(now) => head = now,
                }
            } else {
                if stamp == empty(lap) && self.tail.load(Ordering::Acquire) == head {
                    return None;
                }
                // A push is half done.
                yield_now();
                head = self.head.load(Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        loop {
            let tail = self.tail.load(Ordering::Acquire);
            let head = self.head.load(Ordering::Acquire);
            if self.tail.load(Ordering::Acquire) == tail {
                return tail - head;
            }
            yield_now();
        }
    }

    /// What a push finds where the entry of the lap before still stands, as far as it can see.
    fn broken_promise(&self, tail: usize) -> &'static str {
        if self.head.load(Ordering::Relaxed) + self.slots.len() == tail {
            "a push that the gate had let in met a full queue"
        } else {
            "a push that the gate had let in met a half-done pop"
        }
    }

    fn at(&self, position: usize) -> (&Slot<T>, usize) {
        let capacity = self.slots.len();
        (&self.slots[position % capacity], position / capacity)
    }
}

impl<T> Slot<T> {
    fn put(&self, value: T) {
        self.watched.with_mut(|_| ());
        let before = self.value.replace(Some(value));
        assert!(before.is_none(), "a push overwrote an entry");
    }

    fn take(&self) -> Option<T> {
        self.watched.with_mut(|_| ());
        let value = self.value.take();
        assert!(value.is_some(), "a pop found a slot without an entry");
        value
    }
}

impl<T> fmt::Debug for ArrayQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayQueue").finish_non_exhaustive()
    }
}
