//! Files and folders of the spill: making, syncing and removing them, room on the disk, and whether a file is still the
//! one that was opened: `SQLite` goes on writing to files that nobody will find again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::change::Change;
use crate::error::SpillError;
use crate::host::log;

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

    /// Whether the name is gone, or refers to another file; false if that cannot be determined.
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
pub(super) struct DatabaseFiles {
    file: FileId,
    log: Option<FileId>,
}

impl DatabaseFiles {
    /// Of a database that is open.
    pub(super) fn of(path: &Path) -> Result<Self, SpillError> {
        Ok(Self {
            file: FileId::of(path).map_err(io_error("look at", path))?,
            log: FileId::of(&log_of(path)).ok(),
        })
    }

    /// Whether either of them is gone, or another file is in its place.
    pub(super) fn have_left(self, path: &Path) -> bool {
        let log_left = |log: FileId| log.has_left(&log_of(path));
        self.file.has_left(path) || self.log.is_some_and(log_left)
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpillError {
    let path = path.to_owned();
    move |source| SpillError::Io {
        action,
        path,
        source,
    }
}

/// Where the log of a database lies.
pub(super) fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

/// Where the rollback journal of a database lies while it is being made.
pub(super) fn journal_of(database: &Path) -> PathBuf {
    beside(database, "-journal")
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut file = database.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

/// `None` if there was no such file.
pub(super) fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// The content of a file, if there is one.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SpillError> {
    if_there(fs::read(path)).map_err(io_error("read", path))
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if_there(Change::Remove(path).make(|| fs::remove_file(path))).map(drop)
}

/// Removes a database with its log and its journal, as far as they are there.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    remove(path)?;
    remove(&log_of(path))?;
    remove(&journal_of(path))
}

/// Removes a database whose creation failed, its log first: a new database of that name must not find the log.
pub(super) fn discard_database(path: &Path) {
    for file in [&log_of(path), &journal_of(path), path] {
        if let Err(error) = remove(file) {
            log::debug!(%error, file = %file.display(), "a database that was not made cannot be removed");
        }
    }
}

/// Gives another name to a database, if there is one, after its log.
pub(super) fn rename_database(from: &Path, to: &Path) -> io::Result<()> {
    let rename =
        |from: &Path, to: &Path| if_there(Change::Rename(from, to).make(|| fs::rename(from, to)));
    rename(&log_of(from), &log_of(to))?;
    rename(from, to).map(drop)
}

pub(super) fn make_folder(path: &Path) -> Result<(), SpillError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create", path))?;
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), sync_folder)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), SpillError> {
    let folder = || File::open(path).and_then(|folder| folder.sync_all());
    Change::SyncFolder(path)
        .make(folder)
        .map_err(io_error("sync", path))
}

/// The names in a folder; none if it is missing.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, SpillError> {
    let entries = if_there(fs::read_dir(folder)).and_then(|entries| {
        let entries = entries.into_iter().flatten();
        entries.collect::<io::Result<Vec<_>>>()
    });
    let entries = entries.map_err(io_error("list", folder))?.into_iter();
    Ok(entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// What the disk has free for this user.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the disk takes a small file: `SQLite` does not say whether it is a quota or the number of files that is used
/// up.
pub(super) fn has_room(dir: &Path) -> bool {
    // A segment is a file with a log, and a journal while it is made.
    let files = ["room", "room-wal", "room-journal"].map(|name| dir.join(name));
    let tried = files.iter().try_for_each(|file| fs::write(file, [0; 4096]));
    for file in &files {
        let _gone = fs::remove_file(file);
    }
    !tried.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    })
}

/// Whether the beginning or the end of this file can be read. If so, the parts that cannot are damaged, and waiting
/// does not help.
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

/// Whether there is no such file; false if that cannot be determined.
pub(super) fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
