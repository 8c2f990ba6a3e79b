//! Whose keys have signed: from the keys that an auditor trusts, each certificate leads to the next.
//!
//! A trail that has lost its beginning may have lost the certificates as well: a seal whose key nothing leads to yet is unproven. What
//! it covers counts once a later seal with a proven key covers it too, since the tree of that one has the same entries.

use std::collections::HashMap;

use spillring::event::PublisherId;
use spillring::seal::{Checkpoint, Seal};

use super::Complaint;
use super::log::{By, Mark};
use crate::verify::finding::Kind;

#[derive(Debug, Default)]
pub(super) struct Keys {
    of: HashMap<PublisherId, Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Keys that somebody vouches for.
    anchors: Vec<Anchor>,
    /// Those that have signed, one after the other.
    keys: Vec<String>,
    /// What was signed before the present key.
    size_min: u64,
    trusted: Trusted,
}

/// A key that somebody vouches for, and how large the tree was that it went on from, if that is known.
#[derive(Debug, Clone)]
struct Anchor {
    key: String,
    size_min: u64,
}

/// Whether somebody vouches for the keys.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trusted {
    #[default]
    No,
    Yes,
}

/// Whether the key of a seal is known to be its publisher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proven {
    No,
    Yes,
}

/// A seal whose signature holds.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) checkpoint: Checkpoint,
    pub(super) proven: Proven,
    /// What the certificates say that lead to its key.
    pub(super) marks: Vec<Mark>,
}

impl Keys {
    /// Takes a key that the auditor knows to be this publisher's, or has only seen, and those that certificates lead to from there.
    pub(super) fn anchor(
        &mut self,
        publisher: PublisherId,
        key: &str,
        certificates: &[String],
        trusted: Trusted,
    ) {
        let chain = self.of.entry(publisher).or_default();
        if trusted == Trusted::Yes {
            chain.trusted = trusted;
        }
        let mut at = Anchor::new(key);
        for certificate in certificates {
            if let Ok(said) = Checkpoint::open(certificate, &at.key)
                && let Some(next) = said.next
            {
                let size_min = said.size;
                let before = std::mem::replace(
                    &mut at,
                    Anchor {
                        key: next,
                        size_min,
                    },
                );
                chain.anchors.push(before);
            }
        }
        chain.anchors.push(at);
    }

    pub(super) fn current(&self, publisher: PublisherId) -> &str {
        let chain = self.of.get(&publisher);
        let newest = chain.and_then(|chain| chain.keys.last());
        newest.map_or("", String::as_str)
    }

    pub(super) fn trusted(&self, publisher: PublisherId) -> Trusted {
        self.of
            .get(&publisher)
            .map_or(Trusted::No, |chain| chain.trusted)
    }

    /// The checkpoint of a seal, if its publisher may have signed it.
    pub(super) fn open(
        &mut self,
        publisher: PublisherId,
        seal: &Seal,
    ) -> Result<Opened, Complaint> {
        let not_signed = |error| {
            (
                Kind::NotSigned,
                format!("a checkpoint does not count: {error}"),
            )
        };
        let checkpoint = Checkpoint::open(&seal.checkpoint, &seal.key).map_err(not_signed)?;
        if checkpoint.publisher() != Some(publisher) {
            let origin = &checkpoint.origin;
            let text = format!("a checkpoint of {origin} is with a cursor of another publisher");
            return Err((Kind::NotSigned, text));
        }
        let chain = self.of.entry(publisher).or_default();
        let marks = chain.follow(seal)?;
        let proven = if chain.keys.last() == Some(&seal.key) {
            Proven::Yes
        } else {
            Proven::No
        };
        if proven == Proven::Yes && checkpoint.size < chain.size_min {
            let text = format!(
                "a key that goes on from {} entries has signed {}",
                chain.size_min, checkpoint.size
            );
            return Err((Kind::CheckpointBack, text));
        }
        Ok(Opened {
            checkpoint,
            proven,
            marks,
        })
    }
}

impl Chain {
    /// Follows the certificates of a seal to its key, if they lead there.
    fn follow(&mut self, seal: &Seal) -> Result<Vec<Mark>, Complaint> {
        if self.keys.last() == Some(&seal.key) {
            return Ok(Vec::new());
        }
        if self.keys.is_empty() && self.anchors.is_empty() {
            // Nobody vouches for it: what comes first is believed.
            self.anchors.push(Anchor::new(&seal.key));
        }
        let unused = |anchor: &&Anchor| !self.keys.contains(&anchor.key);
        let anchors = self.anchors.iter().filter(unused);
        let present = self.keys.last().map(|key| Anchor {
            key: key.clone(),
            size_min: self.size_min,
        });
        let starts: Vec<_> = present.into_iter().chain(anchors.cloned()).collect();
        for start in starts {
            let (reached, marks) = lead(&start.key, seal);
            if reached != seal.key {
                continue;
            }
            let sizes = marks.iter().map(|mark| mark.size);
            if sizes
                .clone()
                .chain([start.size_min])
                .any(|size| size < self.size_min)
            {
                let text = "a key goes on from fewer entries than the one before".to_owned();
                return Err((Kind::CheckpointBack, text));
            }
            self.size_min = sizes.fold(start.size_min, u64::max);
            self.keys.push(reached);
            return Ok(marks);
        }
        if self.keys.contains(&seal.key) {
            let text = format!(
                "{} has signed again after the key that took its place",
                seal.key
            );
            return Err((Kind::NotSigned, text));
        }
        Ok(Vec::new())
    }
}

impl Anchor {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            size_min: 0,
        }
    }
}

/// How far the certificates of a seal lead from this key, and what they say.
fn lead(from: &str, seal: &Seal) -> (String, Vec<Mark>) {
    let (mut at, mut marks) = (from.to_owned(), Vec::new());
    for certificate in &seal.certificates {
        if at == seal.key {
            break;
        }
        if let Ok(said) = Checkpoint::open(certificate, &at)
            && let Some(next) = said.next
        {
            marks.push(Mark {
                size: said.size,
                root: said.root,
                by: By::Certificate,
            });
            at = next;
        }
    }
    (at, marks)
}
