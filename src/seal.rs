//! Signed checkpoints: what a publisher has stored, in a form that nobody without its key can change.
//!
//! The entries of a publisher, in the order in which a sink stores them, are the leaves of a Merkle tree (RFC 6962). With each batch
//! a sink that keeps checkpoints stores a [`Seal`]: size and root of the tree, signed, as a C2SP [checkpoint], and the peaks of the
//! tree. So a reader can go on from any seal, and so can the next process: the sink keeps the state of the tree.
//!
//! Each run has a key of its own. The first thing that it signs with the key before is a checkpoint that names the new one, a
//! *certificate*; then the old private key is erased. An attacker who takes the machine today cannot sign what earlier runs
//! have signed.
//!
//! [checkpoint]: https://c2sp.org/tlog-checkpoint

mod checkpoint;
mod keys;
mod leaf;
mod signer;
mod tree;

use std::io;

use serde::{Deserialize, Serialize};

pub use checkpoint::Checkpoint;
pub use keys::PublicKeys;
pub use leaf::Leaf;
pub use signer::Signer;
#[cfg(feature = "nats")]
pub(crate) use signer::Statement;
pub use tree::{Hash, Tree};

/// What a sink stores with a batch, to say which entries there are up to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seal {
    /// A [`Checkpoint`] with its signature, as a C2SP signed note.
    pub checkpoint: String,
    /// The public key of the signature, as C2SP's `signed-note` writes it: `spillring/<publisher id>+<key id>+<key>`.
    pub key: String,
    /// The peaks of the tree, largest first, each in base64: as many as the size has ones in binary.
    pub peaks: Vec<String>,
    /// Once a minute: the newest checkpoints that name the next key, oldest first. Each is signed with the key that the one before
    /// it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

/// Why a seal, a checkpoint or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is not in the form that it should be in.
    #[error("{0}")]
    Malformed(String),
    /// No signature of the key, or one that does not fit the text.
    #[error("it is not signed with the key {0}")]
    NotSigned(String),
    /// The key that the operator gave cannot be used.
    #[error("`signing_key` {0}")]
    Given(String),
    /// The keys in the spill directory cannot be read or written.
    #[error("the signing keys cannot be used: {0}")]
    Keys(#[from] io::Error),
}

impl Seal {
    /// The tree that the peaks make, if its root is that of the checkpoint. No signature is looked at.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`] if they do not fit each other.
    pub fn tree(&self) -> Result<Tree, SealError> {
        let checkpoint = Checkpoint::parse(&self.checkpoint)?;
        let peaks = self.peaks.iter().map(|peak| tree::decoded(peak));
        let tree = peaks
            .collect::<Option<Vec<_>>>()
            .and_then(|peaks| Tree::from_peaks(checkpoint.size, peaks))
            .filter(|tree| tree.root() == checkpoint.root);
        tree.ok_or_else(|| SealError::Malformed("the peaks are not those of the checkpoint".into()))
    }
}

#[cfg(test)]
mod tests;
