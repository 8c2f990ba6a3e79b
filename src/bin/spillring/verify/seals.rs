//! Whether a trail is authentic: the publishers have signed what is there, with keys that are theirs.
//!
//! The entries of each publisher are hashed into its tree. Each seal states the tree's size and root, and the tree must
//! match. A trail that has lost its beginning goes on from the peaks of the first seal.

mod keys;
mod log;
mod proof;
mod signed;
mod trust;

use std::collections::{BTreeMap, HashMap};

use spillring::event::{Position, PublisherId, RunId};
use spillring::seal::{Leaf, Seal, Tree};

use super::finding::Kind;
use super::judge::Judge;
use super::trail::{Observed, TrailPlace, Way};
use keys::{SealKeys, Trusted};
pub(super) use log::Covers;
use log::{By, Log, Mark, Newest, Start};
pub(crate) use proof::Proof;
pub(super) use signed::{Authentic, Signed};
pub(super) use trust::{Removed, Trust};

/// A finding that has no place yet: its kind and its text.
type Complaint = (Kind, String);

/// Checks the seals of a trail.
#[derive(Debug, Default)]
pub(super) struct Seals {
    trust: Trust,
    keys: SealKeys,
    logs: BTreeMap<PublisherId, Log>,
    runs: HashMap<RunId, PublisherId>,
    /// Entries that no seal can cover: they were stored alone, or nothing identifies them as entries.
    alone: u64,
    /// Entries of runs whose publisher is not known yet.
    strays: HashMap<RunId, u64>,
    /// The entry to prove.
    wanted: Option<Position>,
}

/// A cursor, as found in the trail.
#[derive(Debug)]
pub(super) struct Met<'a> {
    pub(super) publisher: PublisherId,
    pub(super) seal: Option<&'a Seal>,
    /// The position in the cursor.
    pub(super) through: Position,
    pub(super) covers: Covers,
    /// Whether the cursor says that its batch comes after it.
    pub(super) is_open: bool,
    pub(super) place: TrailPlace,
}

impl Met<'_> {
    /// Whether the cursor is at the signed position. In a file, the next range may repeat the losses at the end of this
    /// one.
    fn is_at(&self, signed: Position) -> bool {
        let in_file = matches!(self.place, TrailPlace::Ledger { .. });
        let again = in_file && signed.run == self.through.run && signed.n > self.through.n;
        signed == self.through || again
    }
}

impl Seals {
    pub(super) fn new(trust: &Trust) -> Self {
        let (mut keys, mut logs) = (SealKeys::default(), BTreeMap::<_, Log>::new());
        for (publisher, key, certificates, trusted) in trust.keys() {
            keys.anchor(publisher, key, certificates, trusted);
        }
        for (publisher, checkpoint) in trust.seen() {
            let mark = Mark {
                size: checkpoint.size,
                root: checkpoint.root,
                by: By::LastAudit,
            };
            logs.entry(publisher).or_default().mark(mark);
        }
        Self {
            keys,
            logs,
            trust: trust.clone(),
            ..Self::default()
        }
    }

    /// Keeps the hashes that the proof of this entry needs.
    pub(super) fn proving(self, entry: Position) -> Self {
        Self {
            wanted: Some(entry),
            ..self
        }
    }

    fn log(&mut self, publisher: PublisherId) -> &mut Log {
        let wanted = self.wanted;
        let log = self.logs.entry(publisher);
        log.or_insert_with(|| Log::keeping(wanted))
    }

    /// Notes whose run it is.
    pub(super) fn run(&mut self, run: RunId, publisher: PublisherId) {
        let publisher = *self.runs.entry(run).or_insert(publisher);
        if let Some(count) = self.strays.remove(&run) {
            self.log(publisher).before(count);
        }
    }

    /// Takes an entry, and the opening of its run if it is the first.
    pub(super) fn entry(&mut self, judge: &mut Judge, seen: &Observed<'_>, opening: Option<&str>) {
        if let Some(publisher) = seen.publisher {
            self.run(seen.id.run, publisher);
        }
        if let Some(opening) = seen.opening {
            self.run(seen.id.run, opening.publisher);
            if let Some(previous) = opening.previous {
                self.run(previous.run, opening.publisher);
            }
        }
        if seen.way == Way::Alone {
            self.alone += 1;
            return;
        }
        let Some(publisher) = self.runs.get(&seen.id.run).copied() else {
            *self.strays.entry(seen.id.run).or_default() += 1;
            return;
        };
        let leaf = Leaf {
            id: seen.id,
            lost: seen.lost,
            requeued: seen.requeued,
            opening,
            subject: seen.subject,
            bytes: seen.bytes,
        };
        let complaint = self.log(publisher).leaf(&leaf);
        complain(judge, Some(seen.id.run), seen.place, complaint);
    }

