//! Limits the rate of entries.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// The longest delay that is caught up: of a longer one, only this much is.
const CATCH_UP_MAX: Duration = Duration::from_millis(50);

/// The time of the next entry.
#[derive(Debug)]
pub(super) struct InputPace {
    period: Option<Duration>,
    next: Instant,
}

impl InputPace {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            period: rate.map(|rate| second.div_f64(to_f64(rate.get()))),
            next: Instant::now(),
        }
    }

    /// How long the next entry must wait, if it must. Call it again after the wait.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.period?;
        let left = self.next.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Counts an entry.
    pub(super) fn step(&mut self) {
        if let Some(period) = self.period {
            let oldest = Instant::now().checked_sub(CATCH_UP_MAX);
            self.next = oldest.map_or(self.next, |oldest| oldest.max(self.next)) + period;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
fn to_f64(rate: u64) -> f64 {
    rate as f64
}
