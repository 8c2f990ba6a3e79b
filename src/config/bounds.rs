//! The valid values of each setting.

use std::time::Duration;

use super::Config;

/// A setting, whether it is valid, and its valid values.
type Bound = (&'static str, bool, &'static str);

impl Config {
    fn ring_bytes_bound(&self) -> Bound {
        let (bytes, key) = (self.ring_bytes_max, "ring_bytes_max");
        if self.ring_dir.is_some() {
            let holds = Self::RING_FILE_BYTES.contains(&bytes);
            return (
                key,
                holds,
                "must be from 65536 to 536870912 bytes with `ring_dir`",
            );
        }
        let holds = (1..=u64::from(u32::MAX)).contains(&bytes);
        (key, holds, "must be from 1 to 4294967295 bytes")
    }

    /// The bounds of all settings.
    pub(super) fn bounds(&self) -> impl Iterator<Item = Bound> {
        self.sizes().into_iter().chain(self.times())
    }

    fn sizes(&self) -> [Bound; 8] {
        [
            (
                "spill_dir",
                !self.spill_dir.as_os_str().is_empty(),
                "must name a directory",
            ),
            (
                "ring_capacity",
                (2..=Self::RING_CAPACITY_MAX).contains(&self.ring_capacity),
                "must be from 2 to 1048576",
            ),
            self.ring_bytes_bound(),
            (
                "ring_high_water",
                self.ring_high_water > 0.0 && self.ring_high_water <= 1.0,
                "must be above 0 and at most 1",
            ),
            (
                "batch_max",
                (1..=Self::BATCH_MAX).contains(&self.batch_max),
                "must be from 1 to 10000",
            ),
            (
                "replay_rate_max",
                self.replay_rate_max != Some(0),
                "must be at least 1 entry a second; leave it out for no bound",
            ),
            (
                "entry_bytes_max",
                (1..=Self::ENTRY_BYTES_MAX).contains(&self.entry_bytes_max),
                "must be from 1 to 536870912 bytes",
            ),
            (
                "spill_bytes_max",
                self.spill_bytes_max >= 1 << 20,
                "must be at least 1048576 bytes",
            ),
        ]
    }

    fn times(&self) -> [Bound; 6] {
        [
            (
                "pending_max",
                some_time(self.pending_max),
                "must be above 0 and at most \"365d\", such as \"1s\"",
            ),
            (
                "poll_max",
                !self.poll_max.is_zero() && self.poll_max <= Duration::from_secs(1),
                "must be above 0 and at most \"1s\"",
            ),
            (
                "ack_timeout",
                some_time(self.ack_timeout),
                "must be above 0 and at most \"365d\", such as \"5s\"",
            ),
            (
                "backoff_min",
                some_time(self.backoff_min),
                "must be above 0 and at most \"365d\", such as \"100ms\"",
            ),
            (
                "backoff_max",
                self.backoff_max >= self.backoff_min && some_time(self.backoff_max),
                "must not be shorter than `backoff_min`, and at most \"365d\"",
            ),
            (
                "checkpoint_age_max",
                some_time(self.checkpoint_age_max)
                    && self.checkpoint_age_max >= Duration::from_secs(1),
                "must be from \"1s\" to \"365d\"",
            ),
        ]
    }
}

/// A duration that the clock can add to any moment.
fn some_time(duration: Duration) -> bool {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);
    !duration.is_zero() && duration <= LONGEST
}
