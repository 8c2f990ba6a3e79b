//! The class `Publisher`. What each method promises is in `lib/spillring/_spillring.pyi`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyResourceWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyString, PyTuple};
use spillring::{RawEntry, Stats};

use crate::running::{Running, wait};
use crate::{errors, settings};

/// How long leaving the block delivers: as long as `close` unless the caller says otherwise.
const EXIT_MAX: Duration = Duration::from_secs(10);

/// How long the end of a publisher that nobody closed is waited for.
const DROP_MAX: Duration = Duration::from_secs(1);

/// Publishes entries from any thread, and never waits.
#[pyclass(frozen, module = "spillring")]
#[derive(Debug)]
pub(crate) struct Publisher {
    running: Arc<Running>,
}

#[pymethods]
impl Publisher {
    /// Starts a publisher that delivers to `sink` and spills into `spill_dir`.
    #[new]
    #[pyo3(signature = (spill_dir, sink, *, nats=None, **settings))]
    fn new(
        py: Python<'_>,
        spill_dir: PathBuf,
        sink: &str,
        nats: Option<&Bound<'_, PyDict>>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let none = PyDict::new(py);
        let config = settings::config(spill_dir, settings.unwrap_or(&none))?;
        let sink = settings::sink(sink, nats)?;
        py.import("spillring._log")?.call_method0("forward")?;
        let running = py.detach(|| Running::start(config, sink));
        let running = running.map_err(|error| errors::start(&error))?;
        running.register(py);
        Ok(Self { running })
    }

    /// Publishes bytes, or a dict as JSON, and never waits. If there is no room, the entry is dropped and counted.
    fn publish(&self, subject: &str, entry: &Bound<'_, PyAny>) -> PyResult<()> {
        self.running.publish(subject, Encoded::of(entry)?.bytes()?)
    }

    /// The same, but raises `FullError` or `ClosedError` rather than drop the entry.
    fn try_publish(&self, subject: &str, entry: &Bound<'_, PyAny>) -> PyResult<()> {
        let publisher = self.running.publisher()?;
        let encoded = Encoded::of(entry)?;
        let entry = RawEntry::new(subject, encoded.bytes()?);
        let taken = publisher.try_publish(entry);
        taken.map_err(|error| errors::refused(&error))
    }

    /// Waits until all that was published before is acknowledged or on disk.
    #[pyo3(signature = (timeout=10.0))]
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let limit = seconds(timeout)?;
        let publisher = self.running.publisher()?;
        let ticket = py.detach(|| publisher.flush());
        wait(py, &ticket, limit)
    }

    /// Delivers for at most `timeout` seconds, spills the rest, and returns the final stats.
    #[pyo3(signature = (timeout=10.0))]
    fn close<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyAny>> {
        let stats = self.running.close(py, seconds(timeout)?)?;
        as_dict(py, &stats)
    }

    /// The counts and depths.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let publisher = self.running.publisher()?;
        as_dict(py, &py.detach(|| publisher.stats()))
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Closes. A forked child that leaves the block has nothing to close.
    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        if self.running.is_ours() {
            self.running.close(py, EXIT_MAX)?;
        }
        Ok(())
    }
}

impl Drop for Publisher {
    /// Spills what a publisher that nobody closed still has. In a forked child the parent's handles are leaked: their
    /// end is the parent's.
    fn drop(&mut self) {
        if !self.running.is_ours() {
            std::mem::forget(Arc::clone(&self.running));
        } else if self.running.is_open() {
            Python::try_attach(|py| {
                let pending = PyErr::take(py);
                warn_of_drop(py);
                py.detach(|| self.running.end(Duration::ZERO).wait(DROP_MAX).map(drop))
                    .unwrap_or_default();
                if let Some(pending) = pending {
                    pending.restore(py);
                }
            });
        }
    }
}

fn warn_of_drop(py: Python<'_>) {
    let category = py.get_type::<PyResourceWarning>();
    let message = c"unclosed spillring.Publisher: what it had not delivered is spilled";
    if let Err(error) = PyErr::warn(py, &category, message, 1) {
        error.write_unraisable(py, None);
    }
}

fn seconds(timeout: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(timeout).map_err(|_| {
        PyValueError::new_err("`timeout` must be seconds, not negative and not infinite")
    })
}

/// An entry as it is stored.
enum Encoded<'py> {
    Bytes(Bound<'py, PyBytes>),
    Json(Bound<'py, PyString>),
}

impl<'py> Encoded<'py> {
    fn of(entry: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = entry.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        if entry.is_instance_of::<PyDict>() {
            return Ok(Self::Json(to_json(entry)?));
        }
        Err(PyTypeError::new_err(format!(
            "an entry must be bytes or a dict, not {}",
            entry.get_type().name()?
        )))
    }

    fn bytes(&self) -> PyResult<&[u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.as_bytes()),
            Self::Json(text) => text.to_str().map(str::as_bytes),
        }
    }
}

/// Compact, strict, and one line: line breaks in strings are escaped.
fn to_json<'py>(entry: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = entry.py();
    let encode = ENCODE.get_or_try_init(py, || {
        let options = [("ensure_ascii", false), ("allow_nan", false)].into_py_dict(py)?;
        options.set_item("separators", (",", ":"))?;
        let encoder = py
            .import("json")?
            .getattr("JSONEncoder")?
            .call((), Some(&options))?;
        encoder.getattr("encode").map(Bound::unbind)
    })?;
    Ok(encode.bind(py).call1((entry,))?.cast_into()?)
}

fn as_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyAny>> {
    let text =
        serde_json::to_string(stats).map_err(|error| PyValueError::new_err(error.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}
