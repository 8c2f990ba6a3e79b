//! What a disk may hold after a power cut, at every moment of a recorded run.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use crate::call::FileKind;
use crate::disk::{Disk, Portion};
use crate::small::{self, Beside};
use crate::subsets;
use crate::trace::{Event, Mark, Step};

/// All the disks that a recorded run may leave behind, however long it lasts.
#[derive(Debug)]
pub struct Disks {
    events: Vec<Event>,
    /// How many events have happened.
    at: usize,
    nodes: Vec<Node>,
    /// What is bound to each name for sure, as far as it is any.
    names: BTreeMap<PathBuf, usize>,
    /// Names bound and unbound since their folder was synced, by event.
    bindings: Vec<(usize, PathBuf, Option<usize>)>,
    /// What each name is bound to for the running process.
    open: BTreeMap<PathBuf, usize>,
    flushed: usize,
    stored: usize,
    /// As it was after this event, or later, the watermark is on the disk.
    watermark_since: usize,
    random: fastrand::Rng,
    sample: u8,
    seen: HashSet<Key>,
}

/// A file, whatever its name.
#[derive(Debug, Default)]
struct Node {
    /// What is there for sure, up to the first call that may be missing.
    synced: Vec<u8>,
    /// The last event in it.
    through: usize,
    /// Every call after that.
    calls: Vec<(usize, Fate)>,
}

/// What a power cut may do to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Undo it, until a sync.
    Unsynced,
    /// Undo it, whatever is synced later: the kernel reports a failed sync once, and then takes the pages for clean.
    Forgotten,
    /// Nothing.
    Synced,
}

/// Up to which event all calls on a file are there, and which others behind a gap, or by half.
type NodeKey = (PathBuf, usize, usize, Vec<(usize, Portion)>);
/// Equal keys are equal disks of which the same is true.
type Key = (Vec<NodeKey>, u64, usize, usize);

impl Disks {
    /// Of this run: one in `sample`, drawn by chance.
    #[must_use]
    pub fn of(events: Vec<Event>, seed: u64, sample: u8) -> Self {
        Self {
            events,
            at: 0,
            nodes: Vec::new(),
            names: BTreeMap::new(),
            bindings: Vec::new(),
            open: BTreeMap::new(),
            flushed: 0,
            stored: 0,
            watermark_since: 0,
            random: fastrand::Rng::with_seed(seed),
            sample,
            seen: HashSet::new(),
        }
    }

    /// Calls `check` with every disk that differs from those before, or of which something else is true, until it has
    /// had enough.
    pub fn each(mut self, mut check: impl FnMut(Disk) -> ControlFlow<()>) {
        while self.at < self.events.len() {
            self.advance();
            let pending = self.pending();
            for there in subsets::of(&self.events, &pending, &mut self.random) {
                for beside in self.besides(there.is_empty() || there.len() == pending.len()) {
                    if self.random.u8(0..self.sample) == 0
                        && let Some(disk) = self.rebuild(&there, beside)
                        && check(disk).is_break()
                    {
                        return;
                    }
                }
            }
        }
    }

    /// The small files to try. If none or all of the unsynced calls are there: the newest, the newest with a torn
    /// watermark, and the oldest; otherwise those of a random moment so far.
    fn besides(&mut self, extreme: bool) -> Vec<Beside> {
        let events = &self.events[..self.at];
        let (newest, oldest) = (self.at - 1, self.watermark_since);
        if extreme {
            vec![
                small::of(events, newest, [newest; 2]),
                small::torn(events, newest, oldest),
                small::of(events, 0, [oldest; 2]),
            ]
        } else {
            let random = &mut self.random;
            let mut any = |first| [first, newest, random.usize(first..=newest)][random.usize(0..3)];
            vec![small::of(events, any(0), [any(oldest), any(oldest)])]
        }
    }

    fn advance(&mut self) {
        let event = self.at;
        self.at += 1;
        match self.events[event].step.clone() {
            Step::Open { file } => {
                let node = self.nodes.len();
                self.nodes.push(Node::default());
                self.open.insert(file.clone(), node);
                self.bindings.push((event, file, Some(node)));
            }
            Step::Write { file, .. } | Step::Truncate { file, .. } => {
                let node = self.open[&file];
                self.nodes[node].calls.push((event, Fate::Unsynced));
            }
            Step::Sync { file } => {
                let node = self.open[&file];
                self.settle(node);
                let mut bound = self.bindings.iter().map(|&(_, _, bound)| bound);
                if FileKind::syncs_its_folder(&file) && bound.any(|bound| bound == Some(node)) {
                    self.sync_folder_of(&file);
                }
            }
            Step::SyncFailed { file } => {
                let node = self.open[&file];
                for (_, fate) in &mut self.nodes[node].calls {
                    if *fate == Fate::Unsynced {
                        *fate = Fate::Forgotten;
                    }
                }
            }
            Step::Delete { file, synced } => {
                self.open.remove(&file);
                self.bindings.push((event, file.clone(), None));
                // Before spillring unlinks segments it syncs the watermark.
                if unlinks(&self.events[event].step) && !unlinks(&self.events[event - 1].step) {
                    self.watermark_since = event - 1;
                }
                if synced {
                    self.sync_folder_of(&file);
                }
            }
            Step::Mark(Mark::Flushed(count)) => self.flushed = count,
            Step::Mark(Mark::Stored(count)) => self.stored = count,
        }
    }

