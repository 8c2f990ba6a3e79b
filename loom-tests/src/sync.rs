//! The names of the shipping `sync`, made of loom's types.

mod place;

use std::cell::Cell;
use std::marker::PhantomData;

use loom::sync::atomic::{AtomicU64, Ordering};

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use loom::sync::atomic::AtomicU64 as Position;
pub(crate) use place::{Place, Watched};

loom::thread_local! {
    static WRITES: Cell<u64> = Cell::new(0);
}

/// How often the calling thread has written to any [`Word`].
pub(crate) fn writes() -> u64 {
    WRITES.with(Cell::get)
}

/// Stands in for `AtomicU64`: counts the writes of each thread, and can be made with a flaw.
#[derive(Debug)]
pub(crate) struct Word<M> {
    word: AtomicU64,
    make: PhantomData<M>,
}

/// What is wrong with a [`Word`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Doubled,
    Torn,
}

/// A make of [`Word`].
pub(crate) trait Make {
    const FLAW: Flaw;
}

/// Works as it should.
#[derive(Debug)]
pub(crate) enum Sound {}
/// A compare-and-exchange is a load and a store.
#[derive(Debug)]
pub(crate) enum Doubled {}
/// A subtraction is a load and a store.
#[derive(Debug)]
pub(crate) enum Torn {}

impl Make for Sound {
    const FLAW: Flaw = Flaw::None;
}
impl Make for Doubled {
    const FLAW: Flaw = Flaw::Doubled;
}
impl Make for Torn {
    const FLAW: Flaw = Flaw::Torn;
}

impl<M: Make> Word<M> {
    pub(crate) fn new(value: u64) -> Self {
        Self {
            word: AtomicU64::new(value),
            make: PhantomData,
        }
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.word.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, order);
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        count_write();
        if M::FLAW == Flaw::Doubled {
            let now = self.word.load(failure);
            if now == current {
                self.word.store(new, success);
            }
            return if now == current { Ok(now) } else { Err(now) };
        }
        self.word
            .compare_exchange_weak(current, new, success, failure)
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        count_write();
        self.word.fetch_add(value, order)
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        count_write();
        if M::FLAW == Flaw::Torn {
            let before = self.word.load(Ordering::Relaxed);
            self.word.store(before.wrapping_sub(value), order);
            return before;
        }
        self.word.fetch_sub(value, order)
    }

    pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        count_write();
        self.word.fetch_or(value, order)
    }
}

fn count_write() {
    WRITES.with(|writes| writes.set(writes.get() + 1));
}
