//! Service times: from before a call to after it, the cost of reading the clock included, on both sides.

use std::time::Duration;

use hdrhistogram::Histogram;
use quanta::Clock;

use super::line::Figures;

/// Takes the times of the calls of one block.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Clock,
    times: Histogram<u64>,
    pace: u64,
    /// When the last call was due.
    due: u64,
}

impl Meter {
    /// For calls of which one is due per `pace`; in a tight loop without.
    pub(crate) fn new(pace: Option<Duration>) -> Self {
        let clock = Clock::new();
        Self {
            times: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds"),
            pace: pace.map_or(0, |pace| {
                u64::try_from(pace.as_nanos()).expect("a short pace")
            }),
            due: clock.raw(),
            clock,
        }
    }

    /// Whether the next call is due; asked until it is.
    pub(crate) fn due(&mut self) -> bool {
        let now = self.clock.raw();
        let due = self.clock.delta_as_nanos(self.due, now) >= self.pace;
        if due {
            self.due = now;
        }
        due
    }

    /// The time before a call.
    pub(crate) fn start(&self) -> u64 {
        self.clock.raw()
    }

    /// The call that began then has returned.
    pub(crate) fn stop(&mut self, start: u64) {
        let now = self.clock.raw();
        self.times
            .saturating_record(self.clock.delta_as_nanos(start, now));
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures::Latency {
            count: self.times.len(),
            p50: self.times.value_at_quantile(0.5),
            p99: self.times.value_at_quantile(0.99),
            p999: self.times.value_at_quantile(0.999),
            max: self.times.max(),
        }
    }
}
