//! Log lines leave through a pipe, whose other end a thread of Python's reads: `lib/spillring/_log.py`. No thread of
//! spillring's waits for it: what a full pipe does not take is dropped.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Sends all log lines into a pipe: `LEVEL text`. Returns its ends, the reading one first. Once a process.
#[pyfunction]
pub(crate) fn _log_pipe() -> PyResult<(RawFd, RawFd)> {
    let (reader, writer) = io::pipe()?;
    let ends = (reader.into_raw_fd(), writer.as_raw_fd());
    let lines = fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .log_internal_errors(false)
        .with_writer(Arc::new(writer))
        .with_filter(Targets::new().with_target("spillring", LevelFilter::INFO));
    let installed = tracing_subscriber::registry().with(lines).try_init();
    installed.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(ends)
}
