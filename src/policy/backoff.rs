//! Rests after failures.

use std::time::Duration;

/// Exponential backoff with full jitter.
///
/// Source: Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            failures: 0,
        }
    }

    /// How long to rest after one more failure, at most `limit`; `jitter` is a random number in `0.0..1.0`.
    pub(crate) fn pause(&mut self, jitter: f64, limit: Duration) -> Duration {
        let ceiling = self
            .min
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.max)
            .min(limit);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(jitter)
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<_> = (0..6)
            .map(|_| backoff.pause(1.0, Duration::MAX).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(
            backoff.pause(0.5, Duration::MAX),
            Duration::from_millis(500)
        );
        backoff.reset();
        assert_eq!(
            backoff.pause(1.0, Duration::MAX),
            Duration::from_millis(100)
        );
        for _ in 0..100 {
            assert!(backoff.pause(1.0, Duration::MAX) <= Duration::from_secs(1));
        }
    }
}
