//! At most so many entries a second.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// What was missed in a longer hold-up than this is not caught up on.
const CATCH_UP_MAX: Duration = Duration::from_millis(50);

/// When the next entry may go.
#[derive(Debug)]
pub(super) struct Pace {
    period: Option<Duration>,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            period: rate.map(|rate| second.div_f64(to_f64(rate.get()))),
            next: Instant::now(),
        }
    }

    /// How long the next entry has to wait, and whether it has to: asked again after a wait.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.period?;
        let left = self.next.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// An entry goes.
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
