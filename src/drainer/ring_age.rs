//! The age of the oldest entry of the ring, at the most: estimated from checks of the ring alone, since no entry
//! carries a time.

use std::time::Instant;

/// Two checks: nothing in the ring is older than the first, and once everything that the second saw has been popped,
/// nothing is older than that one.
#[derive(Debug, Default)]
pub(crate) struct RingAge {
    since: Option<Instant>,
    next: Option<Observation>,
    /// The last check, if the ring was empty then.
    empty_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Observation {
    at: Instant,
    /// How many entries will have been popped once all that it saw are.
    pops: u64,
}

impl RingAge {
    /// `popped` entries have been popped so far, and `entries` are in the ring.
    pub(crate) fn observe(&mut self, popped: u64, entries: u64, now: Instant) {
        if entries == 0 {
            *self = Self {
                empty_at: Some(now),
                ..Self::default()
            };
            return;
        }
        if self.next.is_some_and(|next| popped < next.pops) {
            return;
        }
        let passed = self.next.map(|next| next.at);
        self.since = passed.or(self.empty_at.take()).or(Some(now));
        self.next = Some(Observation {
            at: now,
            pops: popped + entries,
        });
    }

    /// Nothing in the ring is older; `None` if it is empty.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::RingAge;

    #[test]
    fn what_stays_behind_a_pop_keeps_its_age() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut age = RingAge::default();
        age.observe(0, 0, at(0));
        assert_eq!(age.since(), None);
        // They came since the last check.
        age.observe(0, 5, at(1));
        assert_eq!(age.since(), Some(at(0)));
        // Three go and four come: two of the first check are left.
        age.observe(3, 6, at(2));
        assert_eq!(age.since(), Some(at(0)));
        // All of them are gone; the rest came after the first check.
        age.observe(5, 4, at(3));
        assert_eq!(age.since(), Some(at(1)));
        age.observe(8, 9, at(4));
        assert_eq!(age.since(), Some(at(1)));
        age.observe(9, 8, at(5));
        assert_eq!(age.since(), Some(at(3)));
        age.observe(17, 0, at(6));
        assert_eq!(age.since(), None);
    }
}
