//! The tree of one publisher, built from its entries and compared with what it has signed.

mod compare;

use std::collections::VecDeque;

use indicatif::HumanCount;
use spillring::event::Position;
use spillring::seal::{Checkpoint, Hash, Leaf, Tree};

use self::compare::went_back;
use super::Complaint;
use super::keys::Proven;
use super::proof::{KeptHashes, Proof};
use crate::verify::finding::Kind;
use crate::verify::judge::Writers;

/// Which entries a seal covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum Covers {
    /// Entries before it.
    Before,
    /// The entries of its batch as well, which may come after it.
    Batch,
    /// Entries of an earlier part of the trail, which need not be here.
    Earlier,
}

/// Whether the beginning of the trail may have been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Kept,
    MayBeGone,
}

/// An upper bound on the entries of a batch.
pub(super) const BATCH_MAX: u64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct Log {
    tree: TreeSoFar,
    /// Signed trees whose last entries are still to come.
    expected: VecDeque<(Tree, Proven)>,
    /// Known roots at certain sizes.
    marks: Vec<Mark>,
    newest: Option<Newest>,
    kept: KeptHashes,
    /// How many signed entries precede the first one that is left. The auditor must accept that they are gone.
    late: Option<u64>,
    /// Entries since the last seal that matched.
    open: u64,
    /// Entries covered only by seals with unproven keys.
    held: u64,
    /// Entries after the newest checkpoint.
    pub(super) tail: u64,
    /// Entries covered by a signature.
    pub(super) covered: u64,
    /// Entries before the first seal.
    pub(super) head: u64,
    /// Entries that no seal covers.
    pub(super) unsigned: u64,
}

/// A known root of the tree at some size.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    LastAudit,
    /// The previous key, when it certified the next.
    Certificate,
}

/// The newest checkpoint, and its signed text.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) checkpoint: Checkpoint,
    pub(super) note: String,
}

/// Whether the tree of the entries so far is known.
#[derive(Debug, Default)]
enum TreeSoFar {
    /// No seal yet.
    #[default]
    No,
    /// The first seal was read, and entries of its batch may follow. If the seal counts no others, the tree begins
    /// with them.
    Soon {
        sealed: Tree,
        through: Option<Position>,
        entries: Tree,
        /// The roots at marked sizes.
        passed: Vec<(u64, Hash)>,
        start: Start,
        proven: Proven,
    },
    Yes(Tree),
}

impl Log {
    /// Adds a size at which the tree must have this root.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    pub(super) fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// Counts entries that came before their publisher was known.
    pub(super) fn before(&mut self, count: u64) {
        match self.tree {
            TreeSoFar::No | TreeSoFar::Soon { .. } => self.head += count,
            TreeSoFar::Yes(_) => self.unsigned += count,
        }
    }

    /// Continues from this tree, whatever entries came before.
    fn go_on(&mut self, tree: Tree) {
        self.kept.begin(&tree);
        self.tree = TreeSoFar::Yes(tree);
    }

    /// A log that keeps the hashes for the proof of this entry.
    pub(super) fn keeping(entry: Option<Position>) -> Self {
        Self {
            kept: KeptHashes::of(entry),
            ..Self::default()
        }
    }

