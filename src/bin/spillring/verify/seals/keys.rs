//! Whose keys have signed: each certificate leads from one key to the next, beginning with those that the auditor
//! trusts.
//!
//! A trail that has lost its beginning may have lost certificates as well. A seal is unproven while no certificate
//! leads to its key. The entries under it count as signed once a later, proven seal covers them: its tree contains the
//! same entries.

use std::collections::HashMap;

use spillring::event::PublisherId;
use spillring::seal::{Checkpoint, Seal};

use super::Complaint;
use super::log::{By, Mark};
use crate::verify::finding::Kind;

#[derive(Debug, Default)]
pub(super) struct SealKeys {
    of: HashMap<PublisherId, Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Keys to start from.
    anchors: Vec<Anchor>,
    /// Keys that have signed, in order.
    keys: Vec<String>,
    /// The size of the tree when the current key took over.
    size_min: u64,
    trusted: Trusted,
}

/// A key to start from, and the size of the tree when it took over; 0 if unknown.
#[derive(Debug, Clone)]
struct Anchor {
    key: String,
    size_min: u64,
}

/// Whether the auditor trusts the keys.
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
pub(super) struct OpenedSeal {
    pub(super) checkpoint: Checkpoint,
    pub(super) proven: Proven,
    /// The sizes and roots in the certificates that lead to its key.
    pub(super) marks: Vec<Mark>,
}

impl SealKeys {
    /// Adds a key of this publisher, which the auditor either trusts or has only seen, and the keys that its
    /// certificates lead to.
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
            if let Ok(certified) = Checkpoint::open(certificate, &at.key)
                && let Some(next) = certified.next
            {
                let size_min = certified.size;
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
    ) -> Result<OpenedSeal, Complaint> {
        let not_signed = |error| {
            (
                Kind::NotSigned,
                format!("a checkpoint is not valid: {error}"),
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
                "a key that took over at {} entries has signed only {}",
                chain.size_min, checkpoint.size
            );
            return Err((Kind::CheckpointBack, text));
        }
        Ok(OpenedSeal {
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
            // No key is known: trust on first use.
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
                let text = "a key took over at fewer entries than the previous one".to_owned();
                return Err((Kind::CheckpointBack, text));
            }
            self.size_min = sizes.fold(start.size_min, u64::max);
            self.keys.push(reached);
            return Ok(marks);
        }
        if self.keys.contains(&seal.key) {
            let text = format!(
                "{} has signed again after the key that replaced it",
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

/// The key that the certificates of a seal lead to from this one, and the sizes and roots in them.
fn lead(from: &str, seal: &Seal) -> (String, Vec<Mark>) {
    let (mut at, mut marks) = (from.to_owned(), Vec::new());
    for certificate in &seal.certificates {
        if at == seal.key {
            break;
        }
        if let Ok(certified) = Checkpoint::open(certificate, &at)
            && let Some(next) = certified.next
        {
            marks.push(Mark {
                size: certified.size,
                root: certified.root,
                by: By::Certificate,
            });
            at = next;
        }
    }
    (at, marks)
}
