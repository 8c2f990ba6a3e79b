//! Limits how fast a backlog may shrink: a token bucket over its depth.

use std::time::{Duration, Instant};

/// The backlog may shrink by `rate` entries a second, and by no more than a burst at once; arriving entries may leave
/// as fast as they came.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: f64,
    burst: f64,
    /// The smallest depth that is allowed, and since when.
    floor: Option<(f64, Instant)>,
}

/// A burst is what the rate allows in this time, and at least one batch.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    pub(crate) fn new(rate: u32, batch_max: usize) -> Self {
        let rate = f64::from(rate);
        let batch = u32::try_from(batch_max).map_or(f64::MAX, f64::from);
        Self {
            rate,
            burst: (rate * BURST.as_secs_f64()).max(batch),
            floor: None,
        }
    }

    /// How many entries may leave a backlog of this depth now.
    pub(crate) fn allows(&mut self, depth: u64, now: Instant) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            reason = "no backlog needs more than 53 bits"
        )]
        let depth = depth as f64;
        let fallen = self.floor.map_or(f64::MIN, |(floor, since)| {
            floor - self.rate * (now - since).as_secs_f64()
        });
        let floor = fallen.max(depth - self.burst).max(0.0);
        self.floor = Some((floor, now));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to the burst"
        )]
        let allowed = (depth - floor).max(0.0) as usize;
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_shrinks_by_a_burst_and_then_at_the_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(1_000, 100);
        assert_eq!(pace.allows(10_000, at(0)), 1_000);
        assert_eq!(pace.allows(9_000, at(0)), 0);
        assert_eq!(pace.allows(9_000, at(100)), 100);
        assert_eq!(pace.allows(8_900, at(100)), 0);
        // A long pause saves up no more than a burst.
        assert_eq!(pace.allows(8_900, at(60_000)), 1_000);
    }

    #[test]
    fn what_arrives_may_leave_beside_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(1_000, 100);
        assert_eq!(pace.allows(10_000, at(0)), 1_000);
        assert_eq!(pace.allows(9_000, at(0)), 0);
        // 500 arrive in the time in which 100 may leave.
        assert_eq!(pace.allows(9_500, at(100)), 600);
    }

    #[test]
    fn a_burst_is_at_least_a_batch() {
        assert_eq!(Pace::new(1, 100).allows(10_000, Instant::now()), 100);
    }
}
