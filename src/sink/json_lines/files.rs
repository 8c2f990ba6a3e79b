//! The files: appending, locking and cutting them, and the meaning of each I/O error.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::host::log;

/// A file that is appended to, and locked for this process.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) durability: SpillDurability,
}

impl Drop for Held {
    /// Closing is not enough: the lock lasts until the last copy of the handle is closed, and a child process that
    /// another thread is just starting has a copy until it calls `exec`.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            log::debug!(%error, file = %self.path.display(), "the file could not be unlocked");
        }
    }
}

/// Translates a failed step on a file into the sink's terms.
pub(super) trait FileStep<T> {
    /// `action` is a verb, such as `sync`.
    fn step(self, action: &str, path: &Path) -> Result<T, SinkError>;
}

impl Held {
    /// Opens a file; creates it, but never its directory. It is not locked yet.
    pub(super) fn open(path: PathBuf, durability: SpillDurability) -> Result<Self, SinkError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .step("open", &path)?;
        Ok(Self {
            file,
            path,
            durability,
        })
    }

    /// Until this is dropped.
    pub(super) fn lock(&self) -> Result<(), SinkError> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(in_use(&self.path)),
            Err(TryLockError::Error(error)) => Err(error).step("lock", &self.path),
        }
    }

    /// Whether it is the file at its path.
    pub(super) fn is_in_place(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(there)) => identity(open) == identity(there),
            _ => false,
        }
    }

    pub(super) fn metadata(&self) -> Result<fs::Metadata, SinkError> {
        self.file.metadata().step("look at", &self.path)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.file.write_all(bytes).step("write to", &self.path)?;
        self.sync()
    }

    /// Syncs what was appended, if it must survive a power cut.
    pub(super) fn sync(&self) -> Result<(), SinkError> {
        match self.durability {
            SpillDurability::PowerLoss => self.file.sync_data().step("sync", &self.path),
            SpillDurability::ProcessCrash => Ok(()),
        }
    }

    pub(super) fn cut(&self, length: u64) -> Result<(), SinkError> {
        self.file.set_len(length).step("cut back", &self.path)
    }
}

impl<T> FileStep<T> for io::Result<T> {
    fn step(self, action: &str, path: &Path) -> Result<T, SinkError> {
        self.map_err(|error| {
            let text = format!("cannot {action} {}: {error}", path.display());
            match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    SinkError::Misconfigured(format!("{text}; let this process write there"))
                }
                ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
                    SinkError::Misconfigured(format!("{text}; give the path of a file"))
                }
                ErrorKind::NotFound => SinkError::Unavailable(format!(
                    "{text}; create its directory, the sink never does"
                )),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    SinkError::Unavailable(format!("{text}; make room on its disk"))
                }
                _ => SinkError::Unavailable(text),
            }
        })
    }
}

/// Makes new names in the directory of `path` survive a power cut.
pub(super) fn sync_directory(path: &Path) -> Result<(), SinkError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .step("sync", directory)
}

pub(super) fn in_use(path: &Path) -> SinkError {
    SinkError::Unavailable(format!(
        "{} is held by another process or sink: give each its own output, or end the other",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_just_starting_keeps_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Held::open(dir.path().join("held"), SpillDurability::ProcessCrash).unwrap();
        let held = open();
        held.lock().unwrap();
        assert!(open().lock().is_err());
        let of_child = held.file.try_clone().unwrap();
        drop(held);
        open().lock().unwrap();
        drop(of_child);
    }
}
