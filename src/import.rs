//! Imports the backlog of Agent Assembly's own event buffer.

mod buffer;

use std::path::Path;

use crate::config::{SpillDurability, SpillKey};
use crate::error::ImportError;
use crate::host::log;
use crate::metrics::Metrics;
use crate::spill::{Imported, Spill};
use crate::status::refuse_if_ring_is_left;
use buffer::{Buffer, unusable};

/// Imports the backlog of an event buffer of Agent Assembly (`aa-storage-sqlite-buffer`), in order, after the backlog
/// of the spill directory `dir`. The directory is created if there is anything to import. The next start delivers it.
///
/// The entries keep their bytes and get numbers in their own run. A row that is not an entry becomes a dead letter and
/// does not block later ones. Each page of rows is in the spill, synced, before it is removed from the buffer. The
/// directory remembers the last 250,000 imported rows: after an interruption the next import continues there, and
/// imports none of them twice, not even from a copy of the buffer. The buffer itself stays, empty, and can be used
/// again.
///
/// Imports ignore the cap. Entries above the cap of the next start drain; until then
/// [`when_spill_full`](crate::Config::when_spill_full) applies, and may evict imported entries. Dead letters do not
/// drain: they count towards the cap until they are removed.
///
/// ```no_run
/// let (buffer, dir) = ("/var/lib/agent-assembly/buffer.db", "/var/lib/agent/spill");
/// let done = spillring::operate::import(buffer, dir)?;
/// println!("{} entries, {} dead letters", done.entries, done.dead_letters);
/// # Ok::<(), spillring::error::ImportError>(())
/// ```
///
/// # Errors
///
/// [`ImportError::InUse`] while Agent Assembly runs, [`ImportError::NoBuffer`] if it is another file,
/// [`ImportError::Damaged`] once everything before the damage has been imported, [`ImportError::Spill`] if the spill
/// cannot be used, for example because a publisher runs in it.
pub fn import(buffer: impl AsRef<Path>, dir: impl AsRef<Path>) -> Result<Imported, ImportError> {
    import_into(buffer.as_ref(), dir.as_ref(), None)
}

/// Like [`import`], into a spill that may be encrypted. What is imported with a key is encrypted.
///
/// See the examples of [`import`] and [`SpillKey`].
///
/// # Errors
///
/// As [`import`]; and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or wrong.
///
/// [`SpillError::Encrypted`]: crate::error::SpillError::Encrypted
/// [`SpillError::WrongKey`]: crate::error::SpillError::WrongKey
#[cfg(feature = "encryption")]
pub fn import_with_key(
    buffer: impl AsRef<Path>,
    dir: impl AsRef<Path>,
    key: Option<&SpillKey>,
) -> Result<Imported, ImportError> {
    import_into(buffer.as_ref(), dir.as_ref(), key)
}

fn import_into(buffer: &Path, dir: &Path, key: Option<&SpillKey>) -> Result<Imported, ImportError> {
    let Some(mut buffer) = Buffer::open(buffer)? else {
        return Ok(Imported::default());
    };
    refuse_if_ring_is_left(dir).map_err(ImportError::Spill)?;
    let mut spill = Spill::open(dir, key, u64::MAX, SpillDurability::PowerLoss)?;
    take_over(&mut buffer, &mut spill)
}

/// Like [`import`], but a missing buffer counts as empty, and if the spill is at its cap, or the disk is full, the
/// rest waits for the next start.
pub(crate) fn import_at_start(file: &Path, spill: &mut Spill) -> Result<(), ImportError> {
    let there = file.try_exists().map_err(unusable("look for", file))?;
    let opened = if there { Buffer::open(file)? } else { None };
    let Some(mut buffer) = opened else {
        log::warning!(buffer = %file.display(), "there is no event buffer to import: if it is gone for good, remove the setting `import`");
        return Ok(());
    };
    match take_over(&mut buffer, spill) {
        Ok(done) if done == Imported::default() => Ok(()),
        Ok(done) => {
            log::info!(buffer = %file.display(), entries = done.entries,
                dead_letters = done.dead_letters, known = done.known, "imported the backlog of an event buffer"
            );
            if done.dead_letters > 0 {
                log::warning!(
                    dead_letters = done.dead_letters,
                    "rows of the event buffer are not entries: they are now dead letters"
                );
            }
            Ok(())
        }
        // Nothing else could be written either.
        Err(ImportError::Spill(error)) if !error.is_full() => Err(ImportError::Spill(error)),
        Err(ImportError::Spill(error)) => {
            log::error!(buffer = %file.display(), %error,
                "the spill has no room for the rest of an event buffer: it waits there for the next start, and newer entries overtake it"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn take_over(buffer: &mut Buffer, spill: &mut Spill) -> Result<Imported, ImportError> {
    let mut done = Imported::default();
    let result = take_pages(buffer, spill, &mut done);
    if result.is_err() && done != Imported::default() {
        log::warning!(
            entries = done.entries,
            dead_letters = done.dead_letters,
            known = done.known,
            "an import was interrupted: these rows had been imported before"
        );
    }
    result.map(|()| done)
}

fn take_pages(
    buffer: &mut Buffer,
    spill: &mut Spill,
    all: &mut Imported,
) -> Result<(), ImportError> {
    let mut run = None;
    let mut from = Some(Buffer::FIRST);
    while let Some(first) = from
        && let Some(page) = buffer.page(first)?
    {
        if spill.view().is_at_cap() {
            log::warning!("the spill is at its cap: the rest of the event buffer waits there");
            break;
        }
        let run = match &mut run {
            Some(run) => run,
            none => none.insert(spill.begin_ended_run()?),
        };
        let last_n = all.entries + all.dead_letters;
        let done = spill.take_over(&page.rows, run, last_n)?;
        all.entries += done.entries;
        all.dead_letters += done.dead_letters;
        all.known += done.known;
        Metrics::undecodable(done.dead_letters);
        buffer.remove(&page)?;
        from = page.next();
    }
    Ok(())
}
