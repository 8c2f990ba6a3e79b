//! Taking over the backlog of Agent Assembly's own event buffer.

mod buffer;

use std::path::Path;

use crate::config::{SpillDurability, SpillKey};
use crate::error::ImportError;
use crate::host::log;
use crate::metrics::Metrics;
use crate::spill::Spill;
use crate::status::refuse_if_ring_is_left;
use buffer::{Buffer, unusable};

/// What [`import`] has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Entries that are in the backlog now.
    pub entries: u64,
    /// Rows that are no entries: [dead letters](crate::operate::DeadLetters) now, with the reason `undecodable`.
    pub dead_letters: u64,
    /// Rows that had been taken over before, and were left in the buffer by a kill, or in a copy of it.
    pub known: u64,
}

/// Takes over the backlog of an event buffer of Agent Assembly (`aa-storage-sqlite-buffer`), in its order, behind the
/// backlog of the spill directory `dir`, which is made if there is anything to import. The next start delivers it.
///
/// The entries keep their bytes and get numbers in a run of their own. A row that is no entry becomes a dead letter and
/// blocks none behind it. Each page of rows is in the spill, synced, before it is removed from the buffer. The directory
/// remembers the last 250,000 rows that it took over: whenever this is cut off, the next import goes on from there, and
/// none of them is taken over twice, not even from a copy of the buffer. The buffer itself stays, empty, and can be used
/// again.
///
/// No cap is known here: what is beyond that of the next start drains, and until then
/// [`when_spill_full`](crate::Config::when_spill_full) holds, which may evict what was imported. Dead letters do not drain:
/// they count towards the cap until they are removed.
///
/// ```no_run
/// let done = spillring::operate::import("/var/lib/agent-assembly/buffer.db", "/var/lib/agent/spill")?;
/// println!("{} entries, {} that are none", done.entries, done.dead_letters);
/// # Ok::<(), spillring::error::ImportError>(())
/// ```
///
/// # Errors
///
/// [`ImportError::InUse`] while Agent Assembly runs, [`ImportError::NoBuffer`] if it is another file,
/// [`ImportError::Damaged`] once what stands before the damage has been taken over, [`ImportError::Spill`] if the spill
/// cannot be used, for example because a publisher is running in it.
pub fn import(buffer: impl AsRef<Path>, dir: impl AsRef<Path>) -> Result<Imported, ImportError> {
    import_into(buffer.as_ref(), dir.as_ref(), None)
}

/// The same into a spill that may be encrypted. What is imported with a key is encrypted.
///
/// # Errors
///
/// As [`import`]; and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or another one.
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

/// The same at a start, where a buffer that is gone has no backlog, and a spill that is at its cap, or has no room on the disk,
/// leaves the rest of it for the next start.
pub(crate) fn import_at_start(file: &Path, spill: &mut Spill) -> Result<(), ImportError> {
    let there = file.try_exists().map_err(unusable("look for", file))?;
    let opened = if there { Buffer::open(file)? } else { None };
    let Some(mut buffer) = opened else {
        log::warning!(buffer = %file.display(), "there is no event buffer to import: take the setting `import` out if that is so for good");
        return Ok(());
    };
    match take_over(&mut buffer, spill) {
        Ok(done) if done == Imported::default() => Ok(()),
        Ok(done) => {
            log::info!(buffer = %file.display(), entries = done.entries,
                dead_letters = done.dead_letters, known = done.known, "the backlog of an event buffer was imported"
            );
            if done.dead_letters > 0 {
                log::warning!(
                    dead_letters = done.dead_letters,
                    "rows of the event buffer are no entries: they are dead letters now"
                );
            }
            Ok(())
        }
        // Nor could anything else be written.
        Err(ImportError::Spill(error)) if !error.is_full() => Err(ImportError::Spill(error)),
        Err(ImportError::Spill(error)) => {
            log::error!(buffer = %file.display(), %error,
                "the spill takes no more of an event buffer: what is left waits there for the next start, and newer entries overtake it"
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
            "an import was cut off: these rows were taken over before"
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
            log::warning!("the spill is at its cap: what is left in the event buffer waits there");
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
        Metrics::undecodable(done.dead_letters);
        all.known += done.known;
        buffer.remove(&page)?;
        from = page.next();
    }
    Ok(())
}
