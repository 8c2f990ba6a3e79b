//! The log: on stderr, as `RUST_LOG` asks for it.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::console::Problem;

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Starts the log; without `RUST_LOG` it is as `default` says.
pub(crate) fn start(default: &str, format: Format) -> Result<(), Problem> {
    let asked = env::var("RUST_LOG").unwrap_or_default();
    let filter = if asked.is_empty() { default } else { &asked };
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
