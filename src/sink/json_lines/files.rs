//! The ledger as a file: opening, locking, cutting, replacing, keeping; and the meaning of each I/O error.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::ledger::{Account, Line};
use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::host::log;

/// By how many bytes a ledger must grow before it is rewritten; a larger one may double.
const GROWN_BYTES_MIN: u64 = 256 << 10;
/// How often another process may replace the ledger while it is being opened before opening fails.
const LOCK_ATTEMPTS_MAX: u32 = 8;

/// The ledger's file, locked for this process.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    /// Up to here it is known to be good.
    length: u64,
    /// Its length when it was last rewritten.
    compact_length: u64,
    line: Vec<u8>,
}

/// Translates a failed step on a file into the sink's terms.
pub(super) trait Step<T> {
    /// `action` is a verb, such as `sync`.
    fn step(self, action: &str, path: &Path) -> Result<T, SinkError>;
}

/// Whether `file` is the file at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
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

impl LedgerFile {
    /// Opens the ledger of `output`, takes its lock, and reads it.
    ///
    /// Links to the output are followed, so every path to it leads to one ledger.
    pub(super) fn open(output: &Path) -> Result<(Self, Vec<u8>), SinkError> {
        let path = with_suffix(&fs::canonicalize(output).step("follow", output)?, ".ledger");
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let mut file = open(&path).step("open", &path)?;
            lock(&file, &path)?;
            if !is_at(&file, &path) {
                // Its owner replaced it after we opened it and before we locked it.
                continue;
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text).step("read", &path)?;
            let ledger = Self {
                path,
                file,
                length: text.len() as u64,
                compact_length: text.len() as u64,
                line: Vec::new(),
            };
            return Ok((ledger, text));
        }
        Err(in_use(&path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a ledger that cannot be read.
    pub(super) fn unusable(&self, problem: &str) -> SinkError {
        SinkError::Misconfigured(format!(
            "cannot use {}: {problem}; restore it, or move it away: the output's content then stays as it is, and what \
             had not been acknowledged may be there twice",
            self.path.display()
        ))
    }

    /// Cuts off a torn end.
    pub(super) fn cut(&mut self, good: u64) -> Result<(), SinkError> {
        if good < self.length {
            log::warning!("the last line of {} was torn: cut off", self.path.display());
            self.length = good;
            self.compact_length = good;
            self.file.set_len(good).step("cut back", &self.path)?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.file.sync_data().step("sync", &self.path)
    }

    /// Appends lines: all, or none.
    ///
    /// Each is synced before the next is written: a power cut may lose the last one, but never leaves a hole.
    pub(super) fn append(
        &mut self,
        lines: impl IntoIterator<Item = Line>,
        durability: SpillDurability,
    ) -> Result<(), SinkError> {
        let mut length = self.length;
        for line in lines {
            self.line.clear();
            line.write(&mut self.line)
                .and_then(|()| self.file.write_all(&self.line))
                .step("write to", &self.path)?;
            if durability == SpillDurability::PowerLoss {
                self.sync()?;
            }
            length += self.line.len() as u64;
        }
        self.length = length;
        Ok(())
    }

    /// Undoes a failed append.
    pub(super) fn take_back(&self) -> io::Result<()> {
        self.file.set_len(self.length)
    }

    pub(super) fn has_grown(&self) -> bool {
        self.length - self.compact_length > GROWN_BYTES_MIN.max(self.compact_length)
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(fs::metadata(&self.path), Err(error) if error.kind() == ErrorKind::NotFound)
    }

    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Rewrites the account.
    pub(super) fn rewrite(&mut self, account: &Account) -> Result<(), SinkError> {
        let mut text = Vec::new();
        account.write(&mut text).step("write to", &self.path)?;
        self.file = self.write_whole(&text, &self.path)?;
        self.length = text.len() as u64;
        self.compact_length = self.length;
        Ok(())
    }

    /// Keeps the ledger of an output that is gone, under a free name.
    pub(super) fn keep(&self, text: &[u8]) -> Result<(), SinkError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut seconds = now.map_or(0, |since| since.as_secs());
        let mut kept = with_suffix(&self.path, &format!(".{seconds:010}"));
        while fs::symlink_metadata(&kept).is_ok() {
            seconds += 1;
            kept = with_suffix(&self.path, &format!(".{seconds:010}"));
        }
        self.write_whole(text, &kept)?;
        log::warning!("the ledger so far is kept as {}", kept.display());
        Ok(())
    }

    /// Writes `text` into a new file, and renames it to `to`.
    ///
    /// The file is synced whatever the durability: a ledger must never be found without its first line. It is locked
    /// before it gets the name, so no other process can take it in between.
    fn write_whole(&self, text: &[u8], to: &Path) -> Result<File, SinkError> {
        let path = with_suffix(&self.path, ".new");
        let mut file = open(&path).step("open", &path)?;
        lock(&file, &path)?;
        let mode = self
            .file
            .metadata()
            .step("look at", &self.path)?
            .permissions();
        file.set_permissions(mode).step("set the mode of", &path)?;
        // A crash may have left something there.
        file.set_len(0).step("cut back", &path)?;
        file.write_all(text).step("write to", &path)?;
        file.sync_all().step("sync", &path)?;
        fs::rename(&path, to).step("replace", to)?;
        sync_directory(to)?;
        Ok(file)
    }
}

impl<T> Step<T> for io::Result<T> {
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

pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Locks a file. The lock dies with its last handle.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), SinkError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(error).step("lock", path),
    }
}

fn in_use(path: &Path) -> SinkError {
    SinkError::Unavailable(format!(
        "{} is held by another process or sink: give each its own output, or end the other",
        path.display()
    ))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
