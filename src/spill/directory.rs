//! The directory of one publisher: who may be in it, who it is, and where things lie.
//!
//! ```text
//! <dir>/            0700
//!   lock            locked by the kernel while a publisher is alive, exclusively, and shared by inspectors of the
//!                   spill otherwise; holds the publisher's process id, for messages only. The folder itself is locked
//!                   by a publisher that waits for inspectors
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

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::SpillError;
use crate::event::PublisherId;
use crate::host::log;

use super::files::{free_bytes, io_error, is_missing, make_folder, names_in};
use super::identity;
use super::lock::{Lock, missing};

/// What anybody but the owner and the group may do.
const OTHERS: u32 = 0o007;

pub(super) const WATERMARK: &str = "watermark";
const INDEX: &str = "index.sqlite3";
const SEGMENTS: &str = "segments";
/// Where the first versions of spillring had their database, and those that they had set aside.
const OLD_FOLDER: &str = "db";
const OLD_SALVAGING: &str = "db.salvaging.";
const OLD_DATABASE: &str = "spill.sqlite3";

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

    /// Takes the directory to inspect it, together with other inspectors. Creates and writes nothing.
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
        Ok(files.iter().any(|file| !is_missing(file)) || !Self::old_databases(path)?.is_empty())
    }

    /// The databases of the first versions, oldest first.
    pub(super) fn old_databases(path: &Path) -> Result<Vec<PathBuf>, SpillError> {
        let mut folders = names_in(path)?;
        folders.retain(|name| name.starts_with(OLD_SALVAGING));
        folders.sort();
        folders.push(OLD_FOLDER.to_owned());
        let files = folders
            .into_iter()
            .map(|folder| path.join(folder).join(OLD_DATABASE));
        Ok(files.filter(|file| !is_missing(file)).collect())
    }

    /// Fails if a publisher is waiting for the directory; long-running inspectors call this.
    pub(super) fn give_way(&self) -> Result<(), SpillError> {
        self.lock.as_ref().map_or(Ok(()), Lock::give_way)
    }

    /// Whether there is a directory that may be written to.
    pub(super) fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Restores what has vanished: the directory, and in it the lock and the identity. Returns whether anything had.
    pub(super) fn restore(&mut self, publisher: PublisherId) -> Result<bool, SpillError> {
        if self.lock.as_ref().is_some_and(Lock::is_in_place) {
            return Ok(false);
        }
        let again = Self::take(&self.path)?;
        match identity::read(&again.path)? {
            None => identity::write(&again.path, publisher)?,
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
    pub(super) fn dead_letters(&self) -> Option<PathBuf> {
        let index = Some(self.index()).filter(|index| !is_missing(index));
        index.or_else(|| Self::old_databases(&self.path).ok()?.pop())
    }

    /// Half of what the disk would have free without this spill: the same at every start, however full the spill is.
    pub(super) fn half_of_free_bytes(&self, own: u64) -> Result<u64, SpillError> {
        let free = free_bytes(&self.path).map_err(io_error("measure", &self.path))?;
        Ok(free.saturating_add(own) / 2)
    }
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
