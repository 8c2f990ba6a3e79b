//! Stands in for the shipping `Place`, without its lock: that would order accesses, and what the gate and the stamps
//! order too little would not be seen.
//!
//! The value is kept in a plain cell, which loom doesn't see. Beside it is a cell that loom does watch, so an access
//! that nothing orders is an error.

use std::cell::Cell;
use std::fmt;

use loom::cell::UnsafeCell;

/// Room for one value, which panics where the queue must never come.
pub(crate) struct Place<T> {
    watched: UnsafeCell<()>,
    value: Cell<Option<T>>,
}

impl<T> Place<T> {
    pub(crate) fn new() -> Self {
        Self {
            watched: UnsafeCell::new(()),
            value: Cell::new(None),
        }
    }

    /// # Panics
    ///
    /// If there is a value already: the gate has let in more than the queue holds.
    pub(crate) fn put(&self, value: T) {
        let before = self.value.replace(Some(value));
        assert!(before.is_none(), "a push met a full cell");
        self.watched.with_mut(|_| ());
    }

    /// # Panics
    ///
    /// If there is none: the stamp has promised one.
    pub(crate) fn take(&self) -> Option<T> {
        self.watched.with_mut(|_| ());
        let value = self.value.take();
        assert!(value.is_some(), "a pop met an empty cell");
        value
    }
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// Stands for memory that belongs to one thread at a time: an access that nothing orders is an error.
#[derive(Debug)]
pub(crate) struct Watched(UnsafeCell<()>);

impl Watched {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    pub(crate) fn enter(&self) {
        self.0.with_mut(|_| ());
    }
}
