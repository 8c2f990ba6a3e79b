//! After the last line: delivers as long as there is progress, and counts what is left.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{Drainer, RawEntry, State, Stats};

use crate::console::{Exit, errln};
use crate::signals::Signals;
use crate::verify::{counted, verb};

/// Time between two checks for progress.
const POLL: Duration = Duration::from_millis(5);

/// The outcome of the run.
#[derive(Debug)]
pub(super) struct RunOutcome {
    pub(super) stats: Stats,
    /// In the spill, including those of earlier runs.
    pub(super) dead_letters: u64,
    ended: DrainerEnd,
    rest: LeftEntries,
}

/// What became of entries that neither the sink nor the disk took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeftEntries {
    Gone,
    /// They are in a ring file.
    InRing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainerEnd {
    InOrder,
    /// The drainer died: the entries in its memory are gone.
    Died,
}

/// Delivers the backlog and shuts down. It stops after `shutdown_max` without progress, or `shutdown_max` after a
/// signal.
pub(super) fn deliver(
    drainer: Drainer<RawEntry>,
    spill_dir: &Path,
    signals: &Signals,
    shutdown_max: Duration,
) -> RunOutcome {
    let limit = settle(&drainer, signals, shutdown_max);
    let publisher = drainer.publisher();
    let (stats, ended) = match drainer.shutdown(limit).wait(Duration::MAX) {
        Ok(stats) => (stats, DrainerEnd::InOrder),
        Err(error) => {
            errln!("the shutdown failed: {error}");
            (publisher.stats(), DrainerEnd::Died)
        }
    };
    let (kept, rest) = left(spill_dir);
    RunOutcome {
        dead_letters: kept.max(stats.dead_lettered),
        stats,
        ended,
        rest,
    }
}

/// The number of dead letters in the spill, 0 if it cannot be read, and whether a ring file has entries.
fn left(spill_dir: &Path) -> (u64, LeftEntries) {
    match spillring::operate::status(spill_dir) {
        Ok(status) => {
            let kept = status.ring.is_some_and(|ring| ring.bytes > 0);
            let rest = if kept {
                LeftEntries::InRing
            } else {
                LeftEntries::Gone
            };
            (status.dead_letters, rest)
        }
        Err(error) => {
            errln!("the dead letters in the spill cannot be counted: {error}");
            (0, LeftEntries::Gone)
        }
    }
}

/// Waits while there is progress. Returns how long the shutdown may go on delivering.
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
        thread::sleep(POLL);
    }
}

/// Counters that change with progress.
fn progress(stats: &Stats) -> [u64; 4] {
    let discarded = stats.discarded.total();
    [
        stats.delivered,
        stats.appended,
        stats.dead_lettered,
        discarded,
    ]
}

impl RunOutcome {
    /// The exit code, given the number of rejected lines.
    pub(super) fn exit(&self, rejected: u64) -> Exit {
        let stats = &self.stats;
        let in_memory = stats.in_ring + stats.in_memory;
        let (gone, waiting) = match self.rest {
            LeftEntries::Gone => (in_memory, 0),
            LeftEntries::InRing => (0, in_memory),
        };
        if gone > 0 {
            let (entries, them) = (counted(gone, "entry"), verb(gone, "it", "them"));
            errln!("lost {entries}: neither the sink nor the disk took {them}");
        }
        if waiting > 0 {
            let (entries, wait) = (counted(waiting, "entry"), verb(waiting, "waits", "wait"));
            errln!("{entries} {wait} in the ring for the next run");
        }
        let died = self.ended == DrainerEnd::Died && self.rest == LeftEntries::Gone;
        if died || stats.lost.total() + stats.discarded.total() + gone > 0 {
            Exit::Lost
        } else if stats.spilled + self.dead_letters + rejected + waiting > 0 {
            Exit::Left
        } else {
            Exit::Done
        }
    }
}
