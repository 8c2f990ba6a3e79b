//! Signed checkpoints: a record of the stored entries that nobody without the publisher's key can change.
//!
//! The entries of a publisher, in the order in which a sink stores them, are the leaves of a Merkle tree (RFC 6962).
//! With each batch a sink that keeps checkpoints stores a [`Seal`]: size and root of the tree, signed, as a C2SP
//! [checkpoint], and the peaks of the tree. The sink thus keeps the state of the tree, and a reader or the next
//! process can continue from any seal.
//!
//! Each run has its own key. With the previous key it first signs a checkpoint that names the new one, a
//! *certificate*; then the old private key is erased. An attacker who takes the machine today cannot sign as an
//! earlier run.
//!
//! What an auditor does with them, here for a file of one entry:
//!
//! ```
//! use spillring::event::Position;
//! use spillring::seal::{Checkpoint, Leaf, PublicKeys, Seal, Tree};
//! # use spillring::{Config, JsonLinesSink, RawEntry};
//! # let limit = std::time::Duration::from_secs(10);
//! # let temporary = tempfile::tempdir()?;
//! # let (dir, output) = (temporary.path().join("spill"), temporary.path().join("out"));
//! # let drainer = spillring::start(Config::new(&dir), JsonLinesSink::new(&output))?;
//! # let run = drainer.run().clone();
//! # drainer.publisher().publish(RawEntry::new("acme.agent-7", *b"{}"));
//! # drainer.shutdown(limit).wait(limit)?;
//! # let ledger = std::fs::read_to_string(output.with_extension("ledger"))?;
//! # let newest = ledger.lines().rev().find(|line| line.contains("\"seal\"")).unwrap();
//! # let newest = serde_json::from_str::<serde_json::Value>(&newest[9..])?["seal"].to_string();
//!
//! // The seal that lies with the entries, signed with a key of their publisher:
//! let seal: Seal = serde_json::from_str(&newest)?;
//! let keys = PublicKeys::read(&dir)?.unwrap();
//! let checkpoint = Checkpoint::open(&seal.checkpoint, &keys.current)
//!     .or_else(|_| Checkpoint::open(&seal.checkpoint, &keys.first))?;
//!
//! // The tree of the entries as they are now: if one was changed, the roots differ.
//! let opening = run.to_string();
//! let leaf = Leaf {
//!     id: Position { run: run.id(), n: 1 },
//!     lost: 0,
//!     requeued: None,
//!     opening: Some(&opening),
//!     subject: None,
//!     bytes: b"{}",
//! };
//! let mut tree = Tree::default();
//! tree.push(leaf.hash());
//! assert_eq!((tree.size(), tree.root()), (checkpoint.size, checkpoint.root));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [checkpoint]: https://c2sp.org/tlog-checkpoint

mod checkpoint;
mod keys;
mod leaf;
mod signer;
mod state;
mod tree;

pub use checkpoint::{Checkpoint, Seal, SealError};
pub use keys::PublicKeys;
pub use leaf::Leaf;
pub use signer::Signer;
#[cfg(feature = "nats")]
pub(crate) use state::Statement;
pub use tree::{Hash, Tree};

#[cfg(test)]
mod tests;
