//! Tries to make a publisher lose, double or reorder entries through faults at the system call: reads that fail for a
//! moment or for good, writes and syncs that fail, disks that hang, are full, or vanish. Each file is about one kind.
//!
//! A shim that the dynamic linker loads first makes the calls fail: see `shim.c`. It affects the whole process, so each
//! story runs in a child, which is this test binary once more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

mod away;
mod child;
mod disks;
mod frozen;
mod log;
mod long_reads;
mod moments;
mod pages;
mod room;
mod shim;
mod small_disks;
#[cfg(feature = "cli")]
mod status;
mod stock;
mod syncs;
mod unlinks;
mod vanished;
mod working_dir;
