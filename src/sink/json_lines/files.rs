//! The output and the ledger as files: opened, locked, cut back, replaced; and what each refusal means.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ledger::{self, Account, Range};
use crate::config::SpillDurability;
use crate::error::SinkError;

/// How much a ledger may grow, in bytes, before it is worth writing anew; a larger one may double.
const GROWN_BYTES_MIN: u64 = 256 << 10;
/// How often a ledger may be replaced under our hands before we give up for now.
const LOCK_ATTEMPTS_MAX: u32 = 8;
/// How much of the output is read at a time to check it.
const CHECK_BYTES: usize = 64 << 10;

/// The ledger's file, locked for this process.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    /// How far it is known to be good.
    length: u64,
    /// Its length when it was last written anew.
    compact_length: u64,
    line: Vec<u8>,
}

/// Says in the sink's terms why a step on a file failed.
pub(super) trait Step<T> {
    /// `action` is a verb, such as `sync`.
    fn step(self, action: &str, path: &Path) -> Result<T, SinkError>;
}

/// Opens the output for appending; creates it, but never its directory.
pub(super) fn open_output(path: &Path) -> Result<File, SinkError> {
    let file = open(path).step("open", path)?;
    if file.metadata().step("look at", path)?.is_file() {
        return Ok(file);
    }
    Err(SinkError::Misconfigured(format!(
        "{} is no regular file: give the path of one",
        path.display()
    )))
}

/// Cuts the output back to what the account tells, if it is the output that the account tells of.
pub(super) fn settle_output(
    output: &File,
    path: &Path,
    account: &Account,
) -> Result<bool, SinkError> {
    let length = output.metadata().step("look at", path)?.len();
    let told = account.end();
    let is_told = length >= told
        && match account.last_bytes() {
            Some(range) => checksum(output, range).step("read", path)? == range.crc32,
            None => true,
        };
    if !is_told {
        tracing::warn!(
            target: "spillring",
            "{} is not as its ledger tells it ({length} bytes, {told} told): its content stays, entries go on behind it",
            path.display()
        );
    } else if length > told {
        tracing::warn!(
            target: "spillring",
            "{} bytes at the end of {} were not acknowledged: cut off",
            length - told,
            path.display()
        );
        output.set_len(told).step("cut back", path)?;
    }
    Ok(is_told)
}

/// Ends the last line of the output, if it isn't, and tells the output's length.
pub(super) fn finish_line(mut output: &File, path: &Path) -> Result<u64, SinkError> {
    let length = output.metadata().step("look at", path)?.len();
    let Some(last) = length.checked_sub(1) else {
        return Ok(0);
    };
    let mut byte = [0];
    output.read_exact_at(&mut byte, last).step("read", path)?;
    if byte == *b"\n" {
        return Ok(length);
    }
    output.write_all(b"\n").step("write to", path)?;
    Ok(length + 1)
}

/// Whether `file` is what stands at `path`.
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
    pub(super) fn open(output: &Path) -> Result<(Self, Vec<u8>), SinkError> {
        let path = with_suffix(output, ".ledger");
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let mut file = open(&path).step("open", &path)?;
            lock(&file, &path)?;
            if !is_at(&file, &path) {
                // Its owner replaced it between our opening and our locking.
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

    /// The error of a ledger that cannot be believed.
    pub(super) fn damaged(&self, problem: &str) -> SinkError {
        SinkError::Misconfigured(format!(
            "cannot use {}: {problem}; restore it, or move it away: the output's content then stays as it is, and what \
             had not been acknowledged may stand there twice",
            self.path.display()
        ))
    }

    /// Cuts a torn end off.
    pub(super) fn cut(&mut self, good: u64) -> Result<(), SinkError> {
        if good < self.length {
            tracing::warn!(
                target: "spillring",
                "the last line of {} was torn: cut off",
                self.path.display()
            );
            self.length = good;
            self.compact_length = good;
            self.file.set_len(good).step("cut back", &self.path)?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.file.sync_data().step("sync", &self.path)
    }

    /// Appends the lines of `ranges`.
    pub(super) fn append(
        &mut self,
        ranges: &[Range],
        durability: SpillDurability,
    ) -> Result<(), SinkError> {
        self.line.clear();
        ledger::write_ranges(ranges, &mut self.line)
            .and_then(|()| self.file.write_all(&self.line))
            .step("write to", &self.path)?;
        if durability == SpillDurability::PowerLoss {
            self.sync()?;
        }
        self.length += self.line.len() as u64;
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

    /// Writes the account into a file of its own, and renames it into place.
    ///
    /// It is synced whatever the durability asked for: a ledger must never be found without its first line. The new
    /// file is locked before it has the name, so that there is no moment at which another process could take it.
    pub(super) fn rewrite(&mut self, account: &Account) -> Result<(), SinkError> {
        let path = with_suffix(&self.path, ".new");
        let mut text = Vec::new();
        account.write(&mut text).step("write to", &path)?;
        let mut file = open(&path).step("open", &path)?;
        lock(&file, &path)?;
        let mode = self
            .file
            .metadata()
            .step("look at", &self.path)?
            .permissions();
        file.set_permissions(mode).step("set the mode of", &path)?;
        // May hold what a crash left there.
        file.set_len(0).step("cut back", &path)?;
        file.write_all(&text).step("write to", &path)?;
        file.sync_all().step("sync", &path)?;
        fs::rename(&path, &self.path).step("replace", &self.path)?;
        self.file = file;
        self.length = text.len() as u64;
        self.compact_length = self.length;
        sync_directory(&self.path)
    }
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, action: &str, path: &Path) -> Result<T, SinkError> {
        self.map_err(|error| {
            let told = format!("cannot {action} {}: {error}", path.display());
            match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    SinkError::Misconfigured(format!("{told}; let this process write there"))
                }
                ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
                    SinkError::Misconfigured(format!("{told}; give the path of a file"))
                }
                ErrorKind::NotFound => SinkError::Unavailable(format!(
                    "{told}; make its directory, the sink never does"
                )),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    SinkError::Unavailable(format!("{told}; make room on its disk"))
                }
                _ => SinkError::Unavailable(told),
            }
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn lock(file: &File, path: &Path) -> Result<(), SinkError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(error).step("lock", path),
    }
}

fn in_use(path: &Path) -> SinkError {
    SinkError::Unavailable(format!(
        "{} is held by another process or sink: give each an output of its own, or end the other",
        path.display()
    ))
}

/// The CRC-32 of a range of the output.
fn checksum(output: &File, range: &Range) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHECK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let wanted =
            usize::try_from(range.end - at).map_or(CHECK_BYTES, |left| left.min(CHECK_BYTES));
        output.read_exact_at(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(hasher.finalize())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
