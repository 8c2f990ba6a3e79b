//! Measures the duration of calls, in nanoseconds.

use std::fmt;

use hdrhistogram::Histogram;
use quanta::Clock;
use serde::Serialize;

use crate::console::Problem;

/// Longer calls are counted as this long.
const NS_MAX: u64 = 3_600_000_000_000;

/// Readings of the clock to measure the cost of one.
const CLOCK_READINGS: u32 = 100_000;

/// Times calls, and keeps a histogram.
#[derive(Debug, Clone)]
pub(crate) struct Stopwatch {
    clock: Clock,
    taken: Histogram<u64>,
}

/// Percentiles in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p90,
            p99,
            p99_9,
            max,
        } = self;
        write!(
            f,
            "p50 {p50} ns, p90 {p90} ns, p99 {p99} ns, p99.9 {p99_9} ns, max {max} ns"
        )
    }
}

impl Stopwatch {
    pub(crate) fn new() -> Result<Self, Problem> {
        let taken = Histogram::new_with_bounds(1, NS_MAX, 3)
            .map_err(|error| Problem::new(format_args!("cannot create a histogram: {error}")))?;
        Ok(Self {
            clock: Clock::new(),
            taken,
        })
    }

    /// Times a call. The time includes one reading of the clock.
    #[inline]
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = self.clock.raw();
        let result = call();
        let end = self.clock.raw();
        self.taken
            .saturating_record(self.clock.delta_as_nanos(start, end));
        result
    }

    /// Times empty calls.
    pub(crate) fn time_clock(&mut self) {
        for _ in 0..CLOCK_READINGS {
            self.time(|| ());
        }
    }

    /// Adds the times of another stopwatch.
    pub(crate) fn join(&mut self, other: &Self) -> Result<(), Problem> {
        self.taken
            .add(&other.taken)
            .map_err(|error| Problem::new(format_args!("cannot merge histograms: {error}")))
    }

    pub(crate) fn count(&self) -> u64 {
        self.taken.len()
    }

    /// How many calls took from `from` to `to`, exclusive.
    pub(crate) fn count_between(&self, from: u64, to: u64) -> u64 {
        self.taken
            .iter_recorded()
            .filter(|step| (from..to).contains(&step.value_iterated_to()))
            .map(|step| step.count_at_value())
            .sum()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.taken.value_at_quantile(0.5),
            p90: self.taken.value_at_quantile(0.9),
            p99: self.taken.value_at_quantile(0.99),
            p99_9: self.taken.value_at_quantile(0.999),
            max: self.taken.max(),
        }
    }
}
