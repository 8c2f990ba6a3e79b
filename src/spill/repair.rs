//! Setting a database aside by hand, and carrying over what can be read of it: what a start does with one that it finds
//! damaged, also for one that it would wait for.

use std::path::{Path, PathBuf};

use crate::config::SpillDurability;
use crate::error::SpillError;

use super::{APPEND_ROWS_MAX, Directory, Spill, look, missing, quarantine};

/// How many bytes of rows are looked through at once.
const LOOK_BYTES: u64 = 4 << 20;

/// What [`repair`] has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Entries that are in the backlog now.
    pub salvaged: u64,
    /// Entries that are missing, as far as that is known. The stream will tell of them.
    pub missing: u64,
    /// The databases that were set aside. At most three are kept in a directory.
    pub set_aside: Vec<PathBuf>,
}

/// Sets the database of a spill directory aside, whatever its state, and makes a new one of all that can be read of it.
///
/// A start does the same by itself with a database that it finds damaged. This one does it also if the disk fails to read
/// it, which a start would wait for, and at once. Interrupted at any point, the next start or repair goes on from there.
///
/// # Errors
///
/// [`SpillError::InUse`] if a publisher is running, [`SpillError::Missing`] if no publisher has ever used the directory,
/// and whatever keeps the new database from being written.
pub fn repair(dir: &Path) -> Result<Repaired, SpillError> {
    if !Directory::is_known(dir)? {
        return Err(missing(dir));
    }
    let directory = Directory::take(dir)?;
    let publisher = directory.identity()?;
    let before = quarantine::quarantined(dir)?;
    // A repair that was interrupted has half filled a new one.
    let resumes = quarantine::waiting(dir)?.is_some();
    if !resumes || !look::is_readable(&directory, publisher) {
        quarantine::set_aside(dir)?;
    }
    let mut spill = Spill::of(directory, publisher, u64::MAX, SpillDurability::PowerLoss)?;
    while spill.is_salvaging() {
        spill.salvage_step()?;
    }
    look_through(&mut spill)?;
    spill.tick();
    let mut set_aside = quarantine::quarantined(dir)?;
    set_aside.retain(|folder| !before.contains(folder));
    Ok(Repaired {
        salvaged: spill.totals().entries,
        missing: spill.corrupt(),
        set_aside,
    })
}

/// What is missing between rows, or cannot be told whose it is, becomes a loss.
fn look_through(spill: &mut Spill) -> Result<(), SpillError> {
    let mut after = None;
    loop {
        let records = spill.oldest(after, APPEND_ROWS_MAX, LOOK_BYTES)?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        after = Some(last.key());
    }
}
