//! Tries to make a whole publisher lose, double or reorder entries by taking away, in turn, everything around it: the
//! nats-server (absent, killed, stopped, without a stream), the publisher's own process, the disk's room, the ring's.
//!
//! The servers are real and die by real signals. What the stream then holds is read back by code that shares nothing
//! with the sink, and judged by the reader's rule alone: `n = previous n + 1 + lost`.
#![cfg(feature = "nats")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "paths in configuration files are quoted"
)]

mod access;
mod bench;
#[cfg(feature = "cli")]
mod binary;
mod conformance;
mod killed;
#[cfg(feature = "cli")]
mod letters;
mod losses;
mod many;
mod outages;
mod reading;
mod replicated;
mod restarts;
mod sink;
mod streams;
