//! The shipping ring under loom: every interleaving of a few publishers and the drainer, and every value that a relaxed
//! load may answer.
//!
//! # What is modelled
//!
//! `src/ring.rs` and `src/file_ring.rs` themselves, not copies: they name shared memory only through `super::sync`, and
//! are compiled here by `#[path]` beside a `sync` made of loom's atomics. The orderings are the shipping ones too, read
//! from `src/sync.rs`. Only the lock of the cells is left out: the model fails where two threads would meet in a cell,
//! or where a push finds one that is full. Each unit of the ring in a file has a cell next to it that loom watches,
//! since it sees no race between atomic words.
//!
//! [`shipping::races`] and [`shipping::file_races`] hold one scenario for each race; `tests/holds.rs` runs them. The
//! other modules build the same ring with one thing broken, an ordering or the word itself; `tests/breaks.rs` asserts
//! that the model then fails, so that a scenario which stopped looking would be noticed.
//!
//! # What is not
//!
//! More than three threads or a handful of entries; more preemptions of running threads than a
//! scenario says (`LOOM_MAX_PREEMPTIONS` raises that); `SeqCst` stronger than acquire and release, as loom has it. The
//! drainer's rules for flush and shutdown are those of `src/drainer/requests.rs` and `src/policy.rs`, restated in a few
//! lines: the drainer itself needs threads, files and a clock.
#![expect(
    clippy::duplicate_mod,
    reason = "the same ring is built upon several kinds of sync"
)]

mod sync;

/// The orderings that ship.
#[allow(
    dead_code,
    unused_imports,
    reason = "of the shipping names only the orderings are used"
)]
#[path = "../../src/sync.rs"]
mod shipping_sync;

/// Builds the shipping ring upon a word and orderings of one's choice, with the races upon it.
macro_rules! build {
    ($(#[$doc:meta])* $name:ident, word: $word:ident, enter: $enter:expr, leave: $leave:expr, take: $take:expr, fill: $fill:expr) => {
        $(#[$doc])*
        #[path = "."]
        pub mod $name {
            mod sync {
                pub(crate) use crate::sync::{CachePadded, Place, Position};
                pub(crate) type AtomicU64 = crate::sync::Word<crate::sync::$word>;

                pub(crate) mod order {
                    use crate::shipping_sync::order;
                    use std::sync::atomic::Ordering;

                    pub(crate) const ENTER: Ordering = $enter;
                    pub(crate) const LEAVE: Ordering = $leave;
                    pub(crate) const READ: Ordering = order::READ;
                    pub(crate) const TAKE: Ordering = $take;
                    pub(crate) const FILL: Ordering = $fill;
                    pub(crate) const FILLED: Ordering = order::FILLED;
                    pub(crate) const NOTE: Ordering = order::NOTE;
                    pub(crate) const COUNT: Ordering = order::COUNT;
                }
            }

            #[allow(dead_code, reason = "the drainer uses more of it than the races do")]
            #[path = "../../src/ring.rs"]
            mod ring;

            #[expect(clippy::missing_panics_doc, reason = "to panic is how a race fails")]
            #[path = "races.rs"]
            pub mod races;

            #[allow(dead_code, reason = "the drainer and a start use more of it than the races do")]
            #[path = "../../src/file_ring.rs"]
            mod file_ring;

            #[expect(clippy::missing_panics_doc, reason = "to panic is how a race fails")]
            #[path = "file_races.rs"]
            pub mod file_races;
        }
    };
}

build!(
    /// The ring as it ships.
    shipping, word: Sound, enter: order::ENTER, leave: order::LEAVE,
    take: order::TAKE, fill: order::FILL
);
build!(
    /// Entering does not see what leaving has emptied.
    relaxed_enter, word: Sound, enter: Ordering::Relaxed, leave: order::LEAVE,
    take: order::TAKE, fill: order::FILL
);
build!(
    /// Leaving does not show what it has emptied.
    relaxed_leave, word: Sound, enter: order::ENTER, leave: Ordering::Relaxed,
    take: order::TAKE, fill: order::FILL
);
build!(
    /// A publisher's step at the gate is a load and a store: it does not notice what came between.
    doubled_enter, word: Doubled, enter: order::ENTER, leave: order::LEAVE,
    take: order::TAKE, fill: order::FILL
);
build!(
    /// Subtracting is a load and a store, not one step.
    torn_leave, word: Torn, enter: order::ENTER, leave: order::LEAVE,
    take: order::TAKE, fill: order::FILL
);
build!(
    /// A stamp does not show what is in its cell.
    relaxed_fill, word: Sound, enter: order::ENTER, leave: order::LEAVE,
    take: order::TAKE, fill: Ordering::Relaxed
);
build!(
    /// Taking a position does not pass on what its publisher saw of the room.
    relaxed_take, word: Sound, enter: order::ENTER, leave: order::LEAVE,
    take: Ordering::Relaxed, fill: order::FILL
);
