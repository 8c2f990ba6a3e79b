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
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::SpillError;
use crate::event::PublisherId;

use super::identity::read_identity;
use super::{quarantine, reserve};

const LOCK: &str = "lock";
const MARK: &str = "mark";
pub(super) const DATABASE_FOLDER: &str = "db";
pub(super) const DATABASE: &str = "spill.sqlite3";

/// Lookers leave within milliseconds: how long a publisher that starts waits for that, at the most.
const LOOKERS_MAX: Duration = Duration::from_secs(1);
/// The longest wait between two tries of it: short, because between two lookers there may be no more than a moment.
const LOOKERS_POLL: Duration = Duration::from_millis(1);

/// A spill directory that no other publisher is in: taken by the one publisher, or by one or more lookers.
///
/// The lock is the kernel's: it goes with the process, however that ends, so a file left behind never blocks.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held for its lock only.
    lock: File,
}

impl Drop for Directory {
    /// Closing would not do: the lock goes with the last copy of the handle, and a child that another thread is just
    /// starting has one until it executes its program.
    fn drop(&mut self) {
        self.unlock();
    }
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
        let mut directory = Self::open(path, &mut lock_options())?;
        directory.claim()?;
        write_pid(&mut directory.lock).map_err(io_error("write", path.join(LOCK)))?;
        Ok(directory)
    }

    /// Takes the directory to look at it, beside others who do: makes nothing, writes nothing.
    pub(crate) fn take_existing(path: &Path) -> Result<Self, SpillError> {
        let mut directory = Self::open(path, &mut OpenOptions::new())?;
        if !directory.try_lock(FlockOperation::NonBlockingLockShared)? {
            let pid = read_pid(&mut directory.lock);
            return Err(directory.in_use(pid));
        }
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
        let awaited = File::open(&self.path).is_ok_and(|folder| {
            let free = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockShared);
            if free.is_ok() {
                rustix::fs::flock(&folder, FlockOperation::Unlock).unwrap_or_default();
            }
            free == Err(Errno::WOULDBLOCK)
        });
        if awaited {
            return Err(self.in_use(None));
        }
        Ok(())
    }

    /// Makes anew what has vanished, if anything has: the directory, and in it the lock and who the publisher is.
    pub(super) fn restore(&mut self, publisher: PublisherId) -> Result<(), SpillError> {
        if self.stands() {
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

    /// Whether the lock that is held is the one that others would meet.
    fn stands(&self) -> bool {
        let held = rustix::fs::fstat(&self.lock).ok();
        let met = rustix::fs::stat(self.path.join(LOCK)).ok();
        held.zip(met)
            .is_some_and(|(held, met)| (held.st_dev, held.st_ino) == (met.st_dev, met.st_ino))
    }

    /// Opens the lock without taking it.
    fn open(path: &Path, options: &mut OpenOptions) -> Result<Self, SpillError> {
        let file = path.join(LOCK);
        let lock = match options.read(true).open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(path)),
            opened => opened.map_err(io_error("open", file))?,
        };
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Takes the lock for a publisher. Whoever can share it meets no other publisher, only lookers, and they leave: soon,
    /// or when they see that the folder itself is locked.
    fn claim(&mut self) -> Result<(), SpillError> {
        if self.try_lock(FlockOperation::NonBlockingLockExclusive)? {
            return Ok(());
        }
        let folder = File::open(&self.path).map_err(io_error("open", self.path.clone()))?;
        let claimed = self.claim_from_lookers(&folder);
        rustix::fs::flock(&folder, FlockOperation::Unlock).unwrap_or_default();
        claimed
    }

    fn claim_from_lookers(&mut self, folder: &File) -> Result<(), SpillError> {
        let deadline = Instant::now() + LOOKERS_MAX;
        while !self.try_lock(FlockOperation::NonBlockingLockExclusive)? {
            if !self.try_lock(FlockOperation::NonBlockingLockShared)? {
                let pid = read_pid(&mut self.lock);
                return Err(self.in_use(pid));
            }
            if Instant::now() >= deadline {
                return Err(self.in_use(None));
            }
            // Kept, the share would bar another publisher that waits in the same way.
            self.unlock();
            // That another one has it already, or a file system has no such lock, does no harm.
            rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive).unwrap_or_default();
            thread::sleep(LOOKERS_POLL.mul_f64(fastrand::f64()));
        }
        Ok(())
    }

    /// Says whether the lock was to be had at once.
    fn try_lock(&self, operation: FlockOperation) -> Result<bool, SpillError> {
        match rustix::fs::flock(&self.lock, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(io_error("lock", self.path.join(LOCK))(error.into())),
        }
    }

    fn unlock(&self) {
        if let Err(error) = rustix::fs::flock(&self.lock, FlockOperation::Unlock) {
            tracing::debug!(target: "spillring", %error, "the spill directory could not be unlocked");
        }
    }

    fn in_use(&self, pid: Option<u32>) -> SpillError {
        SpillError::InUse {
            dir: self.path.clone(),
            pid,
        }
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

fn lock_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn private_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
