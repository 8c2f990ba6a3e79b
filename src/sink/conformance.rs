//! Tests for authors of sinks.
//!
//! Implement [`Harness`] over some storage, and call [`run`]. It opens the sink, delivers batches as a publisher does,
//! drops deliveries half-way, opens the sink again, reads back what is stored, and names the first [`Rule`] that is
//! broken. [`Draft`] makes batches for your own tests.
//!
//! ```
//! use spillring::sink::conformance::{self, Harness, Stored};
//! use spillring::Sink;
//! use spillring::error::SinkError;
//! use spillring::event::{Batch, Position, PublisherId};
//! use spillring::sink::{BoxFuture, Delivery};
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! #[derive(Clone, Default)]
//! struct Memory(Arc<Mutex<(Vec<Vec<u8>>, HashMap<PublisherId, Position>)>>);
//!
//! impl Sink for Memory {
//!     fn position<'a>(
//!         &'a mut self,
//!         of: &'a PublisherId,
//!     ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
//!         Box::pin(async move { Ok(self.0.lock().unwrap().1.get(of).copied()) })
//!     }
//!
//!     fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
//!         Box::pin(async move {
//!             let mut memory = self.0.lock().unwrap();
//!             for record in batch.records() {
//!                 memory.0.push(record.bytes().to_vec());
//!             }
//!             memory.1.insert(batch.publisher(), batch.through());
//!             Delivery::all(batch)
//!         })
//!     }
//! }
//!
//! impl Harness for Memory {
//!     type Sink = Self;
//!     fn reopen(&mut self) -> Self {
//!         self.clone()
//!     }
//!     fn stored(&mut self) -> Vec<Stored> {
//!         let bytes = self.0.lock().unwrap().0.clone();
//!         bytes.into_iter().map(|bytes| Stored { id: None, bytes }).collect()
//!     }
//! }
//!
//! conformance::run(&mut Memory::default())?;
//! # Ok::<(), conformance::Failure>(())
//! ```

mod bench;
mod draft;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::sink::Sink;
pub use draft::{Draft, resend};
pub use rules::run;

/// A sink under test, and its storage.
///
/// See the [example](self).
///
/// Both methods are called outside any Tokio runtime, so they may block or use their own.
pub trait Harness {
    /// The sink under test.
    type Sink: Sink;

    /// A fresh sink over the same storage, as after a restart. The previous one has been dropped.
    fn reopen(&mut self) -> Self::Sink;

    /// All that is stored, oldest first.
    fn stored(&mut self) -> Vec<Stored>;
}

/// An entry, read back from the storage.
///
/// See the [example](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The `Audit-Id`, if the sink stores it. A sink without a cursor must store it, or nobody could recognise
    /// duplicates.
    pub id: Option<String>,
    /// The entry.
    pub bytes: Vec<u8>,
}

/// A rule for sinks. `Display` writes it as a sentence. [`run`] names the one that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A call answers, within 30 seconds and without a panic.
    Answers,
    /// What can be stored is stored: no delivery stops without reason.
    Stores,
    /// `stored` counts leading records, all of them durably stored.
    CountsThePrefix,
    /// Entries are stored byte for byte.
    KeepsBytes,
    /// Entries are stored in the order of delivery, without gaps.
    KeepsOrder,
    /// A sink with a cursor stores each entry once, whatever is sent again.
    StoresOnce,
    /// A sink without a cursor stores the `Audit-Id` of each entry.
    StoresIds,
    /// After a delivery the position is the batch's `through`.
    MovesThePosition,
    /// The position is the same after a restart.
    KeepsThePosition,
    /// Each publisher has its own position.
    PartsPublishers,
}

/// A broken rule, as [`run`] returns it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}; but {found}")]
#[non_exhaustive]
pub struct Failure {
    /// The rule.
    pub rule: Rule,
    /// What happened instead.
    pub found: String,
}

impl Failure {
    fn new(rule: Rule, found: impl Into<String>) -> Self {
        Self {
            rule,
            found: found.into(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answers => "a call must answer within 30 seconds and without a panic",
            Self::Stores => "a delivery must not stop without a reason",
            Self::CountsThePrefix => "`stored` must count the leading records that are stored",
            Self::KeepsBytes => "entries must be stored byte for byte",
            Self::KeepsOrder => "entries must be stored in the order of delivery, none left out",
            Self::StoresOnce => "a sink with a cursor must store each entry once",
            Self::StoresIds => "a sink without a cursor must store each entry's `Audit-Id`",
            Self::MovesThePosition => "the position after a delivery must be the batch's `through`",
            Self::KeepsThePosition => "the position must survive a restart",
            Self::PartsPublishers => "each publisher must have a position of its own",
        })
    }
}