    /// Counts entries that no seal can cover.
    pub(super) fn stray(&mut self, count: u64) {
        self.alone += count;
    }

    /// Begins the publisher's tree if the seal counts exactly the entries of this range.
    pub(super) fn range(&mut self, publisher: PublisherId, seal: Option<&Seal>, entries: u64) {
        let tree = seal.and_then(|seal| seal.tree().ok());
        if tree.is_some_and(|tree| tree.size() == entries) {
            self.log(publisher).begin();
        }
    }

    /// Takes a cursor.
    pub(super) fn cursor(&mut self, judge: &mut Judge, met: &Met<'_>) {
        self.run(met.through.run, met.publisher);
        let run = Some(met.through.run);
        let wanted = self.wanted;
        let log = self.logs.entry(met.publisher);
        let log = log.or_insert_with(|| Log::keeping(wanted));
        let Some(seal) = met.seal else {
            let complaint = log.unsealed();
            return complain(judge, run, met.place, complaint);
        };
        let opened = match self.keys.open(met.publisher, seal) {
            Ok(opened) => opened,
            Err(complaint) => return complain(judge, run, met.place, Some(complaint)),
        };
        opened.marks.into_iter().for_each(|mark| log.mark(mark));
        let (checkpoint, proven) = (opened.checkpoint, opened.proven);
        if checkpoint.is_open != met.is_open {
            let text = "the state in the cursor is not the signed one".to_owned();
            complain(judge, run, met.place, Some((Kind::NotAsSigned, text)));
        }
        if checkpoint.through.is_some_and(|signed| !met.is_at(signed)) {
            let text = format!(
                "the cursor says {}, but another position is signed",
                met.through
            );
            complain(judge, run, met.place, Some((Kind::NotAsSigned, text)));
        }
        let tree = match seal.tree() {
            Ok(tree) => tree,
            Err(error) => {
                let complaint = Some((Kind::NotSigned, error.to_string()));
                return complain(judge, run, met.place, complaint);
            }
        };
        let newest = Newest {
            checkpoint,
            note: seal.checkpoint.clone(),
        };
        let start = if met.covers == Covers::Earlier || judge.may_be_gone(met.through.run) {
            Start::MayBeGone
        } else {
            Start::Kept
        };
        for complaint in log.seal(&tree, newest, met.covers, start, proven) {
            complain(judge, run, met.place, Some(complaint));
        }
    }

    /// The trail ends here.
    pub(super) fn finish(mut self, judge: &mut Judge, now: u64) -> Signed {
        let mut signed = Signed::default();
        let writers = judge.writers();
        let mut trusted = Trusted::Yes;
        for (publisher, log) in &mut self.logs {
            let accepted = self.trust.removed == Removed::Accepted || !self.trust.is_given();
            let retired = self.trust.is_retired(*publisher, now);
            let complaints = log.finish(writers, accepted, retired);
            let newest = log.newest().map(|newest| &newest.checkpoint);
            let vouched = self.keys.trusted(*publisher);
            let trust = self.trust.complaints(*publisher, newest, now);
            for (kind, text) in complaints.into_iter().chain(trust) {
                judge.find(kind, None, None, format!("publisher {publisher}: {text}"));
            }
            signed.add(log);
            if let Some(newest) = log.newest() {
                let key = self.keys.current(*publisher);
                signed.note(*publisher, key, &newest.note, vouched);
                if vouched == Trusted::No {
                    trusted = vouched;
                }
                let wanted = self.wanted.map(|entry| self.runs.get(&entry.run));
                if wanted == Some(Some(publisher)) {
                    signed.proof = Some(log.prove(newest, key));
                }
            }
        }
        for (publisher, text) in self.trust.absent(&self.logs, now) {
            let text = format!("publisher {publisher}: {text}");
            judge.find(Kind::PublisherMissing, None, None, text);
        }
        signed.unsigned += self.alone + self.strays.values().sum::<u64>();
        for (kind, text) in signed.in_words() {
            judge.find(kind, None, None, text);
        }
        signed.judge(judge.findings.against_authentic, trusted);
        signed
    }
}

fn complain(
    judge: &mut Judge,
    run: Option<RunId>,
    place: TrailPlace,
    complaint: Option<Complaint>,
) {
    if let Some((kind, text)) = complaint {
        judge.find(kind, run, Some(place), text);
    }
}

/// Whether two trees of one size are the same.
fn same(left: &Tree, right: &Tree) -> bool {
    left.size() == right.size() && left.root() == right.root()
}
