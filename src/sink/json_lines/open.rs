//! The output and its ledger, open and locked.

use std::path::Path;

use super::files::{Held, sync_directory};
use super::ledger::{self, Account, Line};
use super::ledger_file::LedgerFile;
use super::output;
use super::page::Page;
use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId};
use crate::host::log;
use crate::seal::Signer;
use crate::sink::Delivery;

/// Both files, and the account. Dropped at the first error: opening them again is the recovery.
#[derive(Debug)]
pub(super) struct Open {
    output: Held,
    ledger: LedgerFile,
    account: Account,
    /// The batch under way. Kept for its buffer.
    page: Page,
}

impl Open {
    pub(super) fn new(path: &Path, durability: SpillDurability) -> Result<Self, SinkError> {
        let mut output = output::open(path, durability)?;
        let (mut ledger, text) = LedgerFile::open(path, durability)?;
        output::lock(&output)?;
        let read = ledger::read(&text).map_err(|problem| ledger.unusable(&problem))?;
        let known = if let Some(damage) = &read.damage {
            complain(&ledger.held.path, damage, path);
            false
        } else {
            ledger.cut(read.good)?;
            read.good > 0 && output::settle(&output, &read.account)?
        };
        let mut account = read.account;
        account.begun = None;
        if !known {
            if account.has_ranges() || read.damage.is_some() {
                ledger.keep(&text)?;
            }
            account = account.start_over(output::finish_line(&mut output)?);
        }
        // A position that a power cut could still undo must not be answered.
        output.sync()?;
        ledger.held.sync()?;
        if durability == SpillDurability::PowerLoss {
            sync_directory(path)?;
        }
        if !known || read.lines > account.lines() {
            ledger.rewrite(&account)?;
        }
        Ok(Self {
            output,
            ledger,
            account,
            page: Page::default(),
        })
    }

    /// Whether both files are still those at the path, and the output is as long as the account says. A ledger that has
    /// grown too long is rewritten.
    pub(super) fn is_undisturbed(&mut self) -> Result<bool, SinkError> {
        if self.ledger.is_missing() {
            let path = self.output.path.display();
            log::warning!("the ledger of {path} was removed: written again");
            self.ledger.rewrite(&self.account)?;
        }
        let is_whole = self.output.metadata()?.len() == self.account.end();
        if !is_whole || !self.output.is_in_place() || !self.ledger.held.is_in_place() {
            return Ok(false);
        }
        if self.ledger.has_grown() {
            self.ledger.rewrite(&self.account)?;
        }
        Ok(true)
    }

    pub(super) fn cursor(&self, of: &PublisherId) -> Option<Position> {
        self.account.cursor(of)
    }

    /// Stores a prefix of the batch; an error says that nothing is.
    pub(super) fn store(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        self.page.lay_out(batch, &self.account);
        if !self.page.ranges().is_empty()
            && let Err(why) = self.append()
        {
            self.take_back();
            return Err(why);
        }
        for range in self.page.ranges() {
            self.account.push(range.clone());
        }
        let newest = self.page.ranges().last();
        let newest = newest.and_then(|range| range.seal.as_ref());
        if let (Some(signer), Some(seal)) = (batch.signer(), newest) {
            signer.stored(seal);
        }
        Ok(self.page.outcome())
    }

    /// Output, sync, ledger, sync. An error undoes both, so that a full disk does not stay full because of a torn end.
    fn append(&mut self) -> Result<(), SinkError> {
        let bytes = self.page.bytes();
        if !bytes.is_empty() {
            if self.account.last_bytes().is_none() && self.account.begun.is_none() {
                // Recorded before the first range: it identifies a torn first write.
                let birth = output::birth(&self.output)?;
                self.ledger.append(birth.map(Line::Begun))?;
                self.account.begun = birth;
            }
            self.output.append(bytes)?;
        }
        let lines = self.page.ranges().iter().cloned().map(Line::Stored);
        self.ledger.append(lines)
    }

    /// Adds another seal of the same entries.
    pub(super) fn renew(&mut self, of: PublisherId, signer: &Signer) -> Result<(), SinkError> {
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
        if let Err(why) = self.ledger.append([line]) {
            self.take_back();
            return Err(why);
        }
        signer.stored(&seal);
        self.account.renew(of, seal);
        Ok(())
    }

    /// Best effort: what cannot be cut back now is cut when the files are opened again. The ledger goes first: it must
    /// never cover more than the output holds.
    fn take_back(&mut self) {
        let cut = self
            .ledger
            .take_back()
            .and_then(|()| self.output.cut(self.account.end()));
        if let Err(error) = cut {
            let path = self.output.path.display();
            log::warning!("cannot cut {path} back yet: {error}");
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
