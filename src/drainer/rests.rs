//! Rests after failures of one use of a worker.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::policy::{Availability, Backoff, STOP_RETRY};

/// When a failed operation may be tried again.
#[derive(Debug)]
pub(super) struct Rests {
    failed: Option<Failed>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    at: Instant,
    until: Instant,
}

/// Whether this is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Yes,
    No,
}

impl Rests {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            failed: None,
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
        }
    }

    /// Rests, at most for `limit`.
    pub(super) fn failed(&mut self, limit: Duration, now: Instant) -> News {
        let until = now + self.backoff.pause(fastrand::f64(), limit);
        let known = self.failed.replace(Failed { at: now, until });
        known.map_or(News::Yes, |_| News::No)
    }

    /// Rests for exactly this long.
    pub(super) fn pause(&mut self, pause: Duration, now: Instant) {
        let until = now + pause;
        self.failed = Some(Failed { at: now, until });
    }

    /// It works: it no longer rests, and the next failure is the first again.
    pub(super) fn works(&mut self) -> News {
        self.backoff.reset();
        self.failed.take().map_or(News::No, |_| News::Yes)
    }

    /// Ends the rest, without evidence that it works.
    pub(super) fn wake(&mut self) {
        self.failed = None;
    }

    /// The next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// An overdue end rests only for moments.
    pub(super) fn availability(&self, overdue: bool) -> Availability {
        self.failed.map_or(Availability::Free, |failed| {
            let retry = failed.at + STOP_RETRY;
            Availability::RestsUntil(if overdue {
                failed.until.min(retry)
            } else {
                failed.until
            })
        })
    }
}
