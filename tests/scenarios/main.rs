//! Tries to break what the crate promises as a whole: with a sink that is down, stalls, refuses, panics, answers for a
//! part or not at all; with entries that cannot be encoded; with an end at any moment. After each scenario the law of
//! conservation holds, and what came out is what went in: in order, byte for byte, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

mod announced;
mod answers;
mod cap;
mod dead_letters;
mod ending;
mod flush;
mod hosts;
mod losses;
mod outage;
mod restart;
mod without_spill;
