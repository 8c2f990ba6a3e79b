//! What `SQLite` asks of the disk, and who decides what becomes of it.

use std::path::Path;

/// One call, before it is carried out or after it has succeeded.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// The file in question.
    pub path: &'c Path,
    /// What is done to it.
    pub act: Act<'c>,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
pub enum Act<'c> {
    /// Opened; made if it was missing.
    Open {
        /// Whether it was.
        makes: bool,
    },
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write {
        /// Where the first of them goes.
        offset: usize,
        /// All of them.
        bytes: &'c [u8],
    },
    /// Cut, or extended, to this length.
    Truncate {
        /// In bytes.
        len: usize,
    },
    /// Synced; a journal or WAL for the first time since it was made: its folder as well.
    Sync,
    /// Deleted.
    Delete {
        /// Whether its folder is synced.
        synced: bool,
    },
}

/// Which file of a spill directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// A segment.
    Segment,
    /// The write-ahead log of a segment.
    SegmentLog,
    /// The index.
    Index,
    /// The write-ahead log of the index.
    IndexLog,
    /// A rollback journal, in use before a database is in WAL mode.
    Journal,
    /// A database of the test's own, or its log.
    Other,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Pass,
    /// It is not, and fails with this result code of `SQLite`.
    Fail(i32),
    /// The process kills itself; of a write so many bytes are carried out before.
    Die {
        /// How many.
        after: usize,
    },
}

/// Sees every call on the files below a folder, on whichever thread it is made.
pub trait Watch: Send + Sync {
    /// Says what becomes of the call.
    fn before(&self, call: Call<'_>) -> Verdict {
        let _ = call;
        Verdict::Pass
    }

    /// The call has succeeded.
    fn after(&self, call: Call<'_>) {
        let _ = call;
    }

    /// Another value for a pragma, not longer than the one given.
    fn pragma(&self, name: &str) -> Option<&'static str> {
        let _ = name;
        None
    }
}

impl FileKind {
    /// By its name and its folder's.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let in_segments = path
            .parent()
            .is_some_and(|folder| folder.ends_with("segments"));
        if name.ends_with("-journal") {
            Self::Journal
        } else if in_segments && name.ends_with("-wal") {
            Self::SegmentLog
        } else if in_segments {
            Self::Segment
        } else if name == "index.sqlite3-wal" {
            Self::IndexLog
        } else if name == "index.sqlite3" {
            Self::Index
        } else {
            Self::Other
        }
    }

    /// Whether its first sync also syncs its folder, as `SQLite` does for a journal or log that it has made.
    pub(crate) fn syncs_its_folder(path: &Path) -> bool {
        let name = path.to_string_lossy();
        name.ends_with("-wal") || name.ends_with("-journal")
    }
}
