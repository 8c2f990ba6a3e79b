//! Compares the tree of the entries with the signed one.

use std::cmp::Ordering;

use indicatif::HumanCount;
use spillring::seal::{Checkpoint, Hash, Tree};

use super::{By, Covers, Log, Start, TreeSoFar};
use crate::verify::finding::Kind;
use crate::verify::seals::keys::Proven;
use crate::verify::seals::{Complaint, same};

impl Log {
    /// Compares the tree with signed trees and marks of its size.
    pub(super) fn reach(&mut self) -> Option<Complaint> {
        let TreeSoFar::Yes(tree) = &self.tree else {
            return None;
        };
        let size = tree.size();
        let front = self.expected.front();
        let expected = if front.is_some_and(|(expected, _)| expected.size() == size) {
            self.expected.pop_front()
        } else {
            None
        };
        let marked = self.marks.iter().any(|mark| mark.size == size);
        if expected.is_none() && !marked {
            return None;
        }
        let root = tree.root();
        let wrong = self.meet(size, root);
        if let Some((expected, proven)) = expected {
            if expected.root() != root {
                self.unsigned += std::mem::take(&mut self.open);
                self.go_on(expected);
                return Some(differ(size));
            }
            self.fits(proven);
        }
        wrong
    }

    /// Compares this root with the marks at this size.
    pub(super) fn meet(&mut self, size: u64, root: Hash) -> Option<Complaint> {
        let here = self.marks.extract_if(.., |mark| mark.size == size);
        let here: Vec<_> = here.collect();
        if here.iter().any(|mark| mark.by == By::LastAudit) {
            // The last audit has seen what came before.
            self.late = None;
        }
        let wrong = here.into_iter().rfind(|mark| mark.root != root)?;
        let by = match wrong.by {
            By::LastAudit => "the last audit has seen",
            By::Certificate => "the previous key has signed",
        };
        let count = HumanCount(size);
        let text = format!("its first {count} entries are not those that {by}");
        Some((Kind::Forked, text))
    }

    /// The entries up to here match what was signed.
    pub(super) fn fits(&mut self, proven: Proven) {
        let entries = std::mem::take(&mut self.open);
        match proven {
            Proven::Yes => self.covered += entries + std::mem::take(&mut self.held),
            Proven::No => self.held += entries,
        }
    }

    /// Ends the batch of the first seal. If the seal counts no other entries, the tree begins with this batch.
    pub(super) fn begin_with_batch(&mut self) -> Option<Complaint> {
        if !matches!(self.tree, TreeSoFar::Soon { .. }) {
            return None;
        }
        let TreeSoFar::Soon {
            sealed,
            entries,
            passed,
            start,
            proven,
            ..
        } = std::mem::take(&mut self.tree)
        else {
            return None;
        };
        let count = entries.size();
        if count != sealed.size() {
            self.head += count;
            let complaint = self.begins_late(count, sealed.size(), start);
            self.go_on(sealed);
            return complaint.or(self.reach());
        }
        self.unsigned += std::mem::take(&mut self.head);
        let differs = !same(&sealed, &entries);
        self.open = count;
        if differs {
            self.unsigned += std::mem::take(&mut self.open);
        } else {
            self.fits(proven);
        }
        self.tree = TreeSoFar::Yes(sealed);
        let reached = passed
            .into_iter()
            .find_map(|(size, root)| self.meet(size, root));
        if differs {
            Some(differ(count))
        } else {
            reached
        }
    }

    /// Compares the entries that are there with the size in the first seal.
    pub(super) fn begins_late(
        &mut self,
        there: u64,
        signed: u64,
        start: Start,
    ) -> Option<Complaint> {
        match there.cmp(&signed) {
            Ordering::Equal => None,
            Ordering::Less if start == Start::MayBeGone => {
                self.late = Some(signed - there);
                None
            }
            Ordering::Less => {
                let count = HumanCount(signed - there);
                let text =
                    format!("{count} signed entries are missing before the first that is there");
                Some((Kind::SignedMissing, text))
            }
            Ordering::Greater => {
                let count = HumanCount(there - signed);
                let text = format!("{count} entries that are there are not signed");
                Some((Kind::SignedExtra, text))
            }
        }
    }

    /// Reports signed trees whose entries have not come.
    pub(super) fn unmet(&mut self) -> Option<Complaint> {
        let TreeSoFar::Yes(tree) = &self.tree else {
            return None;
        };
        let (signed, _) = self.expected.drain(..).next_back()?;
        let missing = signed.size().saturating_sub(tree.size());
        self.unsigned += std::mem::take(&mut self.open);
        self.go_on(signed);
        let count = HumanCount(missing);
        Some((
            Kind::SignedMissing,
            format!("{count} signed entries are missing"),
        ))
    }

    pub(super) fn compare(
        &mut self,
        sealed: &Tree,
        covers: Covers,
        proven: Proven,
    ) -> Option<Complaint> {
        let TreeSoFar::Yes(tree) = &self.tree else {
            return None;
        };
        let (there, signed) = (tree.size(), sealed.size());
        if signed > there && covers == Covers::Batch {
            self.expected.push_back((sealed.clone(), proven));
            return None;
        }
        let complaint = if signed > there {
            let count = HumanCount(signed - there);
            let text = format!("{count} signed entries are missing");
            Some((Kind::SignedMissing, text))
        } else if signed < there {
            let count = HumanCount(there - signed);
            let text = format!("{count} entries that are there are not signed");
            Some((Kind::SignedExtra, text))
        } else if same(tree, sealed) {
            self.fits(proven);
            return None;
        } else {
            Some(differ(signed))
        };
        self.unsigned += std::mem::take(&mut self.open);
        self.go_on(sealed.clone());
        complaint
    }
}

fn differ(size: u64) -> Complaint {
    let text = format!(
        "the entries up to here, {} in all, do not match what was signed",
        HumanCount(size)
    );
    (Kind::NotAsSigned, text)
}

/// A checkpoint must not cover fewer entries than the one before, nor as many with another root.
pub(super) fn went_back(before: &Checkpoint, now: &Checkpoint) -> Option<Complaint> {
    let (had, has) = (HumanCount(before.size), HumanCount(now.size));
    if now.size < before.size {
        let text = format!("it had signed {had} entries, and signs {has} after that");
        return Some((Kind::CheckpointBack, text));
    }
    if now.size == before.size && now.root != before.root {
        let text = format!("two checkpoints of {has} entries have different roots");
        return Some((Kind::Forked, text));
    }
    None
}
