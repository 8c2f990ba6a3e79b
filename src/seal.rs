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
