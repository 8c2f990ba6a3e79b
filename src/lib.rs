//! Publish audit entries from any thread in tens of nanoseconds; lose none.
#![forbid(unsafe_code)]

mod config;
mod entry;
mod error;
mod event;
mod sink;
mod spill;
mod stats;
mod status;
mod sync;

pub use config::*;
pub use entry::*;
pub use error::*;
pub use event::*;
#[cfg(feature = "nats")]
pub use sink::jetstream::JetStreamSink;
pub use sink::json_lines::JsonLinesSink;
pub use sink::{BoxFuture, Delivery, Sink, conformance};
pub use stats::*;
pub use status::status;
