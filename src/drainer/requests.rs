//! What has been asked of the drainer and is not done yet.

use std::time::{Duration, Instant};

use crate::control::Request;
use crate::event::Key;
use crate::policy::Stopping;
use crate::stats::Stats;
use crate::ticket::Promise;

/// A limit that the clock cannot hold is as good as this.
const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Flushes and shutdowns under way.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    flushes: Vec<Flushing>,
    shutdowns: Vec<Promise<Stats>>,
    stopping: Option<Stopping>,
    overdue: Overdue,
}

/// Whether the end has been seen to be overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Overdue {
    #[default]
    Unseen,
    Seen,
}

/// A flush first waits until all that stood in the ring when it was seen has been popped; what had been numbered by
/// then must be settled or on disk. It waits on pops, not on an empty ring: publishers may keep that from ever coming.
#[derive(Debug)]
struct Flushing {
    promise: Promise<()>,
    pops: u64,
    through: Option<Key>,
}

impl Requests {
    pub(crate) fn add(&mut self, request: Request, popped: u64, queued: usize, now: Instant) {
        match request {
            Request::Flush(promise) => {
                self.flushes.push(Flushing {
                    promise,
                    pops: popped + queued as u64,
                    through: None,
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

    pub(crate) fn flushing(&self) -> bool {
        !self.flushes.is_empty()
    }

    /// Whether anything is asked for.
    pub(crate) fn pending(&self) -> bool {
        self.flushing() || self.stopping.is_some()
    }

    /// The time that a disk is given at the end counts from the first turn that can use it: the process may have stood
    /// still, or a commit taken long, until after the deadline.
    pub(crate) fn stopping(&mut self, now: Instant) -> Option<Stopping> {
        if let Some(stopping) = &mut self.stopping
            && self.overdue == Overdue::Unseen
            && now >= stopping.deadline
        {
            stopping.progress_at = now;
            self.overdue = Overdue::Seen;
        }
        self.stopping
    }

    /// Something has moved: an end that is overdue has not become hopeless. It counts from when it was done, not from
    /// when it was begun: a slow disk is not a dead one.
    pub(crate) fn progress(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.progress_at = Instant::now();
        }
    }

    /// Takes out the flushes that are done, to be kept: `popped` entries have left the ring, the last of them is `last`, and the first
    /// that is in memory only is `in_memory_from`.
    pub(crate) fn take_flushed(
        &mut self,
        popped: u64,
        last: Key,
        in_memory_from: Option<Key>,
    ) -> Vec<Promise<()>> {
        for flushing in &mut self.flushes {
            if flushing.pops <= popped {
                flushing.through.get_or_insert(last);
            }
        }
        let done = |flushing: &mut Flushing| {
            flushing
                .through
                .is_some_and(|through| in_memory_from.is_none_or(|from| from > through))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::promise;

    /// The process stood still from before the deadline until long after it.
    #[test]
    fn the_grace_of_an_end_counts_from_the_first_turn_behind_its_deadline() {
        let start = Instant::now();
        let mut requests = Requests::default();
        let (promise, _ticket) = promise();
        let limit = Duration::from_millis(500);
        requests.add(Request::Shutdown(limit, promise), 0, 0, start);
        let progress_at = |requests: &mut Requests, now| {
            requests.stopping(now).map(|stopping| stopping.progress_at)
        };
        assert_eq!(progress_at(&mut requests, start), Some(start));
        let thawed = start + Duration::from_mins(10);
        assert_eq!(progress_at(&mut requests, thawed), Some(thawed));
        let later = thawed + Duration::from_secs(1);
        assert_eq!(progress_at(&mut requests, later), Some(thawed));
    }
}
