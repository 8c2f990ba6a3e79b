//! The few names through which the ring touches shared memory, so that loom's can stand in for them.
//!
//! `loom-tests` compiles the shipping `ring.rs` beside a `sync` of its own with the same names. The orderings are
//! constants here, so that a test can weaken one of them and show that the model then fails.

pub(crate) use crossbeam_queue::ArrayQueue;
pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use std::sync::atomic::AtomicU64;

/// The orderings of the gate; `ring.rs` says what each is for.
pub(crate) mod order {
    use std::sync::atomic::Ordering;

    /// A publisher entering the gate. Partner of [`LEAVE`].
    pub(crate) const ENTER: Ordering = Ordering::Acquire;
    /// The drainer giving back the room of what it has popped. Partner of [`ENTER`].
    pub(crate) const LEAVE: Ordering = Ordering::Release;
    /// Looks, undone entries and counters: only the value matters.
    pub(crate) const COUNT: Ordering = Ordering::Relaxed;
}
