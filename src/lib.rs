//! Publish audit entries from any thread in tens of nanoseconds; lose none.
#![forbid(unsafe_code)]

mod config;
mod control;
mod courier;
mod drainer;
mod entry;
mod error;
mod event;
mod intake;
mod metrics;
mod policy;
mod publisher;
mod ring;
mod sink;
mod spill;
mod start;
mod stats;
mod status;
mod sync;
mod ticket;

pub use config::*;
pub use entry::*;
pub use error::*;
pub use event::*;
pub use publisher::Publisher;
#[cfg(feature = "nats")]
pub use sink::jetstream::JetStreamSink;
pub use sink::json_lines::JsonLinesSink;
pub use sink::{BoxFuture, Delivery, Sink, conformance};
pub use start::{Drainer, start};
pub use stats::*;
pub use status::status;
pub use ticket::Ticket;
