//! Whose keys have signed: from the keys that an auditor trusts, each certificate leads to the next.

use std::collections::HashMap;

use spillring::PublisherId;
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
    /// Keys of this publisher that count, the present one last.
    keys: Vec<String>,
    /// Smaller trees were signed with the key before.
    size_min: u64,
    trusted: Trusted,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Trusted {
    /// Nobody vouches for the first key.
    #[default]
    No,
    Yes,
}

impl Keys {
    /// Takes a key that the auditor knows to be this publisher's.
    pub(super) fn trust(&mut self, publisher: PublisherId, key: String) {
        let chain = self.of.entry(publisher).or_default();
        chain.trusted = Trusted::Yes;
        chain.keys.push(key);
    }

    pub(super) fn current(&self, publisher: PublisherId) -> Option<&str> {
        self.of.get(&publisher)?.keys.last().map(String::as_str)
    }

    /// Whether nobody vouches for some key that has signed.
    pub(super) fn untrusted(&self) -> bool {
        self.of.values().any(|chain| chain.trusted == Trusted::No)
    }

    /// The checkpoint of a seal, and what the certificates say that lead to its key, if a key of its publisher has signed it.
    pub(super) fn open(
        &mut self,
        publisher: PublisherId,
        seal: &Seal,
    ) -> Result<(Checkpoint, Vec<Mark>), Complaint> {
        let not_signed = |error| {
            (
                Kind::NotSigned,
                format!("a checkpoint does not count: {error}"),
            )
        };
        let checkpoint = Checkpoint::open(&seal.checkpoint, &seal.key).map_err(not_signed)?;
        if checkpoint.publisher() != Some(publisher) {
            let text = format!(
                "a checkpoint of {} is with a cursor of another publisher",
                checkpoint.origin
            );
            return Err((Kind::NotSigned, text));
        }
        let marks = self.follow(publisher, seal)?;
        let size_min = self.of.get(&publisher).map_or(0, |chain| chain.size_min);
        if checkpoint.size < size_min {
            let text = format!(
                "a key that goes on from {size_min} entries has signed {}",
                checkpoint.size
            );
            return Err((Kind::CheckpointBack, text));
        }
        Ok((checkpoint, marks))
    }

    /// Follows the certificates of a seal to its key.
    fn follow(&mut self, publisher: PublisherId, seal: &Seal) -> Result<Vec<Mark>, Complaint> {
        let mut marks = Vec::new();
        if self.current(publisher) == Some(seal.key.as_str()) {
            return Ok(marks);
        }
        let mut reached = None;
        for certificate in &seal.certificates {
            let Ok(said) = Checkpoint::parse(certificate) else {
                continue;
            };
            let signed = |key: &&String| Checkpoint::open(certificate, key).is_ok();
            let known = said.publisher().and_then(|of| self.of.get(&of));
            let known = known.is_some_and(|chain| chain.keys.iter().any(|key| signed(&key)));
            let reached_it = reached.as_ref().is_some_and(|(key, _)| signed(&key));
            if (known || reached_it)
                && let Some(next) = said.next.clone()
            {
                // The log of a publisher that took another id begins with nothing.
                let of_us = next.starts_with(&format!("spillring/{publisher}+"));
                reached = of_us.then_some((next, said.size));
                if said.publisher() == Some(publisher) {
                    marks.push(Mark {
                        size: said.size,
                        root: said.root,
                        by: By::Certificate,
                    });
                }
            }
        }
        let chain = self.of.entry(publisher).or_default();
        match reached.filter(|(key, _)| *key == seal.key) {
            Some((key, size)) => {
                chain.trusted = if chain.keys.is_empty() {
                    Trusted::Yes
                } else {
                    chain.trusted
                };
                chain.keys.push(key);
                chain.size_min = size;
                Ok(marks)
            }
            None if chain.keys.is_empty() => {
                chain.keys.push(seal.key.clone());
                Ok(marks)
            }
            None => {
                let text = format!("no certificate leads to the key {}", seal.key);
                Err((Kind::KeyUnknown, text))
            }
        }
    }
}
