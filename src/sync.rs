//! The names through which the ring accesses shared memory, so that loom's can replace them.
//!
//! `loom-tests` compiles the shipping `ring.rs` with its own `sync` of the same names. The orderings are constants
//! here, so that a test can weaken one of them and show that the model then fails.

use spin::mutex::SpinMutex;

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use std::sync::atomic::AtomicU64;
/// The drainer's position, and the stamps of the cells.
pub(crate) use std::sync::atomic::AtomicU64 as Position;

/// Room for one value, which the ring's protocol gives to one thread at a time. Safe code needs the lock to write it,
/// but never meets it locked: it costs one step, and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Place<T>(SpinMutex<Option<T>>);

impl<T> Place<T> {
    pub(crate) fn new() -> Self {
        Self(SpinMutex::new(None))
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, it would be handed a copy of the value"
    )]
    pub(crate) fn put(&self, value: T) {
        *self.0.lock() = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

/// The orderings of the ring; `ring.rs` and `ring/cells.rs` explain each.
pub(crate) mod order {
    use std::sync::atomic::Ordering;

    /// A publisher looking for room. Partner of [`LEAVE`].
    pub(crate) const ENTER: Ordering = Ordering::Acquire;
    /// The drainer giving back the room of what it has popped. Partner of [`ENTER`].
    pub(crate) const LEAVE: Ordering = Ordering::Release;
    /// A publisher reading the gate. Partner of [`TAKE`].
    pub(crate) const READ: Ordering = Ordering::Acquire;
    /// A publisher taking a position. Partner of [`READ`], and of itself.
    pub(crate) const TAKE: Ordering = Ordering::AcqRel;
    /// A publisher stamping the cell that it has filled. Partner of [`FILLED`].
    pub(crate) const FILL: Ordering = Ordering::Release;
    /// The drainer reading a stamp. Partner of [`FILL`].
    pub(crate) const FILLED: Ordering = Ordering::Acquire;
    /// The drainer storing a number in a file. Its partner reads the file after a kill.
    pub(crate) const NOTE: Ordering = Ordering::Release;
    /// The gate and counters: only the value matters.
    pub(crate) const COUNT: Ordering = Ordering::Relaxed;
}
