//! The tree of one publisher, as its entries make it, held against what it has signed.

use std::cmp::Ordering;
use std::collections::VecDeque;

use indicatif::HumanCount;
use spillring::Position;
use spillring::seal::{Checkpoint, Hash, Leaf, Tree};

use super::proof::{Kept, Proof};
use super::{Complaint, same};
use crate::verify::finding::Kind;

/// Which entries a seal covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum Covers {
    /// Those before it.
    Before,
    /// Those of its batch as well, which may come after it.
    Batch,
    /// Those of an earlier part of the trail, which need not be here.
    Earlier,
}

/// Whether what holds the trail may have let go of its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Kept,
    MayBeGone,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    tree: Known,
    /// Trees that were signed, and whose last entries are still to come.
    expected: VecDeque<Tree>,
    /// What the tree must be at these sizes.
    marks: Vec<Mark>,
    newest: Option<Newest>,
    kept: Kept,
    /// Entries since the last seal that fitted.
    open: u64,
    /// Entries that are covered by a signature.
    pub(super) covered: u64,
    /// Entries before the first seal.
    pub(super) head: u64,
    /// Entries that no seal covers.
    pub(super) unsigned: u64,
}

/// What the tree must be at some size, as somebody knows who has seen it.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    LastAudit,
    /// The key before, when it certified the next.
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
enum Known {
    /// No seal was met yet.
    #[default]
    No,
    /// The first seal was met, and entries of its batch may follow: if they are all that it counts, the tree begins with them.
    Soon {
        sealed: Tree,
        through: Option<Position>,
        entries: Tree,
        head: Head,
    },
    Yes(Tree),
}

impl Log {
    /// The tree must come by this.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    pub(super) fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// There were entries of it before anything said that they are.
    pub(super) fn before(&mut self, count: u64) {
        match self.tree {
            Known::No => self.head += count,
            _ => self.unsigned += count,
        }
    }

    /// The tree is this one, whatever the entries so far have made.
    fn go_on(&mut self, tree: Tree) {
        self.kept.begin(&tree);
        self.tree = Known::Yes(tree);
    }

    /// One that keeps what the proof of this entry takes.
    pub(super) fn keeping(entry: Option<Position>) -> Self {
        Self {
            kept: Kept::of(entry),
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
        if matches!(self.tree, Known::No) {
            self.unsigned += std::mem::take(&mut self.head);
            self.go_on(Tree::default());
        }
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf<'_>) -> Option<Complaint> {
        match &mut self.tree {
            Known::No => self.head += 1,
            Known::Soon {
                through, entries, ..
            } => {
                let hash = leaf.hash();
                entries.push(hash);
                self.kept.push(leaf, hash);
                if *through == Some(leaf.id) {
                    return self.begin_with_batch();
                }
            }
            Known::Yes(tree) => {
                let hash = leaf.hash();
                tree.push(hash);
                self.kept.push(leaf, hash);
                self.open += 1;
                return self.reach();
            }
        }
        None
    }

    /// The tree has come to a size: what was signed or seen of that size must be it.
    fn reach(&mut self) -> Option<Complaint> {
        let Known::Yes(tree) = &self.tree else {
            return None;
        };
        let size = tree.size();
        let expected = self
            .expected
            .pop_front_if(|expected| expected.size() == size);
        let marked = self.marks.iter().any(|mark| mark.size == size);
        if expected.is_none() && !marked {
            return None;
        }
        let root = tree.root();
        let here = self.marks.extract_if(.., |mark| mark.size == size);
        let wrong = here.filter(|mark| mark.root != root).last();
        if let Some(expected) = expected {
            if expected.root() != root {
                self.unsigned += std::mem::take(&mut self.open);
                self.go_on(expected);
                return Some(differ(size));
            }
            self.covered += std::mem::take(&mut self.open);
        }
        wrong.map(|mark| {
            let count = HumanCount(size);
            let by = match mark.by {
                By::LastAudit => "the last audit has seen",
                By::Certificate => "the key before has signed",
            };
            (
                Kind::Forked,
                format!("its first {count} entries are not those that {by}"),
            )
        })
    }

    /// The batch of the first seal is there. The tree begins with it, if it is all that the seal counts.
    fn begin_with_batch(&mut self) -> Option<Complaint> {
        if !matches!(self.tree, Known::Soon { .. }) {
            return None;
        }
        let Known::Soon {
            sealed,
            entries,
            head,
            ..
        } = std::mem::take(&mut self.tree)
        else {
            return None;
        };
        let count = entries.size();
        if count != sealed.size() {
            self.head += count;
            let complaint = begins_late(count, sealed.size(), head);
            self.go_on(sealed);
            return complaint.or(self.reach());
        }
        self.unsigned += std::mem::take(&mut self.head);
        let differs = !same(&sealed, &entries);
        if differs {
            self.unsigned += count;
        } else {
            self.covered += count;
        }
        self.tree = Known::Yes(sealed);
        let reached = self.reach();
        if differs {
            Some(differ(count))
        } else {
            reached
        }
    }

    /// Takes a seal whose signature holds.
    pub(super) fn seal(
        &mut self,
        sealed: &Tree,
        newest: Newest,
        covers: Covers,
        head: Head,
    ) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        complaints.extend(self.begin_with_batch());
        if let Some(before) = &self.newest {
            complaints.extend(went_back(&before.checkpoint, &newest.checkpoint));
        }
        let through = newest.checkpoint.through;
        self.newest = Some(newest);
        if let Known::No = self.tree {
            if covers == Covers::Batch && sealed.size() > 0 {
                self.tree = Known::Soon {
                    sealed: sealed.clone(),
                    through,
                    entries: Tree::default(),
                    head,
                };
                return complaints;
            }
            complaints.extend(begins_late(0, sealed.size(), head));
            if sealed.size() == 0 {
                self.unsigned += std::mem::take(&mut self.head);
            }
            self.go_on(sealed.clone());
            complaints.extend(self.reach());
            return complaints;
        }
        complaints.extend(self.unmet());
        complaints.extend(self.compare(sealed, covers));
        complaints
    }

