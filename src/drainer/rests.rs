//! Rests after failures of one use of a worker.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::policy::{Availability, Backoff, STOP_RETRY};

/// When a failed operation may be tried again.
#[derive(Debug)]
pub(super) struct Rests {
    rest: Option<Rest>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    until: Instant,
}

impl Rests {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rest: None,
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
        }
    }

    /// Rests, at most for `limit`. Returns whether it had worked until now.
    pub(super) fn failed(&mut self, limit: Duration, now: Instant) -> bool {
        let until = now + self.backoff.pause(fastrand::f64(), limit);
        self.rest.replace(Rest { since: now, until }).is_none()
    }

    /// Rests for exactly this long.
    pub(super) fn pause(&mut self, pause: Duration, now: Instant) {
        let until = now + pause;
        self.rest = Some(Rest { since: now, until });
    }

    /// It works: it no longer rests, and the next failure is the first again. Returns whether it had failed.
    pub(super) fn works(&mut self) -> bool {
        self.backoff.reset();
        self.rest.take().is_some()
    }

    /// Ends the rest, without evidence that it works.
    pub(super) fn wake(&mut self) {
        self.rest = None;
    }

    /// The next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// An overdue end rests only for moments.
    pub(super) fn availability(&self, overdue: bool) -> Availability {
        self.rest.map_or(Availability::Free, |rest| {
            let retry = rest.since + STOP_RETRY;
            Availability::RestsUntil(if overdue {
                rest.until.min(retry)
            } else {
                rest.until
            })
        })
    }
}
