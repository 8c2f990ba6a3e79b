//! Room on the disk that is kept for the moment when there is none left.
//!
//! On a full disk `SQLite` can neither delete a row nor carry its log into the database, since both write before they
//! free anything. So a file takes up some room in time, and gives it back when the disk is full: enough for the log to
//! be carried over, and for rows to be deleted until the disk has room again. Then it is made anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

pub(super) const RESERVE: &str = "reserve";

/// The reserve, and how it stands with the disk.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// Not to be had so far.
    Lacking,
    /// Given back, because the disk was full.
    Spent,
}

impl Reserve {
    /// Does not take the room yet.
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        Self {
            path: dir.join(RESERVE),
            bytes,
            state: State::Lacking,
        }
    }

    /// The disk was full, and has had no room for the reserve since.
    pub(super) fn is_spent(&self) -> bool {
        self.state == State::Spent
    }

    /// Gives the room back to the disk, which is full.
    pub(super) fn spend(&mut self) {
        if self.state != State::Spent {
            tracing::error!(target: "spillring", dir = %self.path.display(), "the disk is full: the spill takes nothing until it has room again");
        }
        self.state = State::Spent;
        self.remove();
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(target: "spillring", %error, "the disk's reserve could not be given back");
        }
    }

    /// Takes the room if the disk has it and `spare` bytes beside, and says whether it is there.
    pub(super) fn take(&mut self, spare: u64) -> bool {
        if self.state == State::Held {
            if self.path.exists() {
                return true;
            }
            self.state = State::Lacking;
        }
        let taken = self.allocate(spare).unwrap_or_else(|error| {
            tracing::debug!(target: "spillring", %error, "the disk's reserve cannot be had");
            self.remove();
            false
        });
        if taken {
            if self.state == State::Spent {
                tracing::info!(target: "spillring", "the disk has room again");
            }
            self.state = State::Held;
        }
        taken
    }

    fn allocate(&self, spare: u64) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let file = match OpenOptions::new().write(true).open(&self.path) {
            // That of an earlier start.
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if free_bytes(dir)? < self.bytes.saturating_add(spare) {
                    return Ok(false);
                }
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?
            }
            Err(error) => return Err(error),
        };
        file.set_len(self.bytes)?;
        allocate(&file, self.bytes)?;
        Ok(true)
    }
}

/// A file system that cannot set blocks aside has no room to keep; the file then only says how much there should be.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the disk has free for this user.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