    /// A tree that was signed has not been reached.
    fn unmet(&mut self) -> Option<Complaint> {
        let Known::Yes(tree) = &self.tree else {
            return None;
        };
        let signed = self.expected.drain(..).next_back()?;
        let missing = signed.size().saturating_sub(tree.size());
        self.unsigned += std::mem::take(&mut self.open);
        self.go_on(signed);
        let count = HumanCount(missing);
        Some((
            Kind::SignedMissing,
            format!("{count} entries that are signed are not there"),
        ))
    }

    fn compare(&mut self, sealed: &Tree, covers: Covers) -> Option<Complaint> {
        let Known::Yes(tree) = &self.tree else {
            return None;
        };
        let (there, signed) = (tree.size(), sealed.size());
        if signed > there && covers == Covers::Batch {
            self.expected.push_back(sealed.clone());
            return None;
        }
        let complaint = if signed > there {
            let count = HumanCount(signed - there);
            let text = format!("{count} entries that are signed are not there");
            Some((Kind::SignedMissing, text))
        } else if signed < there {
            let count = HumanCount(there - signed);
            let text = format!("{count} entries are there that are not signed");
            Some((Kind::SignedExtra, text))
        } else if same(tree, sealed) {
            self.covered += std::mem::take(&mut self.open);
            return None;
        } else {
            Some(differ(signed))
        };
        self.unsigned += std::mem::take(&mut self.open);
        self.go_on(sealed.clone());
        complaint
    }

    /// A cursor without a seal.
    pub(super) fn unsealed(&mut self) -> Option<Complaint> {
        self.unsigned += std::mem::take(&mut self.open);
        if let Known::No = self.tree {
            self.unsigned += std::mem::take(&mut self.head);
            return None;
        }
        self.tree = Known::No;
        self.expected.clear();
        let text = "its checkpoints end here: from here on nothing is signed".to_owned();
        Some((Kind::SealMissing, text))
    }

    pub(super) fn finish(&mut self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        complaints.extend(self.begin_with_batch());
        complaints.extend(self.unmet());
        // The last batch may still be under way.
        self.head += std::mem::take(&mut self.open);
        let newest = self
            .newest
            .as_ref()
            .map_or(0, |newest| newest.checkpoint.size);
        let since = self.marks.iter().find(|mark| mark.by == By::LastAudit);
        if let Some(since) = since.map(|mark| mark.size) {
            complaints.push(if newest < since {
                let (had, has) = (HumanCount(since), HumanCount(newest));
                let text =
                    format!("it had {had} entries at the last audit, and has signed {has} now");
                (Kind::RolledBack, text)
            } else {
                let text =
                    "its trail begins after what the last audit saw: the two cannot be compared";
                (Kind::SinceUnchecked, text.to_owned())
            });
        }
        complaints
    }
}

/// The tree had so many entries before the first that is left.
fn begins_late(there: u64, signed: u64, head: Head) -> Option<Complaint> {
    let text = match there.cmp(&signed) {
        Ordering::Equal => return None,
        Ordering::Less if head == Head::MayBeGone => return None,
        Ordering::Less => format!(
            "{} entries that are signed are not there, before the first that are",
            HumanCount(signed - there)
        ),
        Ordering::Greater => {
            let count = HumanCount(there - signed);
            let text = format!("{count} entries are there that are not signed");
            return Some((Kind::SignedExtra, text));
        }
    };
    Some((Kind::SignedMissing, text))
}

fn differ(size: u64) -> Complaint {
    let text = format!(
        "the entries up to here are not those that were signed: {} of them",
        HumanCount(size)
    );
    (Kind::NotAsSigned, text)
}

/// A checkpoint must not be of fewer entries than the one before, nor of as many others.
fn went_back(before: &Checkpoint, now: &Checkpoint) -> Option<Complaint> {
    let (had, has) = (HumanCount(before.size), HumanCount(now.size));
    if now.size < before.size {
        let text = format!("it had signed {had} entries, and signs {has} after that");
        return Some((Kind::CheckpointBack, text));
    }
    if now.size == before.size && now.root != before.root {
        let text = format!("two checkpoints of {has} entries have different roots");
        return Some((Kind::Forked, text));
    }
    (now.time + CLOCK_MAX < before.time).then(|| {
        let text = "a checkpoint is older than the one before it".to_owned();
        (Kind::CheckpointBack, text)
    })
}

/// How far a clock may be set back, in seconds.
const CLOCK_MAX: u64 = 24 * 60 * 60;
