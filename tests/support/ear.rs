//! A recorder of the `metrics` facade that keeps what it last heard.
#![allow(clippy::cast_precision_loss, reason = "its counts are small")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;

/// What a publisher reports last each time.
const LAST_REPORTED: &str = "aa_audit_state state=stopped";

/// The last value of each metric by name and labels; of histograms how often one was recorded.
#[derive(Debug, Clone, Default)]
pub struct Ear(
    pub Arc<Mutex<BTreeMap<String, f64>>>,
    /// The names that have a help text.
    pub Arc<Mutex<BTreeSet<String>>>,
    /// How many reports are complete.
    Arc<AtomicU64>,
);

struct Slot(Ear, String);

impl Ear {
    /// How many times a publisher has reported everything. Between two values of one report others are still those of
    /// the report before, or missing.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.2.load(Ordering::Acquire)
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = [&[key.name().to_owned()], labels.as_slice()]
            .concat()
            .join(" ");
        Arc::new(Slot(self.clone(), name))
    }

    #[track_caller]
    pub fn heard(&self, name: &str) -> f64 {
        let heard = self.0.lock().get(name).copied();
        heard.unwrap_or_else(|| panic!("nothing was heard of {name}"))
    }
}

impl CounterFn for Slot {
    fn increment(&self, value: u64) {
        panic!(
            "{} is incremented by {value}: it is told as a total",
            self.1
        );
    }

    fn absolute(&self, value: u64) {
        let before = self.0.0.lock().insert(self.1.clone(), value as f64);
        assert!(
            before.is_none_or(|before| before <= value as f64),
            "{} steps back",
            self.1
        );
    }
}

impl GaugeFn for Slot {
    fn increment(&self, value: f64) {
        panic!("{} is incremented by {value}", self.1);
    }

    fn decrement(&self, value: f64) {
        panic!("{} is decremented by {value}", self.1);
    }

    fn set(&self, value: f64) {
        self.0.0.lock().insert(self.1.clone(), value);
        if self.1 == LAST_REPORTED {
            self.0.2.fetch_add(1, Ordering::Release);
        }
    }
}

impl HistogramFn for Slot {
    fn record(&self, _: f64) {
        *self.0.0.lock().entry(self.1.clone()).or_default() += 1.0;
    }
}

impl Recorder for Ear {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.1.lock().insert(name.as_str().to_owned());
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.1.lock().insert(name.as_str().to_owned());
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.1.lock().insert(name.as_str().to_owned());
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.slot(key))
    }
}
