//! The directory of one publisher: who may be in it, who it is, and where things lie.
//!
//! ```text
//! <dir>/            0700
//!   lock            locked by the kernel while a publisher is alive, exclusively, and shared by those who look at the
//!                   spill meanwhile; holds the publisher's process id, for messages only. The folder itself is locked
//!                   by a publisher that waits for those who look
//!   identity        the publisher's id
//!   encryption      of an encrypted spill, what only its key fits
//!   signing-keys.json, sealed.json
//!                   the publisher's keys, and the newest checkpoint that the sink has stored
//!   watermark       how far delivery and writing have come
//!   index.sqlite3   runs, dead letters, numbers that will not be delivered, imports
//!   segments/       the backlog: <first key>-<attempt>.sqlite3, and what was damaged: *.damaged
//!   input.json      how far the binary has read the file that it follows
//!   status.json     the state of the publisher, renamed into place
//!   db/             the database of the first versions, until it is delivered
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::SpillError;
use crate::event::PublisherId;
use crate::host::log;

use super::adopt;
use super::files::is_missing;
use super::identity::read_identity;
use super::lock::Lock;
use super::watermark::WATERMARK;
use crate::change::Change;

/// What anybody but the owner and the group may do.
const OTHERS: u32 = 0o007;

const INDEX: &str = "index.sqlite3";
const SEGMENTS: &str = "segments";

/// A spill directory that no other publisher is in: taken by the one publisher, or by one or more inspectors.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// None if the directory could not be used at the start, and is left alone since.
    lock: Option<Lock>,
}

impl Directory {
    /// Makes the directory if it is missing, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, SpillError> {
        make_folder(path)?;
        warn_if_open(path);
        Ok(Self {
            path: path.to_owned(),
            lock: Some(Lock::take(path)?),
        })
    }

    /// A directory that cannot be used, and is left alone.
    pub(super) fn absent(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock: None,
        }
    }

    /// Takes the directory to look at it, beside others who do: makes nothing, writes nothing.
    pub(crate) fn take_existing(path: &Path) -> Result<Self, SpillError> {
        let directory = Self {
            path: path.to_owned(),
            lock: Some(Lock::share(path)?),
        };
        if Self::is_known(path)? {
            Ok(directory)
        } else {
            Err(missing(path))
        }
    }

    /// Whether a publisher has ever used the directory, as far as can be seen.
    pub(super) fn is_known(path: &Path) -> Result<bool, SpillError> {
        let files = [WATERMARK, INDEX, SEGMENTS].map(|name| path.join(name));
        Ok(files.iter().any(|file| !is_missing(file)) || !adopt::databases(path)?.is_empty())
    }

    /// Says, to one who looks for long, that a publisher is waiting for the directory.
    pub(super) fn give_way(&self) -> Result<(), SpillError> {
        self.lock.as_ref().map_or(Ok(()), Lock::give_way)
    }

    /// Whether there is a directory that may be written to.
    pub(super) fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Makes again what has vanished, if anything has: the directory, and in it the lock and who the publisher is. Answers
    /// whether it had to.
    pub(super) fn restore(&mut self, publisher: PublisherId) -> Result<bool, SpillError> {
        if self.lock.as_ref().is_some_and(Lock::is_in_place) {
            return Ok(false);
        }
        let again = Self::take(&self.path)?;
        match read_identity(&again.path)? {
            None => again.write_identity(publisher)?,
            Some(other) if other != publisher => {
                return Err(SpillError::OtherPublisher {
                    dir: self.path.clone(),
                });
            }
            Some(_) => {}
        }
        *self = again;
        Ok(true)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn watermark(&self) -> PathBuf {
        self.path.join(WATERMARK)
    }

    pub(super) fn index(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.path.join(SEGMENTS)
    }

    /// The database that holds the dead letters, if there is one.
    pub(super) fn letters(&self) -> Option<PathBuf> {
        let index = Some(self.index()).filter(|index| !is_missing(index));
        index.or_else(|| adopt::databases(&self.path).ok()?.pop())
    }

    /// Half of what the disk would have free without this spill: the same at every start, however full the spill is.
    pub(super) fn half_of_free_bytes(&self, own: u64) -> Result<u64, SpillError> {
        let free = free_bytes(&self.path).map_err(io_error("measure", self.path.clone()))?;
        Ok(free.saturating_add(own) / 2)
    }
}

/// What the disk has free for this user.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the disk takes a small file: `SQLite` does not say whether it is a quota or the number of files that is used up.
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

pub(crate) fn io_error(
    action: &'static str,
    path: PathBuf,
) -> impl FnOnce(io::Error) -> SpillError {
    move |source| SpillError::Io {
        action,
        path,
        source,
    }
}

pub(crate) fn missing(dir: &Path) -> SpillError {
    SpillError::Missing {
        dir: dir.to_owned(),
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), SpillError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make", path.to_owned()))?;
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), sync_folder)
}

/// Entries, dead letters (unless encrypted) and the signing key are in plain text below it.
fn warn_if_open(path: &Path) {
    let mode = path.metadata().map_or(0, |it| it.permissions().mode());
    if mode & OTHERS != 0 {
        log::warning!(
            spill_dir = %path.display(),
            mode = %format_args!("{:o}", mode & 0o777),
            "other users may look into the spill directory, which holds entries and the signing key: `chmod 700` closes it"
        );
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), SpillError> {
    let folder = || File::open(path).and_then(|folder| folder.sync_all());
    Change::SyncFolder(path)
        .make(folder)
        .map_err(io_error("sync", path.to_owned()))
}
