//! Measures which way of storing a batch is faster here: a client cannot see how often the servers sync.

use std::time::Duration;

/// A way of storing a batch with its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Atomic,
    Fast,
}

/// Batches from this many entries on are measured separately: for smaller ones the other way may be faster.
const LARGE: usize = 100;
/// How often each way is tried before they are compared.
const TRIALS: u32 = 3;
/// After this many batches the slower way is tried again.
const AGAIN_AFTER: u32 = 500;
/// The weight of the newest batch.
const WEIGHT: f64 = 0.25;

#[derive(Debug, Default)]
pub(super) struct Rates {
    small: Class,
    large: Class,
}

/// Batches of about one size.
#[derive(Debug, Default)]
struct Class {
    atomic: Rate,
    fast: Rate,
    /// Batches since the slower way was tried.
    batches: u32,
}

#[derive(Debug, Default)]
struct Rate {
    entries_per_second: f64,
    trials: u32,
}

impl Rates {
    /// How to send the next batch of this many entries.
    pub(super) fn choose(&mut self, entries: usize) -> Kind {
        let class = self.class(entries);
        if class.atomic.trials < TRIALS {
            return Kind::Atomic;
        }
        if class.fast.trials < TRIALS {
            return Kind::Fast;
        }
        let faster = class.faster();
        class.batches += 1;
        if class.batches > AGAIN_AFTER {
            class.batches = 0;
            match faster {
                Kind::Atomic => class.fast.trials = TRIALS - 1,
                Kind::Fast => class.atomic.trials = TRIALS - 1,
            }
        }
        faster
    }

    /// A batch was stored.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    pub(super) fn note(&mut self, kind: Kind, entries: usize, took: Duration) {
        let now = entries as f64 / took.as_secs_f64().max(1e-9);
        let rate = self.class(entries).rate(kind);
        rate.entries_per_second = match rate.trials {
            0 => now,
            _ => rate.entries_per_second * (1.0 - WEIGHT) + now * WEIGHT,
        };
        rate.trials = rate.trials.saturating_add(1);
    }

    /// A batch was not stored: that counts as slow.
    pub(super) fn failed(&mut self, kind: Kind, entries: usize) {
        let rate = self.class(entries).rate(kind);
        rate.entries_per_second *= 1.0 - WEIGHT;
        rate.trials = rate.trials.saturating_add(1);
    }

    fn class(&mut self, entries: usize) -> &mut Class {
        if entries < LARGE {
            &mut self.small
        } else {
            &mut self.large
        }
    }
}

impl Class {
    fn rate(&mut self, kind: Kind) -> &mut Rate {
        match kind {
            Kind::Atomic => &mut self.atomic,
            Kind::Fast => &mut self.fast,
        }
    }

    fn faster(&self) -> Kind {
        if self.fast.entries_per_second > self.atomic.entries_per_second {
            Kind::Fast
        } else {
            Kind::Atomic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs batches of one size. Fast ones take `fast` milliseconds, atomic ones `atomic`. Returns how many were fast.
    fn run(rates: &mut Rates, batches: u32, entries: usize, fast: u64, atomic: u64) -> u32 {
        let mut count = 0;
        for _ in 0..batches {
            let kind = rates.choose(entries);
            let took = match kind {
                Kind::Fast => fast,
                Kind::Atomic => atomic,
            };
            count += u32::from(kind == Kind::Fast);
            rates.note(kind, entries, Duration::from_millis(took));
        }
        count
    }

    #[test]
    fn both_ways_are_tried_and_the_faster_one_stays() {
        let mut rates = Rates::default();
        assert_eq!(run(&mut rates, 100, 999, 5, 10), 97);
        // Small batches are compared separately.
        assert_eq!(run(&mut rates, 100, 1, 5, 1), TRIALS);
        assert_eq!(run(&mut rates, 100, 999, 5, 10), 100);
    }

    #[test]
    fn a_way_that_always_fails_is_left() {
        let mut rates = Rates::default();
        for _ in 0..TRIALS {
            assert_eq!(rates.choose(1), Kind::Atomic);
            rates.failed(Kind::Atomic, 1);
        }
        assert_eq!(run(&mut rates, 10, 1, 5, 1), 10);
    }

    #[test]
    fn what_has_become_faster_is_found() {
        let mut rates = Rates::default();
        run(&mut rates, 100, 999, 5, 10);
        let fast = run(&mut rates, 3 * AGAIN_AFTER, 999, 5, 1);
        assert!(fast < 2 * AGAIN_AFTER, "{fast}");
    }
}
