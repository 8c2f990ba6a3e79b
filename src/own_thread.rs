//! Recognises spillring's own threads, which must not wait for the drainer.

use std::cell::Cell;

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one of spillring's own.
pub(crate) fn mark_own_thread() {
    OWN_THREAD.set(true);
}

/// Whether the calling thread is one of spillring's own.
pub(crate) fn on_own_thread() -> bool {
    OWN_THREAD.get()
}
