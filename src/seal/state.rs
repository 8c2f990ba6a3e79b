//! The state of a signer: its keys, and the newest seal that the sink has stored.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signed_note::StandardSigner;

use super::checkpoint::{Checkpoint, Seal, SealError};
use super::keys::Keys;
use super::tree::{Tree, encoded};
use crate::host::log;
use crate::ids::{Position, PublisherId};

/// The least number of certificates in a seal that has any: the newest.
const CERTIFICATES_MIN: usize = 16;
const CERTIFICATES_MAX: usize = 64;
/// How often a seal includes certificates while the key stays the same.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(60);

pub(super) struct SignerState {
    pub(super) keys: Arc<Keys>,
    key: StandardSigner,
    pub(super) rotation: Rotation,
    /// The newest seal that the sink has stored, and its tree.
    pub(super) stored: Option<(Seal, Tree)>,
    pub(super) written: Written,
    pub(super) certificates_at: Option<Instant>,
}

/// Whether this process has taken a new key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    Due,
    /// It failed, which is logged once.
    Failed,
    Done,
}

/// Whether the newest stored seal is on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    No,
    Yes,
}

/// The content of a seal about its tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) through: Option<Position>,
    /// Entries of its batch come after it.
    pub(crate) is_open: bool,
    /// How many of all its entries were found in the sink, without a record of having sent them.
    pub(crate) recovered: u64,
}

impl SignerState {
    /// With the newest stored seal as found on disk, if it is ours: a power cut may have damaged it.
    pub(super) fn new(keys: Keys, stored: Option<Seal>) -> Result<Self, SealError> {
        let mut state = Self {
            key: keys.signer()?,
            keys: Arc::new(keys),
            rotation: Rotation::Due,
            stored: None,
            written: Written::Yes,
            certificates_at: None,
        };
        state.stored = stored.and_then(|seal| {
            let (tree, _) = state.recognize(state.keys.publisher, &seal).ok()?;
            Some((seal, tree))
        });
        Ok(state)
    }

    pub(super) fn sign(&self, tree: &Tree, statement: Statement) -> Result<Seal, SealError> {
        let checkpoint = Checkpoint {
            is_open: statement.is_open,
            recovered: statement.recovered.max(self.recovered()),
            ..Checkpoint::of(self.keys.publisher, tree, statement.through)
        };
        Ok(Seal {
            checkpoint: checkpoint.sign(&self.key)?,
            key: self.keys.public.clone(),
            peaks: tree.peaks().iter().map(encoded).collect(),
            certificates: self.certificates(),
        })
    }

    /// The tree of the seal, if it is ours.
    pub(super) fn recognize(
        &self,
        publisher: PublisherId,
        seal: &Seal,
    ) -> Result<(Tree, Checkpoint), SealError> {
        if let Some((known, tree)) = &self.stored
            && known.checkpoint == seal.checkpoint
        {
            return Ok((tree.clone(), Checkpoint::parse(&seal.checkpoint)?));
        }
        let checkpoint = Checkpoint::open(&seal.checkpoint, &seal.key)?;
        if checkpoint.publisher() != Some(publisher) || !self.is_ours(seal) {
            return Err(SealError::NotSigned(seal.key.clone()));
        }
        Ok((seal.tree()?, checkpoint))
    }

    /// Whether its key is one of ours, or certified by ours: the keys of an older copy of the directory do not include
    /// the newest.
    fn is_ours(&self, seal: &Seal) -> bool {
        let certified = self.keys.certificates.iter();
        let certified = certified.filter_map(|it| Checkpoint::parse(it).ok()?.next);
        let ours = [self.keys.public.clone(), self.keys.first.clone()];
        let ours: Vec<_> = certified.chain(ours).collect();
        if ours.contains(&seal.key) {
            return true;
        }
        let mut at = self.keys.public.clone();
        for certificate in &seal.certificates {
            if let Ok(checkpoint) = Checkpoint::open(certificate, &at)
                && let Some(next) = checkpoint.next
            {
                at = next;
            }
        }
        at == seal.key
    }

    fn recovered(&self) -> u64 {
        let newest = self.stored.as_ref().map(|(seal, _)| &seal.checkpoint);
        newest
            .and_then(|note| Checkpoint::parse(note).ok())
            .map_or(0, |it| it.recovered)
    }

    /// Certificates that lead from the key of the newest stored seal to the present one, and once a minute the newest
    /// ones.
    fn certificates(&self) -> Vec<String> {
        let all = &self.keys.certificates;
        let known = self.stored.as_ref().map(|(seal, _)| &seal.key);
        let again = self
            .certificates_at
            .is_none_or(|at| at.elapsed() >= CERTIFICATES_EVERY);
        if known == Some(&self.keys.public) && !again {
            return Vec::new();
        }
        let names = |it: &String| Checkpoint::parse(it).ok().and_then(|it| it.next);
        let from = all.iter().rposition(|it| names(it).as_ref() == known);
        let since = from.map_or(all.len(), |from| all.len() - from - 1);
        let count = since
            .clamp(CERTIFICATES_MIN, CERTIFICATES_MAX)
            .min(all.len());
        all[all.len() - count..].to_vec()
    }

    /// Uses the keys as they are now on disk.
    pub(super) fn adopt(&mut self, keys: Keys, changed: Result<(), SealError>) {
        match changed.and_then(|()| keys.signer()) {
            Ok(key) => {
                self.key = key;
                self.keys = Arc::new(keys);
                self.rotation = Rotation::Done;
                self.certificates_at = None;
            }
            Err(error) if self.rotation == Rotation::Due => {
                log::error!(%error, "cannot change the signing key: signing with the previous one");
                self.rotation = Rotation::Failed;
            }
            Err(_) => {}
        }
    }
}

impl fmt::Debug for SignerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.fmt(f)
    }
}
