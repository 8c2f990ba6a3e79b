//! Names and values of the metrics, reported through the `metrics` facade.
//!
//! The totals are the process's, summed over its publishers, and reported as absolute values with new handles each
//! time: a recorder that the host installs late still sees every count. The recorder is the host's code: each call
//! into it, or one for many, is a [`host::call`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use crate::host;
use crate::stats::{State, Stats};

mod help;

/// A counter: its name, its label `reason` if it has one, and where its value is.
type Counter = (&'static str, Option<&'static str>, fn(&Stats) -> u64);

/// The time over which the growth of the spill is averaged.
const GROWTH_OVER: Duration = Duration::from_secs(30);

/// A spill that grows by fewer bytes a second does not count as growing.
const GROWTH_MIN: f64 = 1.0;

const COUNTERS: [Counter; 19] = [
    ("aa_audit_accepted_total", None, |stats| stats.accepted),
    ("aa_audit_delivered_total", None, |stats| stats.delivered),
    ("aa_audit_published_total", None, |stats| {
        stats.delivered.saturating_sub(stats.replayed)
    }),
    ("aa_audit_publish_errors_total", None, |stats| {
        stats.delivery_errors
    }),
    ("aa_audit_buffered_total", None, |stats| stats.appended),
    ("aa_events_buffered", None, |stats| stats.appended),
    ("aa_audit_flushed_total", None, |stats| stats.replayed),
    ("aa_events_flushed_total", None, |stats| stats.replayed),
    ("aa_events_dropped_total", None, |stats| {
        stats.discarded.spill_evicted
    }),
    dropped("queue_full", |stats| stats.lost.queue_full),
    dropped("already_shutdown", |stats| stats.lost.already_shutdown),
    dropped("spill_full", |stats| stats.lost.spill_full),
    dropped("spill_evicted", |stats| stats.discarded.spill_evicted),
    dropped("encode_error", |stats| stats.discarded.encode_error),
    dropped("corrupt", |stats| stats.discarded.corrupt),
    dropped("dead_letters_full", |stats| {
        stats.discarded.dead_letters_full
    }),
    dead_lettered("oversize", |stats| stats.oversize),
    dead_lettered("rejected", |stats| stats.rejected),
    ("aa_audit_returned_total", None, |stats| stats.returned),
];

const fn dropped(reason: &'static str, read: fn(&Stats) -> u64) -> Counter {
    ("aa_audit_dropped_total", Some(reason), read)
}

const fn dead_lettered(reason: &'static str, read: fn(&Stats) -> u64) -> Counter {
    ("aa_audit_dead_lettered_total", Some(reason), read)
}

static TOTALS: [AtomicU64; COUNTERS.len()] = [const { AtomicU64::new(0) }; COUNTERS.len()];

static QUARANTINES: AtomicU64 = AtomicU64::new(0);
static UNDECODABLE: AtomicU64 = AtomicU64::new(0);

