//! A disk as a power cut has left it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::trace::Small;

/// A disk as a power cut has left it, and what is true of it.
#[derive(Debug, Clone)]
pub struct Disk {
    /// After how many events the power was cut.
    pub events: usize,
    /// The unsynced calls that are on the disk, by the number of their event.
    pub there: Vec<(usize, Portion)>,
    /// So many entries counted as safe.
    pub flushed: usize,
    /// The sink had stored so many records.
    pub stored: usize,
    /// Which watermark it is.
    pub watermark: Age,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) small: Small,
}

/// Which state of a file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Age {
    /// The last one.
    Newest,
    /// One before it, since the last sync.
    Older,
}

/// How much of an unsynced call is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Portion {
    /// Of a write, the first half.
    Half,
    /// All.
    Whole,
}

impl Disk {
    /// Puts all of it into a spill directory that is not there yet.
    pub fn write(&self, dir: &Path) {
        let small = self
            .small
            .iter()
            .map(|(name, content)| (PathBuf::from(name), content));
        let files = self
            .files
            .iter()
            .map(|(name, content)| (name.clone(), content));
        fs::create_dir(dir).expect("the directory");
        for (name, content) in files.chain(small) {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "the disk after {} events: {} flushed, {} stored; unsynced but there: {:?}; beside it {:?}, the watermark {:?}",
            self.events,
            self.flushed,
            self.stored,
            self.there,
            self.small.keys(),
            self.watermark,
        )
    }
}
