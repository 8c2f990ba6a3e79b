//! The operator's binary, as its operators use it: files, pipes, signals, exit codes and sentences.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]

mod bench;
mod config;
mod dead_letters;
mod demo;
mod deploy;
mod encryption;
mod follow;
mod listen;
mod nats;
mod notify;
mod probe;
mod run;
mod serving;
mod signals;
mod status;
mod tools;
mod usage;
