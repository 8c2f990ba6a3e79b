//! Keyword arguments become settings: by the names and formats of the configuration file.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use serde::de::DeserializeOwned;
use spillring::sink::SinkAddress;
use spillring::{Config, NatsConfig, Sink};

use crate::errors;

/// The settings of a publisher. Unknown keys are errors.
pub(crate) fn config(spill_dir: PathBuf, settings: &Bound<'_, PyDict>) -> PyResult<Config> {
    settings.set_item("spill_dir", "")?;
    let mut config: Config = parse(settings)?;
    config.spill_dir = spill_dir;
    Ok(config)
}

/// The sink at an address: `jsonl:PATH`, `nats://HOST:PORT` and more after commas, or `nats` for the servers of `nats`
/// or of `NATS_URL`.
pub(crate) fn sink(address: &str, nats: Option<&Bound<'_, PyDict>>) -> PyResult<Box<dyn Sink>> {
    let address: SinkAddress = address.parse().map_err(|error| errors::config(&error))?;
    let mut settings = nats
        .map(parse::<NatsConfig>)
        .transpose()?
        .unwrap_or_default();
    if !matches!(address, SinkAddress::JsonLines(_)) {
        settings = settings
            .with_env()
            .map_err(|error| errors::config(&error))?;
    } else if nats.is_some() {
        return Err(PyValueError::new_err("`nats` is for a sink of NATS only"));
    }
    address
        .sink(settings)
        .map_err(|error| errors::config(&error))
}

fn parse<T: DeserializeOwned>(settings: &Bound<'_, PyDict>) -> PyResult<T> {
    let py = settings.py();
    let paths_too = [("default", py.import("os")?.getattr("fspath")?)].into_py_dict(py)?;
    let text =
        py.import("json")?
            .call_method(intern!(py, "dumps"), (settings,), Some(&paths_too))?;
    let wrong = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
    let value: serde_json::Value =
        serde_json::from_str(text.extract::<&str>()?).map_err(|error| wrong(&error))?;
    serde_path_to_error::deserialize(value).map_err(|error| wrong(&error))
}
