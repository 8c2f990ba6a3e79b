//! The ledger as a file: opening, cutting, replacing, keeping.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::files::{self, FileStep, Held};
use super::ledger::{Account, Line};
use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::host::log;

/// A ledger is rewritten once it has doubled, and has grown by more than this many bytes.
const GROWN_BYTES_MIN: u64 = 256 << 10;
/// How often another process may replace the ledger while it is being opened before opening fails.
const LOCK_ATTEMPTS_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct LedgerFile {
    pub(super) held: Held,
    /// Up to here it is known to be good.
    length: u64,
    /// Its length when it was last rewritten.
    compact_length: u64,
    line: Vec<u8>,
}

impl LedgerFile {
    /// Opens the ledger of `output`, takes its lock, and reads it.
    ///
    /// Links to the output are followed, so every path to it leads to one ledger.
    pub(super) fn open(
        output: &Path,
        durability: SpillDurability,
    ) -> Result<(Self, Vec<u8>), SinkError> {
        let path = with_suffix(&fs::canonicalize(output).step("follow", output)?, ".ledger");
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let mut held = Held::open(path.clone(), durability)?;
            held.lock()?;
            if !held.is_in_place() {
                // Its owner replaced it after we opened it and before we locked it.
                continue;
            }
            let mut text = Vec::new();
            held.file.read_to_end(&mut text).step("read", &path)?;
            let ledger = Self {
                held,
                length: text.len() as u64,
                compact_length: text.len() as u64,
                line: Vec::new(),
            };
            return Ok((ledger, text));
        }
        Err(files::in_use(&path))
    }

    /// The error for a ledger that cannot be read.
    pub(super) fn unusable(&self, problem: &str) -> SinkError {
        SinkError::Misconfigured(format!(
            "cannot use {}: {problem}; restore it, or move it away: the output's content then stays as it is, and what \
             had not been acknowledged may be there twice",
            self.held.path.display()
        ))
    }

    /// Cuts off a torn end.
    pub(super) fn cut(&mut self, good: u64) -> Result<(), SinkError> {
        if good < self.length {
            let path = self.held.path.display();
            log::warning!("the last line of {path} was torn: cut off");
            self.length = good;
            self.compact_length = good;
            self.take_back()?;
        }
        Ok(())
    }

    /// Appends lines: all, or none.
    ///
    /// Each is synced before the next is written: a power cut may lose the last one, but never leaves a hole.
    pub(super) fn append(
        &mut self,
        lines: impl IntoIterator<Item = Line>,
    ) -> Result<(), SinkError> {
        let mut length = self.length;
        for line in lines {
            self.line.clear();
            let written = line.write(&mut self.line);
            written.step("write to", &self.held.path)?;
            self.held.append(&self.line)?;
            length += self.line.len() as u64;
        }
        self.length = length;
        Ok(())
    }

    /// Undoes a failed append.
    pub(super) fn take_back(&self) -> Result<(), SinkError> {
        self.held.cut(self.length)
    }

    pub(super) fn has_grown(&self) -> bool {
        self.length - self.compact_length > GROWN_BYTES_MIN.max(self.compact_length)
    }

    pub(super) fn is_missing(&self) -> bool {
        let there = fs::metadata(&self.held.path);
        there.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Rewrites the account.
    pub(super) fn rewrite(&mut self, account: &Account) -> Result<(), SinkError> {
        let mut text = Vec::new();
        account.write(&mut text).step("write to", &self.held.path)?;
        self.held = self.write_whole(&text, &self.held.path)?;
        self.length = text.len() as u64;
        self.compact_length = self.length;
        Ok(())
    }

    /// Keeps the ledger of an output that is gone, under a free name.
    pub(super) fn keep(&self, text: &[u8]) -> Result<(), SinkError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut seconds = now.map_or(0, |since| since.as_secs());
        let name = |seconds| with_suffix(&self.held.path, &format!(".{seconds:010}"));
        while fs::symlink_metadata(name(seconds)).is_ok() {
            seconds += 1;
        }
        let kept = self.write_whole(text, &name(seconds))?;
        log::warning!("the ledger so far is kept as {}", kept.path.display());
        Ok(())
    }

    /// Writes `text` into a new file, and renames it to `to`.
    ///
    /// The file is synced whatever the durability: a ledger must never be found without its first line. It is locked
    /// before it gets the name, so no other process can take it in between.
    fn write_whole(&self, text: &[u8], to: &Path) -> Result<Held, SinkError> {
        let mut new = Held::open(with_suffix(&self.held.path, ".new"), self.held.durability)?;
        new.lock()?;
        let mode = self.held.metadata()?.permissions();
        let set = new.file.set_permissions(mode);
        set.step("set the mode of", &new.path)?;
        // A crash may have left something there.
        new.cut(0)?;
        new.file.write_all(text).step("write to", &new.path)?;
        new.file.sync_all().step("sync", &new.path)?;
        fs::rename(&new.path, to).step("replace", to)?;
        files::sync_directory(to)?;
        to.clone_into(&mut new.path);
        Ok(new)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