/// What one publisher has added to the totals so far.
#[derive(Debug)]
pub(crate) struct Metrics {
    reported: [u64; COUNTERS.len()],
    last: Option<(Instant, u64)>,
    /// By how many bytes a second the spill has grown lately.
    growth: f64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            reported: [0; COUNTERS.len()],
            last: None,
            growth: 0.0,
        }
    }

    /// Updates counters and gauges.
    pub(crate) fn report(&mut self, stats: &Stats, spill_bytes_max: u64) {
        let sums = self.sums(stats);
        let left = self.seconds_until_full(stats.spill_bytes, spill_bytes_max, Instant::now());
        host::call(|| {
            help::describe();
            for ((name, reason, _), sum) in COUNTERS.into_iter().zip(sums) {
                match reason {
                    Some(reason) => counter!(name, "reason" => reason).absolute(sum),
                    None => counter!(name).absolute(sum),
                }
            }
            counter!("aa_audit_spill_quarantines_total")
                .absolute(QUARANTINES.load(Ordering::Relaxed));
            counter!("aa_audit_dead_lettered_total", "reason" => "undecodable")
                .absolute(UNDECODABLE.load(Ordering::Relaxed));
            report_depths(stats);
            gauge!("aa_audit_spill_seconds_until_full").set(left);
            for state in State::ALL {
                gauge!("aa_audit_state", "state" => state.as_str())
                    .set(u8::from(state == stats.state));
            }
        });
    }

    /// The process's totals, including what is new in `stats`.
    fn sums(&mut self, stats: &Stats) -> [u64; COUNTERS.len()] {
        let mut sums = [0; COUNTERS.len()];
        for ((((_, _, read), total), reported), sum) in COUNTERS
            .iter()
            .zip(&TOTALS)
            .zip(&mut self.reported)
            .zip(&mut sums)
        {
            // A count read while entries move may step back for a moment; a counter never does.
            let now = read(stats).max(*reported);
            *sum = total.fetch_add(now - *reported, Ordering::Relaxed) + (now - *reported);
            *reported = now;
        }
        sums
    }

    pub(crate) fn delivered(entries: u64, took: Duration) {
        host::call(|| {
            histogram!("aa_audit_delivery_seconds").record(took);
            histogram!("aa_audit_batch_entries").record(as_f64(entries));
        });
    }

    /// A damaged segment or index was set aside. Not reported at once: a start may come before the host's recorder.
    pub(crate) fn quarantined() {
        QUARANTINES.fetch_add(1, Ordering::Relaxed);
    }

    /// This many imported rows are not entries. Not reported at once, as above.
    pub(crate) fn undecodable(rows: u64) {
        UNDECODABLE.fetch_add(rows, Ordering::Relaxed);
    }

    /// The spill directory was found to be a copy.
    pub(crate) fn cloned() {
        host::call(|| counter!("aa_audit_clones_total").increment(1));
    }

    pub(crate) fn appended(took: Duration) {
        host::call(|| histogram!("aa_audit_spill_append_seconds").record(took));
    }

    /// At the recent average pace; infinite if the spill does not grow, and 0 once it is full.
    fn seconds_until_full(&mut self, bytes: u64, bytes_max: u64, now: Instant) -> f64 {
        if let Some((then, before)) = self.last.replace((now, bytes)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            let weight = 1.0 - (-seconds / GROWTH_OVER.as_secs_f64()).exp();
            if weight > 0.0 {
                let growth = (as_f64(bytes) - as_f64(before)) / seconds;
                self.growth += (growth - self.growth) * weight;
            }
        }
        if bytes >= bytes_max {
            0.0
        } else if self.growth < GROWTH_MIN {
            f64::INFINITY
        } else {
            as_f64(bytes_max - bytes) / self.growth
        }
    }
}

fn report_depths(stats: &Stats) {
    gauge!("aa_audit_ring_entries").set(as_f64(stats.in_ring));
    gauge!("aa_audit_ring_bytes").set(as_f64(stats.ring_bytes));
    gauge!("aa_audit_spill_entries").set(as_f64(stats.spilled));
    gauge!("aa_audit_spill_bytes").set(as_f64(stats.spill_bytes));
    gauge!("aa_audit_spill_bytes_max").set(as_f64(stats.spill_bytes_max));
    gauge!("aa_audit_sink_up").set(u8::from(stats.sink_up));
    gauge!("aa_audit_oldest_entry_age_seconds")
        .set(stats.oldest_entry_age.unwrap_or_default().as_secs_f64());
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;

    /// Panics on every call.
    struct Panicking;

    impl Recorder for Panicking {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
            panic!("on purpose")
        }

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
            panic!("on purpose")
        }

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
            panic!("on purpose")
        }

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            panic!("on purpose")
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            panic!("on purpose")
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("on purpose")
        }
    }

    #[test]
    fn a_recorder_that_panics_disturbs_nobody() {
        metrics::with_local_recorder(&Panicking, || {
            Metrics::new().report(&Stats::default(), 10);
            Metrics::delivered(1, Duration::from_secs(1));
            Metrics::appended(Duration::from_secs(1));
            Metrics::cloned();
        });
    }

    /// It no longer grows then, but its time is up.
    #[test]
    fn a_spill_at_its_cap_is_full_in_no_time() {
        let mut metrics = Metrics::new();
        for bytes in [10, 10, 11] {
            let left = metrics.seconds_until_full(bytes, 10, Instant::now());
            assert!(left <= 0.0, "{left}");
        }
    }

    /// A spill that grows by 1,000 bytes a second, in steps every five seconds.
    #[test]
    fn the_time_until_full_does_not_flap() {
        let (mut metrics, start) = (Metrics::new(), Instant::now());
        let mut left = Vec::new();
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            left.push(metrics.seconds_until_full(second / 5 * 5_000, 1_000_000, now));
        }
        for (second, left) in left.iter().enumerate().skip(60) {
            let expected = 1_000.0 - as_f64(second as u64);
            assert!((left / expected - 1.0).abs() < 0.25, "{second}: {left}");
        }
        // Then it shrinks, and after a while that shows.
        let now = start + Duration::from_secs(180);
        assert!(metrics.seconds_until_full(0, 1_000_000, now).is_infinite());
    }
}
