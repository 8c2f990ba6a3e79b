//! Tries to break what the crate promises as a whole: with a sink that is down, stalls, refuses, panics, answers for a
//! part or not at all; with a disk that is full, damaged or gone; with entries that cannot be encoded; with an end or a
//! kill at any moment. After each scenario the law of conservation holds, and what came out is what went in: in order,
//! byte for byte, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

mod announced;
mod answers;
mod cap;
mod damage;
mod dead_letters;
mod disk;
mod ending;
mod flush;
mod full_disk;
mod hosts;
mod kill;
mod losses;
mod model;
mod outage;
mod restart;
mod ring_dir;
mod shrink;
mod tools;
mod vanished;
mod without_spill;
