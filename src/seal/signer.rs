//! Signs what a sink stores.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use signed_note::StandardSigner;

use super::checkpoint::{Checkpoint, origin};
use super::keys::Keys;
use super::{Hash, Seal, SealError, Tree, tree};
use crate::event::{Position, PublisherId, unix_ms};
use crate::host::log;

/// How many certificates a seal has, the newest.
const CERTIFICATES_SHOWN: usize = 16;
/// How often a seal has them.
const CERTIFICATES_EVERY: Duration = Duration::from_mins(1);

/// Signs checkpoints with the keys of a publisher. A [`Batch`](crate::Batch) has it, for sinks that keep [seals](Seal).
#[derive(Debug)]
pub struct Signer {
    /// How long a checkpoint may be old while nothing is stored.
    renew_every: Duration,
    state: Mutex<State>,
}

struct State {
    keys: Keys,
    key: StandardSigner,
    /// Whether this process has signed with the key before already, and made another.
    rotated: Rotated,
    /// What was signed last.
    last: Option<Last>,
    certificates_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rotated {
    Due,
    Done,
}

struct Last {
    checkpoint: String,
    tree: Tree,
    at: Instant,
}

impl Signer {
    /// With the keys in this directory, the first of which is made if there is none.
    pub(crate) fn open(
        dir: &Path,
        publisher: PublisherId,
        given: Option<&Path>,
        renew_every: Duration,
    ) -> Result<Self, SealError> {
        let keys = Keys::open(dir, publisher, given)?;
        Ok(Self {
            renew_every,
            state: Mutex::new(State {
                key: keys.signer()?,
                keys,
                rotated: Rotated::Due,
                last: None,
                certificates_at: None,
            }),
        })
    }

    /// Whether what was signed last is so old that it must be signed again. Not if this process has signed nothing.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let last = state.last.as_ref();
        last.is_some_and(|last| now.saturating_duration_since(last.at) >= self.renew_every)
    }

    /// The sink has been asked to sign again. Whatever comes of it, it is not asked again at once.
    pub(crate) fn asked(&self, now: Instant) {
        if let Some(last) = &mut self.state.lock().last {
            last.at = now;
        }
    }

    /// The tree of what this publisher has stored: what the newest seal says, and `leaves` after it. A seal that none of its keys has
    /// signed counts as none: the tree begins again, and an auditor sees that it does.
    ///
    /// The first call of a process takes a new key, which goes on from here.
    pub fn tree(&self, publisher: PublisherId, newest: Option<&Seal>, leaves: &[Hash]) -> Tree {
        let mut state = self.state.lock();
        let mut tree = match newest {
            None => Tree::default(),
            Some(seal) => state.recognize(publisher, seal).unwrap_or_else(|error| {
                log::error!(%error, "the newest checkpoint in the sink is not one of ours: the tree of checkpoints begins again");
                Tree::default()
            }),
        };
        state.go_on(publisher, &tree, newest);
        tree.extend(leaves.iter().copied());
        tree
    }

    /// Signs the tree, which ends at this position.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`] if the key is none.
    pub fn seal(&self, tree: &Tree, through: Option<Position>) -> Result<Seal, SealError> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let origin = origin(state.keys.publisher);
        let checkpoint = Checkpoint::of(&origin, tree, through, unix_ms() / 1_000);
        let checkpoint = checkpoint.sign(&state.key)?;
        let shown = state
            .certificates_at
            .is_some_and(|at| now.saturating_duration_since(at) < CERTIFICATES_EVERY);
        let certificates = if shown {
            Vec::new()
        } else {
            state.certificates_at = Some(now);
            let all = &state.keys.certificates;
            all[all.len().saturating_sub(CERTIFICATES_SHOWN)..].to_vec()
        };
        state.last = Some(Last {
            checkpoint: checkpoint.clone(),
            tree: tree.clone(),
            at: now,
        });
        Ok(Seal {
            checkpoint,
            key: state.keys.public.clone(),
            peaks: tree.peaks().iter().map(tree::encoded).collect(),
            certificates,
        })
    }
}

impl State {
    /// The tree of a seal of ours.
    fn recognize(&self, publisher: PublisherId, seal: &Seal) -> Result<Tree, SealError> {
        if let Some(last) = self
            .last
            .as_ref()
            .filter(|last| last.checkpoint == seal.checkpoint)
        {
            return Ok(last.tree.clone());
        }
        let certified = self.keys.certificates.iter().rev();
        let certified = certified.filter_map(|it| Checkpoint::parse(it).ok()?.next);
        let ours = certified.chain([self.keys.public.clone(), self.keys.first.clone()]);
        if !ours.into_iter().any(|key| key == seal.key) {
            return Err(SealError::NotSigned(seal.key.clone()));
        }
        let checkpoint = Checkpoint::open(&seal.checkpoint, &seal.key)?;
        if checkpoint.publisher() != Some(publisher) {
            return Err(SealError::NotSigned(origin(publisher)));
        }
        seal.tree()
    }

    fn go_on(&mut self, publisher: PublisherId, tree: &Tree, newest: Option<&Seal>) {
        let time = unix_ms() / 1_000;
        let through = newest.and_then(|seal| Checkpoint::parse(&seal.checkpoint).ok()?.through);
        let changed = if self.keys.publisher != publisher {
            self.keys.rename(publisher, time)
        } else if self.rotated == Rotated::Due {
            self.keys.rotate(tree, through, time)
        } else {
            return;
        };
        self.rotated = Rotated::Done;
        self.certificates_at = None;
        match changed.and_then(|()| self.keys.signer()) {
            Ok(key) => self.key = key,
            Err(error) => {
                log::error!(%error, "the signing key could not be renewed: signing with the one before");
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.keys.fmt(f)
    }
}
