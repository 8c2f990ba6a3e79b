//! Keyword arguments become settings: by the names and formats of the configuration file.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use serde::de::DeserializeOwned;
use spillring::{Config, JetStreamSink, JsonLinesSink, NatsConfig, Sink};

use crate::errors;

/// The settings of a publisher. Unknown keys are errors.
pub(crate) fn config(spill_dir: PathBuf, settings: &Bound<'_, PyDict>) -> PyResult<Config> {
    settings.set_item("spill_dir", "")?;
    let mut config: Config = parse(settings)?;
    config.spill_dir = spill_dir;
    Ok(config)
}

/// The sink at an address: `jsonl:PATH`, `nats://HOST:PORT` and more after commas, or `nats` for the servers of `nats` or of
/// `NATS_URL`.
pub(crate) fn sink(address: &str, nats: Option<&Bound<'_, PyDict>>) -> PyResult<Box<dyn Sink>> {
    if let Some(path) = address.strip_prefix("jsonl:")
        && !path.is_empty()
    {
        if nats.is_some() {
            return Err(PyValueError::new_err("`nats` is for a sink of NATS only"));
        }
        return Ok(Box::new(JsonLinesSink::new(path)));
    }
    let names_servers = address.starts_with("nats://") || address.starts_with("tls://");
    if !names_servers && address != "nats" {
        // It may be a URL with a password in it.
        let scheme = address.split(':').next().unwrap_or_default();
        return Err(PyValueError::new_err(format!(
            "there is no sink `{scheme}`: write jsonl:PATH, nats://HOST:PORT, tls://HOST:PORT, or nats for the servers of NATS_URL"
        )));
    }
    let settings = nats.map(parse::<NatsConfig>).transpose()?;
    let settings = settings.unwrap_or_default().with_env();
    let mut settings = settings.map_err(|error| errors::config(&error))?;
    if names_servers {
        settings.urls = vec![address.into()];
    }
    let sink = JetStreamSink::new(settings).map_err(|error| errors::config(&error))?;
    Ok(Box::new(sink))
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
