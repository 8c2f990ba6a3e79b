//! Promise: users of Agent Assembly's publisher find its capabilities here: its sinks, its backlog, and its way
//! to publish to NATS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[cfg(feature = "nats")]
mod bench;
#[cfg(feature = "nats")]
mod core_nats;
mod emit;
mod import;
mod odd_buffers;
