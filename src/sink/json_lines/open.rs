//! The output and its ledger, open and locked.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::files::{self, LedgerFile, Step};
use super::ledger::{self, Account, Line};
use super::output;
use super::page::Page;
use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::event::PublisherId;
use crate::host::log;
use crate::seal::Signer;

/// Both files, and the account. Dropped at the first error: opening them again is the recovery.
#[derive(Debug)]
pub(super) struct Open {
    output: File,
    pub(super) ledger: LedgerFile,
    pub(super) account: Account,
}

impl Open {
    pub(super) fn new(path: &Path, durability: SpillDurability) -> Result<Self, SinkError> {
        let output = output::open(path)?;
        let (mut ledger, text) = LedgerFile::open(path)?;
        output::lock(&output, path)?;
        let read = ledger::read(&text).map_err(|problem| ledger.unusable(&problem))?;
        let known = if let Some(damage) = &read.damage {
            complain(ledger.path(), damage, path);
            false
        } else {
            ledger.cut(read.good)?;
            read.good > 0 && output::settle(&output, path, &read.account)?
        };
        let mut account = read.account;
        account.begun = None;
        if !known {
            if account.has_ranges() || read.damage.is_some() {
                ledger.keep(&text)?;
            }
            account = account.start_over(output::finish_line(&output, path)?);
        }
        if durability == SpillDurability::PowerLoss {
            // A position that a power cut could still undo must not be answered.
            output.sync_data().step("sync", path)?;
            ledger.sync()?;
            files::sync_directory(path)?;
        }
        if !known || read.lines > account.lines() {
            ledger.rewrite(&account)?;
        }
        Ok(Self {
            output,
            ledger,
            account,
        })
    }

    /// Whether both files are still those at the path, and the output is as long as the account says.
    pub(super) fn is_undisturbed(&mut self, path: &Path) -> Result<bool, SinkError> {
        if self.ledger.is_missing() {
            log::warning!(
                "the ledger of {} was removed: written again",
                path.display()
            );
            self.ledger.rewrite(&self.account)?;
        }
        let length = self.output.metadata().step("look at", path)?.len();
        Ok(length == self.account.end()
            && files::is_at(&self.output, path)
            && self.ledger.is_in_place())
    }

    /// Output, sync, ledger, sync. An error undoes both, so that a full disk does not stay full because of a torn end.
    pub(super) fn append(
        &mut self,
        page: &Page,
        path: &Path,
        durability: SpillDurability,
    ) -> Result<(), SinkError> {
        if page.ranges().is_empty() {
            return Ok(());
        }
        let written = self
            .append_output(page.bytes(), path, durability)
            .and_then(|()| {
                let lines = page.ranges().iter().cloned().map(Line::Stored);
                self.ledger.append(lines, durability)
            });
        if let Err(why) = written {
            self.take_back(path);
            return Err(why);
        }
        for range in page.ranges() {
            self.account.push(range.clone());
        }
        Ok(())
    }

    /// Adds another seal of the same entries.
    pub(super) fn renew(
        &mut self,
        of: PublisherId,
        signer: &Signer,
        durability: SpillDurability,
    ) -> Result<(), SinkError> {
        let Some(seal) = self.account.seal(&of) else {
            return Ok(());
        };
        let tree = signer.tree(of, Some(seal), &[]);
        let seal = signer.seal(&tree, self.account.cursor(&of));
        let seal = seal.map_err(|error| SinkError::Unavailable(error.to_string()))?;
        let line = Line::Sealed {
            publisher: of,
            seal: seal.clone(),
        };
        if let Err(why) = self.ledger.append([line], durability) {
            if let Err(error) = self.ledger.take_back() {
                log::warning!("cannot cut the ledger back yet: {error}");
            }
            return Err(why);
        }
        signer.stored(&seal);
        self.account.renew(of, seal);
        Ok(())
    }

    fn append_output(
        &mut self,
        bytes: &[u8],
        path: &Path,
        durability: SpillDurability,
    ) -> Result<(), SinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.account.last_bytes().is_none() && self.account.begun.is_none() {
            self.begin(path, durability)?;
        }
        self.output.write_all(bytes).step("write to", path)?;
        match durability {
            SpillDurability::PowerLoss => self.output.sync_data().step("sync", path),
            SpillDurability::ProcessCrash => Ok(()),
        }
    }

    /// Records which file is written to before it has a range: this identifies a torn first write.
    fn begin(&mut self, path: &Path, durability: SpillDurability) -> Result<(), SinkError> {
        let birth = output::birth(&self.output, path)?;
        self.ledger.append(birth.map(Line::Begun), durability)?;
        self.account.begun = birth;
        Ok(())
    }

    /// Best effort: what cannot be cut back now is cut when the files are opened again. The ledger goes first: it must
    /// never cover more than the output holds.
    fn take_back(&mut self, path: &Path) {
        let cut = self
            .ledger
            .take_back()
            .and_then(|()| self.output.set_len(self.account.end()));
        if let Err(error) = cut {
            log::warning!("cannot cut {} back yet: {error}", path.display());
        }
    }
}

fn complain(ledger: &Path, damage: &str, path: &Path) {
    log::error!(
        "{} is damaged: {damage}; the positions in its good lines hold, {} stays as it is, new entries follow it, and \
         what had not been acknowledged may be there twice",
        ledger.display(),
        path.display()
    );
}
