//! Who may be in a spill directory.
//!
//! The lock is the kernel's. It ends with the process, however that ends, so a file that is left never blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::files::{FileId, io_error};
use crate::error::SpillError;
use crate::host::log;

const LOCK: &str = "lock";

/// How long a starting publisher waits for inspectors, which leave within milliseconds.
const LOOKERS_MAX: Duration = Duration::from_secs(1);
/// The longest wait between two tries of it: short, because between two inspectors there may be no more than a moment.
const LOOKERS_POLL: Duration = Duration::from_millis(1);

/// The lock of a directory, held by a publisher alone or by inspectors together.
#[derive(Debug)]
pub(super) struct Lock {
    dir: PathBuf,
    /// Held for its lock only.
    file: File,
}

impl Drop for Lock {
    /// Closing is not enough: the lock is released with the last copy of the handle, and a child process that another
    /// thread is starting holds one until `exec`.
    fn drop(&mut self) {
        self.unlock();
    }
}

impl Lock {
    /// For a publisher, who makes the file if it is missing.
    pub(super) fn take(dir: &Path) -> Result<Self, SpillError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        // A disk that cannot be written to can still be read, and its backlog delivered.
        let opened = Self::open(dir, &mut options);
        let mut lock =
            opened.or_else(|error| Self::open(dir, &mut OpenOptions::new()).map_err(|_| error))?;
        if !lock.try_lock(FlockOperation::NonBlockingLockExclusive)? {
            let folder = File::open(dir).map_err(io_error("open", dir))?;
            let claimed = lock.claim_from_inspectors(&folder);
            rustix::fs::flock(&folder, FlockOperation::Unlock).unwrap_or_default();
            claimed?;
        }
        // It is for messages only, and a full disk may not take it.
        if let Err(error) = lock.write_pid() {
            log::debug!(%error, "the process id cannot be written to the lock file");
        }
        Ok(lock)
    }

    /// If the lock can be shared, no other publisher has it, only inspectors, and they leave: soon, or when they see
    /// that the folder itself is locked.
    fn claim_from_inspectors(&mut self, folder: &File) -> Result<(), SpillError> {
        let deadline = Instant::now() + LOOKERS_MAX;
        while !self.try_lock(FlockOperation::NonBlockingLockExclusive)? {
            if !self.try_lock(FlockOperation::NonBlockingLockShared)? {
                return Err(self.in_use());
            }
            if Instant::now() >= deadline {
                return Err(self.in_use_by(None));
            }
            // If kept, the shared lock would block another publisher that waits in the same way.
            self.unlock();
            // Harmless if another publisher has it already, or the file system does not support it.
            rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive).unwrap_or_default();
            thread::sleep(LOOKERS_POLL.mul_f64(fastrand::f64()));
        }
        Ok(())
    }

    /// Fails if a publisher is waiting for the directory; long-running inspectors call this.
    pub(super) fn give_way(&self) -> Result<(), SpillError> {
        let awaited = File::open(&self.dir).is_ok_and(|folder| {
            let free = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockShared);
            if free.is_ok() {
                rustix::fs::flock(&folder, FlockOperation::Unlock).unwrap_or_default();
            }
            free == Err(Errno::WOULDBLOCK)
        });
        if awaited {
            return Err(self.in_use_by(None));
        }
        Ok(())
    }

    /// For a looker, beside others.
    pub(super) fn share(dir: &Path) -> Result<Self, SpillError> {
        let mut lock = Self::open(dir, &mut OpenOptions::new())?;
        if lock.try_lock(FlockOperation::NonBlockingLockShared)? {
            Ok(lock)
        } else {
            Err(lock.in_use())
        }
    }

    /// Whether the lock that is held is the one that others would meet.
    pub(super) fn is_in_place(&self) -> bool {
        let held = FileId::of_open(&self.file).ok();
        held.is_some() && held == FileId::of(&self.dir.join(LOCK)).ok()
    }

    /// Opens the lock without taking it.
    fn open(dir: &Path, options: &mut OpenOptions) -> Result<Self, SpillError> {
        let path = dir.join(LOCK);
        let file = match options.read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(dir)),
            opened => opened.map_err(io_error("open", &path))?,
        };
        Ok(Self {
            dir: dir.to_owned(),
            file,
        })
    }

    /// Says whether the lock was to be had at once.
    fn try_lock(&self, operation: FlockOperation) -> Result<bool, SpillError> {
        match rustix::fs::flock(&self.file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(io_error("lock", &self.dir.join(LOCK))(error.into())),
        }
    }

    fn unlock(&self) {
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            log::debug!(%error, "the spill directory could not be unlocked");
        }
    }

    fn in_use(&mut self) -> SpillError {
        let pid = self.read_pid();
        self.in_use_by(pid)
    }

    fn in_use_by(&self, pid: Option<u32>) -> SpillError {
        SpillError::InUse {
            dir: self.dir.clone(),
            pid,
        }
    }

    fn write_pid(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    fn read_pid(&mut self) -> Option<u32> {
        let mut text = String::new();
        (&mut self.file).take(20).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

/// No publisher has ever used this directory.
pub(super) fn missing(dir: &Path) -> SpillError {
    SpillError::Missing {
        dir: dir.to_owned(),
    }
}
