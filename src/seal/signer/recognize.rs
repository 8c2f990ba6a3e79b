//! Recognises our own seals in a sink.

use super::State;
use crate::event::PublisherId;
use crate::seal::{Checkpoint, Seal, SealError, Tree};

impl State {
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
}
