//! Whether a file is still the one that was opened: `SQLite` goes on writing to files that nobody will find again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::schema::log_of;
use crate::change::Change;

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// Of the file that has this name.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|file| Self(file.dev(), file.ino()))
    }

    pub(super) fn of_open(file: &File) -> io::Result<Self> {
        let file = file.metadata()?;
        Ok(Self(file.dev(), file.ino()))
    }

    /// Whether the name is gone, or another file's. That it cannot be looked at says nothing.
    pub(super) fn has_left(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found != self,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// A database and its log: what is written to a log that has left is lost with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    file: FileId,
    log: Option<FileId>,
}

impl Place {
    /// Of a database that is open.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: FileId::of(path)?,
            log: FileId::of(&log_of(path)).ok(),
        })
    }

    /// Whether either of them is gone, or another file is in its place.
    pub(super) fn has_left(self, path: &Path) -> bool {
        let log_left = |log: FileId| log.has_left(&log_of(path));
        self.file.has_left(path) || self.log.is_some_and(log_left)
    }
}

/// Whether the disk gives anything of this file: its beginning, or its end. If it does, what cannot be read of it is
/// damaged, and waiting brings nothing back.
pub(super) fn answers(path: &Path) -> bool {
    let read = |from| {
        Change::Stat(path).make(|| {
            let mut file = File::open(path)?;
            file.seek(from)?;
            file.read(&mut [0; 512])
        })
    };
    read(SeekFrom::Start(0)).is_ok() || read(SeekFrom::End(-512)).is_ok()
}

/// Whether there is no such file. That it cannot be looked at says nothing.
pub(super) fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
