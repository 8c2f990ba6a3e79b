//! How a publisher stands, for whoever is not that publisher.
//!
//! A running publisher keeps its database to itself and says once a second how things stand, in a file that is renamed
//! into place. Of one that is not running the database itself is looked at, under a share of the publisher's own lock:
//! lookers do not disturb one another, and a publisher that starts in these milliseconds waits for them.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::SpillError;
use crate::event::{PublisherId, unix_ms};
use crate::spill::{self, Directory, Persist};
use crate::stats::{State, Stats, Status};

const STATUS: &str = "status.json";

/// How the publisher of this spill directory stands: what it said itself a second ago at most if it is running, else
/// how deep its spill is.
///
/// # Errors
///
/// [`SpillError::Missing`] if no publisher has ever used the directory, and whatever keeps the spill from being read.
pub fn status(dir: &Path) -> Result<Status, SpillError> {
    let publisher = spill::read_identity(dir)?.ok_or_else(|| spill::missing(dir))?;
    match Directory::take_existing(dir) {
        Ok(directory) => at_rest(&directory, publisher),
        Err(SpillError::InUse { pid, .. }) => running(dir, publisher, pid),
        Err(error) => Err(error),
    }
}

/// Says how things stand, to be called by the publisher itself. Not synced: after a power cut nobody is running.
pub(crate) fn write_status(dir: &Path, status: &Status) -> io::Result<()> {
    let text = serde_json::to_vec(status)?;
    spill::replace(dir, STATUS, &text, Persist::Unsynced)
}

/// What the publisher says itself. Until it does for the first time, the file, if any, is that of another process.
fn running(dir: &Path, publisher: PublisherId, pid: Option<u32>) -> Result<Status, SpillError> {
    let file = dir.join(STATUS);
    let said: Option<Status> = match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(spill::io_error("read", file)(error)),
    };
    Ok(said
        .filter(|status| status.pid == pid)
        .unwrap_or_else(|| Status {
            publisher,
            run: None,
            pid,
            at_ms: unix_ms(),
            dead_letters: 0,
            dead_letter_bytes: 0,
            stats: Stats::default(),
        }))
}

fn at_rest(directory: &Directory, publisher: PublisherId) -> Result<Status, SpillError> {
    let depths = spill::depths(directory)?;
    let at_ms = unix_ms();
    let age = |popped_ms| Duration::from_millis(at_ms.saturating_sub(popped_ms));
    Ok(Status {
        publisher,
        run: depths.run,
        pid: None,
        at_ms,
        dead_letters: depths.totals.dead_letters,
        dead_letter_bytes: depths.totals.dead_letter_bytes,
        stats: Stats {
            state: State::Stopped,
            spilled: depths.totals.entries,
            spill_bytes: depths.totals.bytes,
            oldest_entry_age: depths.oldest_popped_ms.map(age),
            ..Stats::default()
        },
    })
}
