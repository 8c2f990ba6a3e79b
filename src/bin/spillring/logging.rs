//! The log on stderr, filtered by `RUST_LOG`.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::console::Problem;

/// Text for people, or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Starts the log. `default` is the filter if `RUST_LOG` is not set.
pub(crate) fn start(default: &str, format: Format) -> Result<(), Problem> {
    let from_env = env::var("RUST_LOG").unwrap_or_default();
    let filter = if from_env.is_empty() {
        default
    } else {
        &from_env
    };
    let targets: Targets = filter.parse().map_err(|error| {
        Problem::new(format_args!(
            "RUST_LOG={filter} cannot be read ({error}): write it like `warn` or `warn,spillring=debug`"
        ))
    })?;
    let lines = layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init()
        .map_err(|error| Problem::new(format_args!("the log does not start: {error}")))
}
