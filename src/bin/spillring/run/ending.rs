//! After the last line: delivering as long as anything moves, and the account.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{Drainer, RawEntry, State, Stats};

use crate::console::{Exit, errln};
use crate::signals::Signals;
use crate::verify::{counted, verb};

/// The wait between two looks at what has moved.
const LOOK: Duration = Duration::from_millis(5);

/// How it ended.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) stats: Stats,
    /// Those that the spill keeps, of earlier runs as well.
    pub(super) dead_letters: u64,
    ended: Ended,
    rest: Rest,
}

/// Where entries are that neither the sink nor the disk took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Gone,
    /// In a ring that is kept in a file.
    InRing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    InOrder,
    /// The drainer died: what it still had in memory is gone.
    Died,
}

/// Delivers what there is and shuts down. Without a signal that takes as long as anything moves, and `shutdown_max`
/// more; with one, `shutdown_max`.
pub(super) fn deliver(
    drainer: Drainer<RawEntry>,
    spill_dir: &Path,
    signals: &Signals,
    shutdown_max: Duration,
) -> Account {
    let limit = settle(&drainer, signals, shutdown_max);
    let publisher = drainer.publisher();
    let (stats, ended) = match drainer.shutdown(limit).wait(Duration::MAX) {
        Ok(stats) => (stats, Ended::InOrder),
        Err(error) => {
            errln!("there is no account of the end: {error}");
            (publisher.stats(), Ended::Died)
        }
    };
    let (kept, rest) = left(spill_dir);
    Account {
        dead_letters: kept.max(stats.dead_lettered),
        stats,
        ended,
        rest,
    }
}

/// The number of dead letters in the spill, 0 if it cannot be read, and whether a ring keeps entries.
fn left(spill_dir: &Path) -> (u64, Rest) {
    match spillring::status(spill_dir) {
        Ok(status) => {
            let kept = status.ring.is_some_and(|ring| ring.bytes > 0);
            let rest = if kept { Rest::InRing } else { Rest::Gone };
            (status.dead_letters, rest)
        }
        Err(error) => {
            errln!("the dead letters in the spill cannot be counted: {error}");
            (0, Rest::Gone)
        }
    }
}

/// Waits, and says how long the shutdown may go on delivering.
fn settle(drainer: &Drainer<RawEntry>, signals: &Signals, shutdown_max: Duration) -> Duration {
    let mut seen = progress(&drainer.stats());
    let mut since = Instant::now();
    loop {
        let stats = drainer.stats();
        let left = stats.in_ring + stats.in_memory + stats.spilled;
        if let Some(limit) = signals.left(shutdown_max) {
            return limit;
        }
        if left == 0 || stats.state == State::Stopped {
            return shutdown_max;
        }
        let now = progress(&stats);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() >= shutdown_max {
            return Duration::ZERO;
        }
        thread::sleep(LOOK);
    }
}

/// What changes when anything moves.
fn progress(stats: &Stats) -> [u64; 3] {
    [stats.delivered, stats.appended, stats.dead_lettered]
}

impl Account {
    /// The exit code, with so many lines that were no entries.
    pub(super) fn exit(&self, rejected: u64) -> Exit {
        let stats = &self.stats;
        let in_memory = stats.in_ring + stats.in_memory;
        let (gone, waiting) = match self.rest {
            Rest::Gone => (in_memory, 0),
            Rest::InRing => (0, in_memory),
        };
        if gone > 0 {
            let (entries, them) = (counted(gone, "entry"), verb(gone, "it", "them"));
            errln!("lost {entries}: neither the sink nor the disk took {them}");
        }
        if waiting > 0 {
            let (entries, wait) = (counted(waiting, "entry"), verb(waiting, "waits", "wait"));
            errln!("{entries} {wait} in the ring for the next run");
        }
        let died = self.ended == Ended::Died && self.rest == Rest::Gone;
        if died || stats.lost.total() + stats.discarded.total() + gone > 0 {
            Exit::Lost
        } else if stats.spilled + self.dead_letters + rejected + waiting > 0 {
            Exit::Left
        } else {
            Exit::Done
        }
    }
}
