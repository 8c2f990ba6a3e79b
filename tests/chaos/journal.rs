//! What a thread of a publisher notes for itself, for the judge: two counts, in a file that outlives its process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::entries::Whose;

/// The journal of one thread. Each note is one write of a few bytes, so a kill leaves the old count or the new one.
#[derive(Debug)]
pub(crate) struct Journal(File);

/// What a journal says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// As many entries were surely accepted. One more may have been: a kill can come before the note.
    pub(crate) accepted: u64,
    /// As many were accepted before a flush that has returned.
    pub(crate) flushed: u64,
}

impl Journal {
    pub(crate) fn create(dir: &Path, whose: Whose) -> Self {
        Self(File::create_new(path(dir, whose)).expect("a new start"))
    }

    pub(crate) fn accepted(&self, count: u64) {
        self.note(count, 0);
    }

    pub(crate) fn flushed(&self, count: u64) {
        self.note(count, 8);
    }

    fn note(&self, count: u64, place: u64) {
        let written = self.0.write_all_at(&count.to_le_bytes(), place);
        written.expect("the journal can be written");
    }
}

/// Reads a thread's journal; one that was never begun says nothing.
pub(crate) fn read(dir: &Path, whose: Whose) -> Noted {
    let bytes = fs::read(path(dir, whose)).unwrap_or_default();
    let mut counts = bytes.as_chunks::<8>().0.iter();
    let mut count = || counts.next().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Noted {
        accepted: count(),
        flushed: count(),
    }
}

fn path(dir: &Path, whose: Whose) -> PathBuf {
    dir.join(format!("journal {whose}"))
}
