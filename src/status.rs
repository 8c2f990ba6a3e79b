//! The state of a publisher, for other processes.
//!
//! A running publisher keeps its database to itself, and reports its state once a second in a file that is renamed
//! into place. If it is not running, the database itself is inspected under a shared lock of the publisher's
//! directory: readers do not disturb one another, and give way when a publisher wants to start.

use std::path::Path;
use std::time::Duration;

use crate::config::SpillKey;
use crate::error::SpillError;
use crate::event::{PublisherId, unix_ms};
use crate::ring_file;
use crate::spill::{self, Directory, Inspection, identity, read_status};
use crate::stats::{Health, RingStatus, State, Stats, Status};

/// The state of the publisher of this spill directory: its own report, at most a second old, if it is running, else
/// the content of its spill.
///
/// A spill at rest is read as a whole, checksums included, and left exactly as it is. A publisher that starts
/// meanwhile goes first.
///
/// ```no_run
/// use spillring::{operate, stats::Health};
///
/// let status = operate::status("/var/lib/agent/spill".as_ref())?;
/// match status.health {
///     Health::Damaged => println!("damaged: {}", status.damage.unwrap_or_default()),
///     Health::InUse => println!("running, sink up: {}", status.stats.sink_up),
///     _ => println!("{} entries wait for the next start", status.stats.spilled),
/// }
/// if let Some(ring) = status.ring {
///     println!("{} bytes in {}", ring.bytes, ring.file.display());
/// }
/// # Ok::<(), spillring::error::SpillError>(())
/// ```
///
/// # Errors
///
/// [`SpillError::Missing`] if no publisher has ever used the directory, and any failure to read the spill. Damage is
/// not an error, but a state.
pub fn status(dir: &Path) -> Result<Status, SpillError> {
    status_of(dir, None)
}

/// Like [`status`], for a spill that may be encrypted.
///
/// See the examples of [`status`] and [`SpillKey`].
///
/// # Errors
///
/// As [`status`]; and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or wrong, unless a
/// publisher is running.
#[cfg(feature = "encryption")]
pub fn status_with_key(dir: &Path, key: Option<&SpillKey>) -> Result<Status, SpillError> {
    status_of(dir, key)
}

fn status_of(dir: &Path, key: Option<&SpillKey>) -> Result<Status, SpillError> {
    let looked = Directory::take_existing(dir).and_then(|directory| at_rest(directory, key));
    let mut status = match looked {
        Err(SpillError::InUse { pid, .. }) => running(dir, pid),
        looked => looked,
    }?;
    if let Some(ring) = &status.ring {
        status.orphans = ring_file::orphans_beside(&ring.file);
    }
    Ok(status)
}

/// The report of the running publisher of this spill directory, at most a second old; `None` if none is running.
///
/// Reads one small file, however large the spill is: for frequent probes. [`Status::run`] is `None` while the
/// publisher is starting.
///
/// ```no_run
/// let running = spillring::operate::running_status("/var/lib/agent/spill".as_ref())?;
/// let is_alive = running.is_some_and(|status| status.stats.sink_up);
/// # Ok::<(), spillring::error::SpillError>(())
/// ```
///
/// # Errors
///
/// [`SpillError::Missing`] if no publisher has ever used the directory, and any failure to read its files.
pub fn running_status(dir: &Path) -> Result<Option<Status>, SpillError> {
    match Directory::take_existing(dir) {
        Ok(_at_rest) => Ok(None),
        Err(SpillError::InUse { pid, .. }) => running(dir, pid).map(Some),
        Err(error) => Err(error),
    }
}

/// Refuses if a killed publisher has left a ring: its entries come before anything that is added to the backlog.
pub(crate) fn refuse_if_ring_is_left(dir: &Path) -> Result<(), SpillError> {
    let ring = ring_left(read_status(dir)?, identity::read(dir).unwrap_or_default());
    match ring {
        Some(ring) if ring.bytes > 0 => Err(SpillError::RingLeft { ring: ring.file }),
        _ => Ok(()),
    }
}

/// The ring of a publisher that is not running. It may have taken another id since it reported where its ring is.
fn ring_left(said: Option<Status>, publisher: Option<PublisherId>) -> Option<RingStatus> {
    let file = said?.ring?.file;
    let by_id = file.parent().zip(publisher);
    let by_id = by_id.map(|(dir, publisher)| ring_file::path_of(dir, publisher));
    by_id
        .and_then(|file| ring_file::left_in(&file))
        .or_else(|| ring_file::left_in(&file))
}

/// How often a file that is being overwritten is read again.
const READS_MAX: u32 = 5;

/// The publisher's own report. Until the first one, the file, if any, is from another process.
fn running(dir: &Path, pid: Option<u32>) -> Result<Status, SpillError> {
    let said = (0..READS_MAX).find_map(|_| read_status(dir).transpose());
    let said = said.transpose()?;
    let status = said
        .filter(|status| pid.is_some() && status.pid == pid)
        .unwrap_or_else(|| Status {
            publisher: identity::read(dir).unwrap_or_default(),
            health: Health::InUse,
            pid,
            at_ms: unix_ms(),
            ..Status::default()
        });
    Ok(Status {
        quarantined: spill::damaged(&dir.join("segments"))?,
        ..status
    })
}

fn at_rest(directory: Directory, key: Option<&SpillKey>) -> Result<Status, SpillError> {
    let publisher = identity::read_sound(directory.path())?;
    let said = read_status(directory.path())?;
    let delivered = said.as_ref().and_then(|said| said.delivered);
    let ring = ring_left(said, publisher);
    let mut inspection = Inspection::of(directory, key)?;
    while inspection.next()?.is_some() {}
    let found = inspection.findings()?;
    let at_ms = unix_ms();
    let age = |popped_ms| Duration::from_millis(at_ms.saturating_sub(popped_ms));
    let damage = (!found.damage.is_empty()).then(|| found.damage.join("; "));
    Ok(Status {
        publisher,
        health: if damage.is_some() {
            Health::Damaged
        } else {
            Health::Healthy
        },
        damage,
        run: found.run,
        at_ms,
        dead_letters: found.dead_letters.entries,
        dead_letter_bytes: found.dead_letters.bytes,
        quarantined: found.quarantined,
        delivered: delivered.or(found.delivered),
        ring,
        stats: Stats {
            state: State::Stopped,
            spilled: found.backlog.entries,
            spill_bytes: found.backlog.bytes,
            oldest_entry_age: found.oldest_popped_ms.map(age),
            ..Stats::default()
        },
        ..Status::default()
    })
}
