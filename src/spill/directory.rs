//! The directory of one publisher: who may be in it, who it is, and where things lie.
//!
//! ```text
//! <dir>/            0700
//!   lock            locked by the kernel while a publisher is alive, exclusively, and shared by those who look at the
//!                   spill meanwhile; holds the publisher's process id, for messages only. The folder itself is locked
//!                   by a publisher that waits for those who look
//!   identity        the publisher's id
//!   mark            what the database holds, so that what vanishes from it is noticed
//!   reserve         room that is given back when the disk is full
//!   status.json     how things stand, renamed into place
//!   db/             the database with its WAL: a folder of its own, so that it can be set aside as a whole
//!     spill.sqlite3
//!   db.salvaging.<unix seconds>/, db.quarantined.<unix seconds>/    databases that were set aside
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::SpillError;
use crate::event::PublisherId;

use super::identity::read_identity;
use super::lock::Lock;
use super::{quarantine, reserve};

const MARK: &str = "mark";
pub(super) const DATABASE_FOLDER: &str = "db";
pub(super) const DATABASE: &str = "spill.sqlite3";

/// A spill directory that no other publisher is in: taken by the one publisher, or by one or more lookers.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// None if the directory could not be used at the start, and is left alone since.
    lock: Option<Lock>,
}

/// What a replaced file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// A power cut.
    Synced,
    /// The death of the process; after a power cut it may be empty.
    Unsynced,
}

impl Directory {
    /// Makes the directory if it is missing, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, SpillError> {
        make_folder(path)?;
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
        let files = [path.join(MARK), path.join(DATABASE_FOLDER).join(DATABASE)];
        Ok(files.iter().any(|file| file.exists()) || quarantine::waiting(path)?.is_some())
    }

    /// Says, to one who looks for long, that a publisher is waiting for the directory.
    pub(super) fn give_way(&self) -> Result<(), SpillError> {
        self.lock.as_ref().map_or(Ok(()), Lock::give_way)
    }

    /// Whether there is a directory that may be written to.
    pub(super) fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Makes anew what has vanished, if anything has: the directory, and in it the lock and who the publisher is.
    pub(super) fn restore(&mut self, publisher: PublisherId) -> Result<(), SpillError> {
        if self.lock.as_ref().is_some_and(Lock::stands) {
            return Ok(());
        }
        let anew = Self::take(&self.path)?;
        match read_identity(&anew.path)? {
            None => anew.write_identity(publisher)?,
            Some(other) if other != publisher => {
                return Err(SpillError::OtherPublisher {
                    dir: self.path.clone(),
                });
            }
            Some(_) => {}
        }
        *self = anew;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn mark(&self) -> PathBuf {
        self.path.join(MARK)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FOLDER).join(DATABASE)
    }

    /// Makes the database's file with its mode before `SQLite` does, because the WAL takes its mode from it.
    ///
    /// Only to be called before `SQLite` has the file: closing any other handle to it drops `SQLite`'s locks.
    pub(super) fn prepare_database(&self) -> Result<(), SpillError> {
        make_folder(&self.path.join(DATABASE_FOLDER))?;
        let file = self.database();
        match private_file(OpenOptions::new().create_new(true), &file) {
            Ok(_) => sync_folder(&self.path.join(DATABASE_FOLDER)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io_error("make", file)(error)),
        }
    }

    /// Half of what the disk would have free without this spill: the same at every start, however full the spill is.
    pub(super) fn half_of_free_bytes(&self) -> Result<u64, SpillError> {
        let free =
            reserve::free_bytes(&self.path).map_err(io_error("measure", self.path.clone()))?;
        let own: u64 = [self.database(), self.path.join(reserve::RESERVE)]
            .iter()
            .filter_map(|file| std::fs::metadata(file).ok())
            .map(|file| file.len())
            .sum();
        Ok(free.saturating_add(own) / 2)
    }
}

/// Puts a file of mode 0600 into a folder: whoever reads it sees the old content or the new one, nothing between.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8], persist: Persist) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = private_file(OpenOptions::new().create(true).truncate(true), &new)?;
    file.write_all(content)?;
    if persist == Persist::Synced {
        file.sync_all()?;
    }
    std::fs::rename(&new, dir.join(name))?;
    if persist == Persist::Synced {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
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

fn make_folder(path: &Path) -> Result<(), SpillError> {
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

pub(super) fn sync_folder(path: &Path) -> Result<(), SpillError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("sync", path.to_owned()))
}

fn private_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}
