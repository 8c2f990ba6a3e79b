//! What PERF.md states of the spill: `cargo bench --bench spill -- append|sync|flat|shrink`; without a name all of them
//! run; with `--test` each runs short; `--rows N` sets how deep `flat` and `shrink` go.
//!
//! What is compared takes turns in one run, so that what else happens on the machine strikes all of it; medians over the
//! turns are told, and how far two equals differ.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod append;
mod door;
mod ear;
mod flat;
mod measure;
mod plain;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod sync;

use support::args::Args;

fn main() {
    let args = Args::read();
    if args.wants("append") {
        append::append(&args);
    }
    if args.wants("sync") {
        sync::sync(&args);
    }
    if args.wants("flat") {
        flat::flat(&args);
    }
    if args.wants("shrink") {
        shrink::shrink(&args);
    }
}
