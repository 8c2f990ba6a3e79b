//! A recorder that hears one thing: how long the transactions took in which spillring appended.

use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;

/// The transactions of the process so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Appends {
    pub(crate) transactions: u64,
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, Default)]
struct Ear(Arc<Mutex<Appends>>);

static EAR: OnceLock<Ear> = OnceLock::new();

impl Appends {
    /// Listens from the first call on: it comes before anything is appended.
    pub(crate) fn now() -> Self {
        let ear = EAR.get_or_init(|| {
            let ear = Ear::default();
            metrics::set_global_recorder(ear.clone()).expect("the only recorder");
            ear
        });
        *ear.0.lock()
    }

    pub(crate) fn since(self) -> Self {
        let now = Self::now();
        Self {
            transactions: now.transactions - self.transactions,
            seconds: now.seconds - self.seconds,
        }
    }
}

impl HistogramFn for Ear {
    fn record(&self, seconds: f64) {
        let mut appends = self.0.lock();
        appends.transactions += 1;
        appends.seconds += seconds;
    }
}

impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == "aa_audit_spill_append_seconds" {
            Histogram::from_arc(Arc::new(self.clone()))
        } else {
            Histogram::noop()
        }
    }
}
