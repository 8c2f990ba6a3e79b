//! What a power cut may leave of some files: contents as of the last sync, and any part of the changes since then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// What a disk writes atomically.
pub(super) const SECTOR: usize = 512;

/// Durable files by name, and the changes since they were last synced.
#[derive(Debug, Default)]
pub(super) struct Files {
    nodes: Vec<Node>,
    /// The content of each name for the running process.
    names: BTreeMap<PathBuf, usize>,
    /// The durable content of each name.
    synced: BTreeMap<PathBuf, usize>,
    /// Names bound and unbound since their folder was synced, in order.
    bindings: Vec<(PathBuf, Option<usize>)>,
    known: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct Node {
    synced: Vec<u8>,
    since: Vec<(Op, Fate)>,
}

/// A change of a file's content.
#[derive(Debug)]
pub(super) enum Op {
    Write(usize, Box<[u8]>),
    Cut(usize),
}

/// The effect of a power cut on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// May undo it, until a sync.
    Unsynced,
    /// May undo it, whatever is synced later: the kernel reports a failed sync only once.
    Forgotten,
    Synced,
}

/// How much of the unsynced changes survives.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    Some,
}

impl Op {
    pub(super) fn write(offset: u64, bytes: &[u8]) -> Self {
        Self::Write(usize::try_from(offset).expect("an offset"), bytes.into())
    }

    fn apply(&self, content: &mut Vec<u8>, part: usize) {
        match self {
            Self::Write(offset, bytes) => {
                let bytes = &bytes[..bytes.len() / part];
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Cut(len) => content.resize(*len, 0),
        }
    }

    /// A sector is written as a whole, or not at all.
    fn tears(&self) -> bool {
        matches!(self, Self::Write(_, bytes) if bytes.len() > SECTOR)
    }

    /// Whether this change leaves nothing of another one.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Write(at, bytes), Self::Write(other, others)) => {
                at <= other && other + others.len() <= at + bytes.len()
            }
            (Self::Cut(len), Self::Write(other, _)) => len <= other,
            _ => false,
        }
    }
}

impl Files {
    /// These files, all synced.
    pub(super) fn of(contents: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut files = Self::default();
        for (name, synced) in contents {
            files.synced.insert(name.clone(), files.nodes.len());
            files.names.insert(name.clone(), files.nodes.len());
            files.known.insert(name);
            let since = Vec::new();
            files.nodes.push(Node { synced, since });
        }
        files
    }

    pub(super) fn knows(&self, name: &Path) -> bool {
        self.known.contains(name)
    }

    /// Creates the file if it is missing.
    pub(super) fn make(&mut self, name: &Path) {
        if self.names.contains_key(name) {
            return;
        }
        self.bind(name, Some(self.nodes.len()));
        self.nodes.push(Node::default());
    }

    pub(super) fn add(&mut self, name: &Path, op: Op) {
        self.make(name);
        let node = self.names[name];
        self.nodes[node].since.push((op, Fate::Unsynced));
    }

    pub(super) fn remove(&mut self, name: &Path) {
        if self.names.contains_key(name) {
            self.bind(name, None);
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(&node) = self.names.get(from) {
            self.bind(to, Some(node));
            self.bind(from, None);
        }
    }

    pub(super) fn sync(&mut self, name: &Path) {
        if let Some(&node) = self.names.get(name) {
            self.nodes[node].sync();
        }
    }

    /// The first sync of a log or journal of `SQLite` syncs its folder as well.
    pub(super) fn sync_with_name(&mut self, name: &Path) {
        self.sync(name);
        let node = self.names.get(name).copied();
        let is_log = [".sqlite3-wal", ".sqlite3-journal"];
        let is_log = is_log
            .iter()
            .any(|end| name.to_string_lossy().ends_with(end));
        if is_log && self.bindings.iter().any(|(_, bound)| *bound == node) {
            self.sync_folder(name.parent().unwrap_or(Path::new("")));
        }
    }

    pub(super) fn sync_failed(&mut self, name: &Path) {
        let Some(&node) = self.names.get(name) else {
            return;
        };
        for (_, fate) in &mut self.nodes[node].since {
            if *fate == Fate::Unsynced {
                *fate = Fate::Forgotten;
            }
        }
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) {
        let inside = |(name, _): &mut (PathBuf, _)| name.parent() == Some(folder);
        for (name, node) in self.bindings.extract_if(.., inside) {
            set(&mut self.synced, &name, node);
        }
    }

    fn bind(&mut self, name: &Path, node: Option<usize>) {
        self.known.insert(name.to_owned());
        set(&mut self.names, name, node);
        self.bindings.push((name.to_owned(), node));
    }

    /// The files after a power cut, and a summary of what it did.
    pub(super) fn cut(&mut self, random: &mut Rng) -> (BTreeMap<PathBuf, Vec<u8>>, String) {
        let luck = [Luck::Nothing, Luck::Everything, Luck::Some, Luck::Some][random.usize(0..4)];
        let mut names = self.synced.clone();
        for (name, node) in &self.bindings {
            if luck.holds(random) {
                set(&mut names, name, *node);
            }
        }
        let mut undone = 0;
        let mut left = BTreeMap::new();
        for (name, node) in names {
            let content = self.nodes[node].cut(luck, random, &mut undone);
            left.insert(name, content);
        }
        (left, format!("{luck:?}, {undone} undone"))
    }
}

impl Luck {
    fn holds(self, random: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => random.u8(0..4) > 0,
        }
    }
}

impl Node {
    fn sync(&mut self) {
        for (_, fate) in &mut self.since {
            if *fate == Fate::Unsynced {
                *fate = Fate::Synced;
            }
        }
        let mut kept: Vec<(Op, Fate)> = Vec::new();
        for (op, fate) in self.since.drain(..) {
            if fate == Fate::Synced {
                kept.retain(|(old, fate)| *fate == Fate::Synced || !op.covers(old));
            }
            kept.push((op, fate));
        }
        let sure = kept
            .iter()
            .take_while(|(_, fate)| *fate == Fate::Synced)
            .count();
        for (op, _) in kept.drain(..sure) {
            op.apply(&mut self.synced, 1);
        }
        self.since = kept;
    }

    fn cut(&self, luck: Luck, random: &mut Rng, undone: &mut u64) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (op, fate) in &self.since {
            if *fate == Fate::Synced || luck.holds(random) {
                op.apply(&mut content, 1);
                continue;
            }
            *undone += 1;
            if matches!(luck, Luck::Some) && op.tears() && random.u8(0..16) == 0 {
                op.apply(&mut content, 2);
            }
        }
        content
    }
}

fn set(names: &mut BTreeMap<PathBuf, usize>, name: &Path, node: Option<usize>) {
    match node {
        Some(node) => names.insert(name.to_owned(), node),
        None => names.remove(name),
    };
}
