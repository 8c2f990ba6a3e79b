//! What PERF.md says of the spill: `cargo bench --bench spill -- append|replay|encrypted|looks|frozen|sync|flat|space`.
//! Without a name all of them run. With `--test` each runs short. `--rows N` says how deep `looks`, `flat` and `space`
//! go.
//!
//! What is compared takes turns in one run, so that whatever else happens on the machine strikes all of it. Results are
//! medians over the turns; how far two equals differ is noise.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod append;
mod damage;
mod door;
mod ear;
#[cfg(feature = "encryption")]
mod encrypted;
mod flat;
mod frozen;
mod looks;
mod measure;
mod plain;
mod replay;
#[path = "../../tests/faults/shim.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests' own, and this bench uses its part of it"
)]
mod shim;
mod shimmed;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod sync;
mod turns;

use support::args::Args;

/// A part's name, and what runs it.
type Part = (&'static str, fn(&Args));

const PARTS: &[Part] = &[
    ("append", append::append),
    ("replay", replay::replay),
    #[cfg(feature = "encryption")]
    ("encrypted", encrypted::encrypted),
    ("looks", looks::looks),
    ("frozen", frozen::frozen),
    ("sync", sync::sync),
    ("flat", flat::flat),
    ("space", space::space),
];

fn main() {
    let args = Args::read();
    for &(part, run) in PARTS {
        if shimmed::wants(&args, part) {
            run(&args);
        }
    }
}
