//! Promise: who comes from Agent Assembly's publisher finds its capabilities here: its sinks, its backlog, and its way
//! to publish to NATS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[path = "../support/law.rs"]
#[allow(unreachable_pub, reason = "shared with others")]
mod law;
#[cfg(feature = "nats")]
#[path = "../support/mod.rs"]
mod support;

mod bench;
#[cfg(feature = "nats")]
mod core_nats;
mod emit;
mod import;
mod odd_buffers;
