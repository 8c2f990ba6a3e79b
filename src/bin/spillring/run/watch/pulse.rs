//! Detects a hanging drainer.
//!
//! The drainer reports metrics once a second, whatever sink and disk do. A recorder notes the time of the last report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_global_recorder,
};
use metrics_exporter_prometheus::PrometheusRecorder;

use crate::console::Problem;

/// A gauge in every report of the drainer. Nothing else sets it.
const BEAT: &str = "aa_audit_state";

/// The time of the drainer's last report.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    start: Instant,
    /// In milliseconds since the start.
    last: Arc<AtomicU64>,
}

/// Notes the reports, and forwards everything to the exporter, if there is one.
struct PulseRecorder {
    pulse: Pulse,
    exporter: Option<PrometheusRecorder>,
}

/// Installs the recorder of this process.
pub(super) fn record(pulse: &Pulse, exporter: Option<PrometheusRecorder>) -> Result<(), Problem> {
    let recorder = PulseRecorder {
        pulse: pulse.clone(),
        exporter,
    };
    set_global_recorder(recorder)
        .map_err(|error| Problem::new(format_args!("the metrics cannot be recorded: {error}")))
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Pulse {
    /// Time since the last report.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

impl Recorder for PulseRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        if let Some(exporter) = &self.exporter {
            exporter.describe_counter(key, unit, text);
        }
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        if let Some(exporter) = &self.exporter {
            exporter.describe_gauge(key, unit, text);
        }
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        if let Some(exporter) = &self.exporter {
            exporter.describe_histogram(key, unit, text);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let exporter = self.exporter.as_ref();
        exporter.map_or_else(Counter::noop, |it| it.register_counter(key, metadata))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if key.name() == BEAT {
            self.pulse.beat();
        }
        let exporter = self.exporter.as_ref();
        exporter.map_or_else(Gauge::noop, |it| it.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let exporter = self.exporter.as_ref();
        exporter.map_or_else(Histogram::noop, |it| it.register_histogram(key, metadata))
    }
}