    /// The proof that the wanted entry is in the tree of this checkpoint.
    pub(super) fn prove(&self, newest: &Newest, key: &str) -> Result<Proof, &'static str> {
        let text = self.kept.prove(newest.checkpoint.size, &newest.note)?;
        Ok(Proof {
            text,
            key: key.to_owned(),
        })
    }

    /// The tree begins here.
    pub(super) fn begin(&mut self) {
        if matches!(self.tree, TreeSoFar::No) {
            self.unsigned += std::mem::take(&mut self.head);
            self.go_on(Tree::default());
        }
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf<'_>) -> Option<Complaint> {
        match &mut self.tree {
            TreeSoFar::No => self.head += 1,
            TreeSoFar::Soon {
                through,
                entries,
                passed,
                ..
            } => {
                let hash = leaf.hash();
                entries.push(hash);
                if self.marks.iter().any(|mark| mark.size == entries.size()) {
                    passed.push((entries.size(), entries.root()));
                }
                self.kept.push(leaf, hash);
                if *through == Some(leaf.id) {
                    return self.begin_with_batch();
                }
            }
            TreeSoFar::Yes(tree) => {
                let hash = leaf.hash();
                tree.push(hash);
                self.kept.push(leaf, hash);
                self.open += 1;
                return self.reach();
            }
        }
        None
    }

    /// Takes a seal whose signature holds.
    pub(super) fn seal(
        &mut self,
        sealed: &Tree,
        newest: Newest,
        covers: Covers,
        start: Start,
        proven: Proven,
    ) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        complaints.extend(self.begin_with_batch());
        let through = newest.checkpoint.through;
        if proven == Proven::Yes {
            if let Some(before) = &self.newest {
                complaints.extend(went_back(&before.checkpoint, &newest.checkpoint));
            }
            self.newest = Some(newest);
        }
        if let TreeSoFar::No = self.tree {
            if covers == Covers::Batch && sealed.size() > 0 {
                self.tree = TreeSoFar::Soon {
                    sealed: sealed.clone(),
                    through,
                    entries: Tree::default(),
                    passed: Vec::new(),
                    start,
                    proven,
                };
                return complaints;
            }
            complaints.extend(self.begins_late(0, sealed.size(), start));
            if sealed.size() == 0 {
                self.unsigned += std::mem::take(&mut self.head);
            }
            self.go_on(sealed.clone());
            complaints.extend(self.reach());
            return complaints;
        }
        complaints.extend(self.unmet());
        complaints.extend(self.compare(sealed, covers, proven));
        complaints
    }

    /// A cursor without a seal.
    pub(super) fn unsealed(&mut self) -> Option<Complaint> {
        self.unsigned += std::mem::take(&mut self.open);
        if let TreeSoFar::No = self.tree {
            self.unsigned += std::mem::take(&mut self.head);
            return None;
        }
        self.tree = TreeSoFar::No;
        self.expected.clear();
        let text = "its checkpoints end here: from here on nothing is signed".to_owned();
        Some((Kind::SealMissing, text))
    }

    /// The trail ends here.
    pub(super) fn finish(
        &mut self,
        writers: Writers,
        accepted: bool,
        retired: bool,
    ) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        complaints.extend(self.begin_with_batch());
        if writers == Writers::Idle {
            complaints.extend(self.unmet());
        }
        let newest = self.newest.as_ref().map(|newest| &newest.checkpoint);
        let (size, is_open) = newest.map_or((0, false), |it| (it.size, it.is_open));
        let recovered = newest.map_or(0, |it| it.recovered);
        let open = std::mem::take(&mut self.open);
        if writers == Writers::Active && is_open && open <= BATCH_MAX {
            self.tail = open;
        } else {
            self.unsigned += open;
        }
        if recovered > 0 {
            let count = HumanCount(recovered);
            let text = format!(
                "{count} entries were found in the stream after kills, and signed as found"
            );
            complaints.push((Kind::Recovered, text));
        }
        if let Some(late) = self.late.filter(|_| !accepted) {
            let count = HumanCount(late);
            let text = format!(
                "{count} signed entries come before the first that is left: give `--since` of an audit that has seen them, or `--head-removed`"
            );
            complaints.push((Kind::SignedMissing, text));
        }
        if self.held > 0 {
            let count = HumanCount(self.held);
            let text = format!("{count} entries are signed with keys that no certificate leads to");
            complaints.push((Kind::KeyUnknown, text));
            self.unsigned += std::mem::take(&mut self.held);
        }
        let since = self.marks.iter().find(|mark| mark.by == By::LastAudit);
        if let Some(since) = since.map(|mark| mark.size).filter(|_| !retired) {
            complaints.push(if size < since {
                let (had, has) = (HumanCount(since), HumanCount(size));
                let text =
                    format!("it had {had} entries at the last audit, and has signed {has} now");
                (Kind::RolledBack, text)
            } else {
                let text =
                    "its trail begins after the end of the last audit: the two cannot be compared";
                (Kind::SinceUnchecked, text.to_owned())
            });
        }
        complaints
    }
}