    /// What was not synced is now; what was forgotten no longer matters where it is written over.
    fn settle(&mut self, node: usize) {
        let mut calls = std::mem::take(&mut self.nodes[node].calls);
        for (_, fate) in &mut calls {
            if *fate == Fate::Unsynced {
                *fate = Fate::Synced;
            }
        }
        let extents: Vec<_> = calls
            .iter()
            .map(|&(event, fate)| (self.events[event].step.extent(), fate))
            .collect();
        let mut at = 0;
        calls.retain(|&(_, fate)| {
            let (mine, later) = (&extents[at].0, &extents[at + 1..]);
            at += 1;
            let over = |(extent, fate): &(Range<usize>, Fate)| {
                *fate == Fate::Synced && extent.start <= mine.start && mine.end <= extent.end
            };
            fate != Fate::Forgotten || mine.is_empty() || !later.iter().any(over)
        });
        let sure = calls
            .iter()
            .take_while(|(_, fate)| *fate == Fate::Synced)
            .count();
        let mut content = std::mem::take(&mut self.nodes[node].synced);
        for (event, _) in calls.drain(..sure) {
            self.events[event].step.apply(&mut content, Portion::Whole);
            self.nodes[node].through = event;
        }
        self.nodes[node].synced = content;
        self.nodes[node].calls = calls;
    }

    fn sync_folder_of(&mut self, file: &Path) {
        let folder = file.parent();
        let there = |(_, file, _): &mut (_, PathBuf, _)| file.parent() == folder;
        for (_, file, node) in self.bindings.extract_if(.., there) {
            bind(&mut self.names, file, node);
        }
    }

    /// The calls that a power cut may undo, by event. Those on files that have lost their name for sure are none.
    fn pending(&self) -> Vec<usize> {
        let bound = self.bindings.iter().filter_map(|&(_, _, node)| node);
        let mut reachable: Vec<_> = self.names.values().copied().chain(bound).collect();
        reachable.sort_unstable();
        reachable.dedup();
        let calls = reachable
            .into_iter()
            .flat_map(|node| self.nodes[node].calls.iter())
            .filter(|(_, fate)| *fate != Fate::Synced)
            .map(|&(event, _)| event);
        let mut pending: Vec<_> = calls
            .chain(self.bindings.iter().map(|&(event, ..)| event))
            .collect();
        pending.sort_unstable();
        pending
    }

    /// None if there was such a disk already.
    fn rebuild(&mut self, there: &[(usize, Portion)], beside: Beside) -> Option<Disk> {
        let mut names = self.names.clone();
        for (event, file, node) in &self.bindings {
            if there.iter().any(|(there, _)| there == event) {
                bind(&mut names, file.clone(), *node);
            }
        }
        let portion = |&(event, fate): &(usize, Fate)| match fate {
            Fate::Synced => Some(Portion::Whole),
            Fate::Unsynced | Fate::Forgotten => {
                let found = there.iter().find(|(there, _)| *there == event);
                found.map(|&(_, portion)| portion)
            }
        };
        let key = |(file, &node): (&PathBuf, &usize)| -> NodeKey {
            let Node { through, calls, .. } = &self.nodes[node];
            let whole = |call: &&(usize, Fate)| portion(call) == Some(Portion::Whole);
            let gapless = calls.iter().take_while(whole).count();
            let through = gapless
                .checked_sub(1)
                .map_or(*through, |last| calls[last].0);
            let others = calls[gapless..].iter();
            let others = others.filter_map(|call| Some((call.0, portion(call)?)));
            (file.clone(), node, through, others.collect())
        };
        let keys = names.iter().map(key).collect();
        let mut hasher = DefaultHasher::new();
        beside.hash(&mut hasher);
        let key = (keys, hasher.finish(), self.flushed, self.stored);
        if !self.seen.insert(key) {
            return None;
        }
        let content = |(file, node): (PathBuf, usize)| {
            let mut content = self.nodes[node].synced.clone();
            for call in &self.nodes[node].calls {
                if let Some(portion) = portion(call) {
                    self.events[call.0].step.apply(&mut content, portion);
                }
            }
            (file, content)
        };
        Some(Disk {
            events: self.at,
            there: there.to_vec(),
            flushed: self.flushed,
            stored: self.stored,
            watermark: beside.watermark,
            files: names.into_iter().map(content).collect(),
            small: beside.small,
        })
    }
}

/// Whether spillring deletes a segment here: `SQLite` deletes none.
fn unlinks(step: &Step) -> bool {
    matches!(step, Step::Delete { file, .. } if FileKind::of(file) == FileKind::Segment)
}

fn bind(names: &mut BTreeMap<PathBuf, usize>, file: PathBuf, node: Option<usize>) {
    match node {
        Some(node) => names.insert(file, node),
        None => names.remove(&file),
    };
}
