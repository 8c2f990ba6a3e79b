//! The segments on disk, in the order of their keys.
//!
//! Each is a database named by the first key that it holds. It owns the keys from there up to the first of the next
//! segment: rows beyond that, which a failed commit may have left, are written again in the next one. Only the newest
//! is ever written to. What the first versions of spillring wrote, one database in `db/`, is the first segment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::SpillError;
use crate::event::Key;
use crate::host::log;
use crate::metrics::Metrics;

use super::files::{is_missing, names_in, remove_database, rename_database};

/// How many damaged segments are kept; the oldest goes.
const DAMAGED_MAX: usize = 3;

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The first key that it may hold.
    pub(super) first: Key,
    /// Distinguishes those with the same first key; the last one counts.
    attempt: u32,
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A database of the first versions, in a folder of its own.
    Adopted,
    Segment,
}

/// All of them, oldest first.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    list: Vec<Segment>,
    /// The newest of them, if an append to it has failed, and the first key that it does not own.
    cut: Option<(Segment, Key)>,
    /// The keys of segments that vanished.
    lost: Vec<(Key, Option<Key>)>,
}

impl Segments {
    /// What lies in the folder, and before it what was adopted. A folder that is missing holds none.
    pub(super) fn read(folder: PathBuf, adopted: Vec<PathBuf>) -> Result<Self, SpillError> {
        let adopted = adopted.into_iter().zip(0..).map(|(path, attempt)| Segment {
            first: Key::default(),
            attempt,
            path,
            origin: Origin::Adopted,
        });
        let mut list: Vec<_> = adopted.collect();
        list.extend(names_in(&folder)?.into_iter().filter_map(|name| {
            let (first, attempt) = parse(&name)?;
            Some(Segment {
                first,
                attempt,
                path: folder.join(name),
                origin: Origin::Segment,
            })
        }));
        list.sort();
        Ok(Self {
            folder,
            list,
            cut: None,
            lost: Vec::new(),
        })
    }

    /// Of a spill that could not be used.
    pub(super) fn none() -> Self {
        Self {
            folder: PathBuf::new(),
            list: Vec::new(),
            cut: None,
            lost: Vec::new(),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.list.iter()
    }

    /// Where reading from this key on begins. Databases that were adopted may hold the same keys: the first of them.
    pub(super) fn start(&self, key: Key) -> Option<&Segment> {
        let at = self.list.partition_point(|segment| segment.first <= key);
        let owner = self.list.get(at.saturating_sub(1))?;
        match owner.origin {
            Origin::Adopted => self.list.first(),
            Origin::Segment => Some(owner),
        }
    }

    /// The first key that a segment does not own; `None` if there is no later segment.
    pub(super) fn end_of(&self, segment: &Segment) -> Option<Key> {
        let at = self.list.partition_point(|other| other <= segment);
        let mut later = self.list[at..].iter();
        let next = later.find(|other| other.origin == Origin::Segment);
        let cut = self.cut.as_ref().filter(|(cut, _)| cut == segment);
        next.map(|other| other.first).or(cut.map(|&(_, end)| end))
    }

    /// The newest segment owns no keys from this one on: an append has failed, and what it wrote is written again.
    pub(super) fn cut(&mut self, segment: &Segment, end: Key) {
        self.cut = Some((segment.clone(), end));
    }

    pub(super) fn contains(&self, segment: &Segment) -> bool {
        self.list.binary_search(segment).is_ok()
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        self.list.last()
    }

    /// The first segment after this one.
    pub(super) fn after(&self, segment: &Segment) -> Option<&Segment> {
        let at = self.list.partition_point(|other| other <= segment);
        self.list.get(at)
    }

    pub(super) fn first(&self) -> Option<&Segment> {
        self.list.first()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The name for the next segment. Does not create the file.
    pub(super) fn name(&self, first: Key) -> Segment {
        let same = self.list.iter().filter(|segment| segment.first == first);
        let attempt = same
            .map(|segment| segment.attempt + 1)
            .max()
            .unwrap_or_default();
        let name = format!("{:016x}-{attempt}.sqlite3", first.number());
        Segment {
            first,
            attempt,
            path: self.folder.join(name),
            origin: Origin::Segment,
        }
    }

    pub(super) fn add(&mut self, segment: Segment) {
        let at = self.list.partition_point(|other| *other < segment);
        self.list.insert(at, segment);
    }

    /// Forgets a segment whose file is gone.
    pub(super) fn forget(&mut self, segment: &Segment) {
        self.list.retain(|other| other != segment);
    }

    /// Forgets a segment that vanished. Its missing keys do not count as damage of another segment.
    pub(super) fn lose(&mut self, segment: &Segment) {
        self.lost.push((segment.first, self.end_of(segment)));
        self.forget(segment);
    }

    /// Whether the segment that held this key has vanished.
    pub(super) fn has_lost(&self, key: Key) -> bool {
        let held =
            |&(first, end): &(Key, Option<Key>)| first <= key && end.is_none_or(|end| key < end);
        self.lost.iter().any(held)
    }

    /// Those whose files are gone.
    pub(super) fn vanished(&self) -> Vec<Segment> {
        let gone = |segment: &&Segment| is_missing(&segment.path);
        self.list.iter().filter(gone).cloned().collect()
    }

    /// Deletes a segment with its log.
    pub(super) fn delete(&mut self, segment: &Segment) -> io::Result<()> {
        remove_database(&segment.path)?;
        leave_folder(segment);
        self.forget(segment);
        Ok(())
    }

    /// Keeps a segment that lost rows beside the others, the last few of them.
    pub(super) fn keep_damaged(&mut self, segment: &Segment) -> io::Result<()> {
        let name = match segment.origin {
            Origin::Adopted => segment.path.parent().and_then(Path::file_name),
            Origin::Segment => segment.path.file_stem(),
        };
        let mut name = name.unwrap_or_default().to_owned();
        name.push(".damaged");
        let kept = self.folder.join(name);
        fs::create_dir_all(&self.folder)?;
        rename_database(&segment.path, &kept)?;
        leave_folder(segment);
        log::warning!(file = %kept.display(), "a damaged segment is kept");
        Metrics::quarantined();
        self.forget(segment);
        let damaged = damaged(&self.folder).unwrap_or_default();
        for oldest in damaged.iter().rev().skip(DAMAGED_MAX) {
            log::warning!(file = %oldest.display(), "removing the oldest damaged segment");
            remove_database(oldest)?;
        }
        Ok(())
    }
}

/// The damaged segments that are kept, oldest first.
pub(crate) fn damaged(folder: &Path) -> Result<Vec<PathBuf>, SpillError> {
    let names = names_in(folder)?.into_iter();
    let mut damaged: Vec<_> = names
        .filter(|name| name.ends_with(".damaged"))
        .map(|name| folder.join(name))
        .collect();
    damaged.sort();
    Ok(damaged)
}

fn parse(name: &str) -> Option<(Key, u32)> {
    let (first, attempt) = name.strip_suffix(".sqlite3")?.split_once('-')?;
    let first = u64::from_str_radix(first, 16).ok()?;
    Some((Key::from_number(first), attempt.parse().ok()?))
}

/// Removes the folder of an adopted database if it is empty.
fn leave_folder(segment: &Segment) {
    if segment.origin == Origin::Adopted
        && let Some(folder) = segment.path.parent()
    {
        let _kept = fs::remove_dir(folder);
    }
}
