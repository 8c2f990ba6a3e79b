//! Requests to the drainer that are not done yet.

use std::time::{Duration, Instant};

use crate::control::{Request, Until};
use crate::event::Key;
use crate::policy::{Flush, Stopping};
use crate::stats::Stats;
use crate::ticket::Promise;

/// Replaces a limit that the clock cannot hold.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Flushes whose tickets were dropped are removed once per this many new ones.
const PURGE_EVERY: usize = 1_024;

/// Flushes and shutdowns under way.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    flushes: Vec<Flushing>,
    added: usize,
    shutdowns: Vec<Promise<Stats>>,
    stopping: Option<Stopping>,
    /// Something has moved since the last turn.
    moved: bool,
    /// Milestones of the end that have been reached.
    overdue: bool,
    finished: bool,
}

/// A flush first waits until everything that was in the ring when it arrived has been popped. Then everything with a
/// number up to there must be acknowledged or on disk. It waits for pops, not for an empty ring, which publishers
/// could prevent for ever.
#[derive(Debug)]
struct Flushing {
    until: Until,
    promise: Promise<()>,
    pops: u64,
    through: Option<Key>,
    /// How many orders the disk had got when the flush arrived.
    orders: u64,
}

/// How far everything has come, for flushes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushProgress {
    /// Entries that have left the ring.
    pub(crate) popped: u64,
    /// The place of the last of them.
    pub(crate) last: Key,
    /// The first entry that is in memory only.
    pub(crate) unspilled_from: Option<Key>,
    /// No entry before this one waits for an acknowledgement.
    pub(crate) undelivered_from: Option<Key>,
    /// The newest order of the disk that has found the files in place.
    pub(crate) confirmed: u64,
}

impl Requests {
    /// After `pops` pops everything that is now in the ring has left it; `orders` orders have been sent to the disk.
    pub(crate) fn add(&mut self, request: Request, pops: u64, orders: u64, now: Instant) {
        match request {
            Request::Flush(until, promise) => {
                self.added += 1;
                if self.added.is_multiple_of(PURGE_EVERY) {
                    self.flushes.retain(|flushing| flushing.promise.is_wanted());
                }
                self.flushes.push(Flushing {
                    until,
                    promise,
                    pops,
                    through: None,
                    orders,
                });
            }
            Request::Shutdown(limit, promise) => {
                let deadline = now.checked_add(limit).unwrap_or(now + FOREVER);
                let earlier = self
                    .stopping
                    .map_or(deadline, |stopping| stopping.deadline.min(deadline));
                self.stopping = Some(Stopping {
                    deadline: earlier,
                    progress_at: now,
                });
                self.shutdowns.push(promise);
            }
        }
    }

    /// Whether there are any requests.
    pub(crate) fn pending(&self) -> bool {
        !self.flushes.is_empty() || self.stopping.is_some()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.stopping
            .is_some_and(|stopping| now >= stopping.deadline)
    }

    /// What the flushes under way need from the disk.
    pub(crate) fn flush(&self, progress: &FlushProgress) -> Flush {
        let of_disk = |flushing: &&Flushing| flushing.until == Until::Safe;
        let mut flushes = self.flushes.iter().filter(of_disk).peekable();
        if flushes.peek().is_none() {
            return Flush::None;
        }
        let spilled = |flushing: &Flushing| {
            let through = flushing.through;
            through.is_some_and(|through| progress.is_spilled(through))
        };
        if flushes.all(spilled) {
            Flush::Check
        } else {
            Flush::Wanted
        }
    }

    /// The grace of an end counts from the first turn that can use it: the process may have been suspended, or an
    /// order may have run, until after the deadline.
    pub(crate) fn stopping(&mut self, now: Instant) -> Option<Stopping> {
        let stopping = self.stopping.as_mut()?;
        let overdue = now >= stopping.deadline && !self.overdue;
        self.overdue |= overdue;
        let moved = std::mem::take(&mut self.moved);
        if overdue || moved {
            stopping.progress_at = now;
        }
        self.stopping
    }

    /// Everything is delivered or on disk. The rest of the end has its own grace.
    pub(crate) fn finished(&mut self, now: Instant) -> Option<Stopping> {
        let stopping = self.stopping.as_mut()?;
        if !self.finished {
            self.finished = true;
            stopping.progress_at = now;
        }
        self.stopping
    }

    /// Something has moved: an overdue end is not hopeless. The grace counts from the next turn, not from the start of
    /// the step: a slow step is not a failure.
    pub(crate) fn progress(&mut self) {
        self.moved = true;
    }

    /// Takes out the promises of the flushes that are done.
    pub(crate) fn take_flushed(&mut self, progress: &FlushProgress) -> Vec<Promise<()>> {
        for flushing in &mut self.flushes {
            if flushing.pops <= progress.popped {
                flushing.through.get_or_insert(progress.last);
            }
        }
        let done = |flushing: &mut Flushing| {
            let through = flushing.through;
            through.is_some_and(|through| match flushing.until {
                Until::Safe => progress.is_safe(through, flushing.orders),
                Until::Delivered => progress.is_delivered(through),
            })
        };
        let done = self.flushes.extract_if(.., done);
        done.map(|flushing| flushing.promise).collect()
    }

    /// The end has come.
    pub(crate) fn account(self, stats: &Stats) {
        for promise in self.shutdowns {
            promise.keep(stats.clone());
        }
    }
}

impl FlushProgress {
    fn is_spilled(&self, through: Key) -> bool {
        self.unspilled_from.is_none_or(|from| from > through)
    }

    fn is_delivered(&self, through: Key) -> bool {
        self.undelivered_from.is_none_or(|from| from > through)
    }

    /// Everything up to there is acknowledged; or on disk, and an order that was sent after the flush arrived has
    /// found the files in place.
    fn is_safe(&self, through: Key, orders: u64) -> bool {
        self.is_delivered(through) || (self.is_spilled(through) && self.confirmed > orders)
    }
}

#[cfg(test)]
mod tests;
