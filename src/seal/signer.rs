//! Signs what a sink stores, and remembers what was stored.
//!
//! The sink's thread signs and remembers what is stored, without touching the disk. At most once a second, the spill
//! worker writes the newest stored seal. Once per process it writes a new key; until then the old key signs.
//!
//! After a kill, `sealed.json` may be a second old. The sink's newest seal then has a larger tree, and counts if one
//! of our keys has signed it. A smaller tree, or a seal that is not ours, means that the sink was set back or forged:
//! the tree then continues from the one we know, so that an auditor sees what is missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::checkpoint::{Checkpoint, Seal, SealError};
use super::keys::Keys;
use super::state::{Rotation, SignerState, Statement, Written};
use super::tree::{Hash, Tree};
use crate::host::log;
use crate::ids::{Position, PublisherId};
use crate::replace::{Persist, replace};

/// The file with the newest stored seal.
pub(super) const SEALED: &str = "sealed.json";

/// Signs checkpoints with the keys of a publisher. [`Batch::signer`](crate::event::Batch::signer) passes it to sinks
/// that keep [seals](Seal).
///
/// ```
/// use spillring::event::Batch;
/// use spillring::seal::{Hash, Seal, SealError};
///
/// /// What a sink stores with the batch. `newest` is the seal it stored before,
/// /// `leaves` are the hashes of the batch's entries.
/// fn seal(
///     batch: &Batch,
///     newest: Option<&Seal>,
///     leaves: &[Hash],
/// ) -> Result<Option<Seal>, SealError> {
///     let Some(signer) = batch.signer() else { return Ok(None) };
///     let tree = signer.tree(batch.publisher(), newest, leaves);
///     signer.seal(&tree, Some(batch.through())).map(Some)
///     // Once it is stored, the sink calls `signer.stored(&seal)`.
/// }
/// ```
#[derive(Debug)]
pub struct Signer {
    dir: PathBuf,
    /// The largest age of a checkpoint while nothing is stored.
    renew_every: Duration,
    /// When the newest seal was stored, or last requested.
    stored_at: Mutex<Option<Instant>>,
    state: Mutex<SignerState>,
}

impl Signer {
    /// Reads the keys in this directory. Generates the first one if there is none.
    pub(crate) fn open(
        dir: &Path,
        publisher: PublisherId,
        given: Option<&Path>,
        renew_every: Duration,
    ) -> Result<Self, SealError> {
        let mut keys = Keys::open(dir, publisher, given)?;
        if keys.publisher != publisher {
            // The publisher has taken another id, and was killed before its keys had it.
            keys.rename(publisher)?;
        }
        let stored = fs::read(dir.join(SEALED)).ok();
        let stored = stored.and_then(|text| serde_json::from_slice::<Seal>(&text).ok());
        let state = SignerState::new(keys, stored)?;
        Ok(Self {
            dir: dir.to_owned(),
            renew_every,
            // An idle publisher that starts again must keep signing.
            stored_at: Mutex::new(state.stored.as_ref().map(|_| Instant::now())),
            state: Mutex::new(state),
        })
    }

    /// Whether the newest stored seal is so old that it must be signed again. Not if this process has stored nothing.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let at = *self.stored_at.lock();
        at.is_some_and(|at| now.saturating_duration_since(at) >= self.renew_every)
    }

    /// The sink was asked to sign again. Whatever the result, it is not asked again at once.
    pub(crate) fn asked(&self, now: Instant) {
        *self.stored_at.lock() = Some(now);
    }

    /// The tree of what this publisher has stored: that of the sink's newest seal, and `leaves` after it.
    ///
    /// A seal that is older than the known one, or not ours, does not count: the tree then continues from the known
    /// one.
    pub fn tree(&self, publisher: PublisherId, newest: Option<&Seal>, leaves: &[Hash]) -> Tree {
        let state = self.state.lock();
        let known = state.stored.as_ref().map(|(_, tree)| tree);
        let found = newest.map(|seal| state.recognize(publisher, seal));
        let older =
            |tree: &Tree| known.is_some_and(|known| tree.size() <= known.size() && tree != known);
        match found {
            Some(Ok((mut tree, checkpoint))) if !older(&tree) => {
                if checkpoint.is_open || leaves.is_empty() {
                    tree.extend(leaves.iter().copied());
                } else {
                    log::error!(
                        "the newest checkpoint in the sink is followed by entries that this publisher has not sent: they are not signed"
                    );
                }
                tree
            }
            None if known.is_none() => Tree::default(),
            None | Some(Ok(_)) => {
                log::error!(
                    "the sink has lost the newest checkpoints: acknowledged entries may be missing there"
                );
                known.cloned().unwrap_or_default()
            }
            Some(Err(error)) => {
                log::error!(%error, "the newest checkpoint in the sink is not one of ours: somebody else has written there");
                known.cloned().unwrap_or_default()
            }
        }
    }

    /// Signs the tree, whose last entry has this position.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`] if the key is malformed.
    pub fn seal(&self, tree: &Tree, through: Option<Position>) -> Result<Seal, SealError> {
        self.sign(
            tree,
            Statement {
                through,
                is_open: false,
                recovered: 0,
            },
        )
    }

    pub(crate) fn sign(&self, tree: &Tree, statement: Statement) -> Result<Seal, SealError> {
        self.state.lock().sign(tree, statement)
    }

    /// Notes that the sink has stored this seal.
    pub fn stored(&self, seal: &Seal) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let Ok(tree) = seal.tree() else { return };
        if !seal.certificates.is_empty() {
            state.certificates_at = Some(now);
        }
        let seal = Seal {
            certificates: Vec::new(),
            ..seal.clone()
        };
        state.stored = Some((seal, tree));
        state.written = Written::No;
        drop(state);
        *self.stored_at.lock() = Some(now);
    }

    /// Writes the newest seal, and takes a new key once something is stored.
    pub(crate) fn keep(&self) {
        let state = self.state.lock();
        let Some((seal, tree)) = state.stored.clone() else {
            return;
        };
        let (keys, rotation, written) = (Arc::clone(&state.keys), state.rotation, state.written);
        drop(state);
        if rotation != Rotation::Done {
            self.rotate((*keys).clone(), &seal, &tree);
        }
        if written == Written::No && self.write(&seal).is_ok() {
            let mut state = self.state.lock();
            let newest = state.stored.as_ref().map(|(newest, _)| newest);
            if newest == Some(&seal) {
                state.written = Written::Yes;
            }
        }
    }

    /// The publisher has taken another id, because somebody else publishes under the old one: its log starts over.
    pub(crate) fn rename(&self, publisher: PublisherId) {
        let mut keys = (*self.state.lock().keys).clone();
        let renamed = keys.rename(publisher);
        let mut state = self.state.lock();
        state.stored = None;
        state.adopt(keys, renamed);
    }

    fn rotate(&self, mut keys: Keys, seal: &Seal, tree: &Tree) {
        let through = Checkpoint::parse(&seal.checkpoint)
            .ok()
            .and_then(|it| it.through);
        let rotated = keys.rotate(tree, through);
        self.state.lock().adopt(keys, rotated);
    }

    fn write(&self, seal: &Seal) -> io::Result<()> {
        replace(
            &self.dir,
            SEALED,
            &serde_json::to_vec(seal)?,
            Persist::Unsynced,
        )
    }
}
