//! The time, for records and reports.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time in milliseconds since 1970. Never jumps within the process: it is the wall clock at the first call,
/// continued by the monotonic clock.
pub(crate) fn unix_ms() -> u64 {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK
        .get_or_init(|| Clock::new(SystemTime::now(), Instant::now()))
        .unix_ms(Instant::now())
}

/// The same moment on both clocks.
#[derive(Debug)]
struct Clock {
    wall: Duration,
    monotonic: Instant,
}

impl Clock {
    /// A wall clock before 1970 counts as 1970.
    fn new(wall: SystemTime, monotonic: Instant) -> Self {
        Self {
            wall: wall.duration_since(UNIX_EPOCH).unwrap_or_default(),
            monotonic,
        }
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let since = self.wall + now.saturating_duration_since(self.monotonic);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_from_the_wall_clock_of_its_start() {
        let start = Instant::now();
        let clock = |wall| Clock::new(wall, start);
        let later = start + Duration::from_millis(1_500);
        let wall = UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(clock(wall).unix_ms(start), 10_000);
        assert_eq!(clock(wall).unix_ms(later), 11_500);
        let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(clock(before_1970).unix_ms(later), 1_500);
    }
}
