//! How many instructions `publish` and `try_publish` cost over a bare `ArrayQueue::push` of the same entries, counted by
//! callgrind. Fails where one costs more than [`MORE_MAX`] over its bare twin.
//!
//! `.ci/instructions` sees to valgrind and to gungraun's runner; where both are on the `PATH`,
//! `cargo bench --bench instructions` does.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

#[path = "instructions/cases.rs"]
mod cases;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cases::CALLS;

/// How many instructions a call may cost over its bare twin.
const MORE_MAX: f64 = 40.0;

/// Each case with its bare twin.
const PAIRS: [(&str, &str, &str); 3] = [
    ("publish, accepted", "publish_accepted", "push_accepted"),
    (
        "publish, refused and freed",
        "publish_refused",
        "push_refused",
    ),
    (
        "try_publish, refused",
        "try_publish_refused",
        "try_push_refused",
    ),
];

fn main() {
    let told = |word: &str| std::env::args().any(|arg| arg == word);
    // The runner calls this binary for a single case.
    if told("--gungraun-run") {
        return cases::run();
    }
    if told("--test") {
        if Command::new("gungraun-runner").output().is_err() {
            println!("skipped: instructions need gungraun-runner, which .ci/instructions installs");
            return;
        }
        // Each case once, uncounted.
        return cases::run();
    }
    // Where the runner writes: what it makes of the same variable.
    let package = std::env::var_os("CARGO_PKG_NAME").unwrap_or_default();
    let counted = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("../gungraun")
        .join(package)
        .join("instructions");
    // What an earlier run has counted must not be taken for this one's.
    fs::remove_dir_all(&counted).ok();
    cases::run();
    println!(
        "\n{:<28} {:>8} {:>8} {:>8}",
        "instructions a call", "bare", "", "more"
    );
    let mut over = Vec::new();
    for (name, case, twin) in PAIRS {
        let [bare, ours] = [twin, case].map(|case| a_call(&counted, case));
        println!("{name:<28} {bare:>8.1} {ours:>8.1} {:>8.1}", ours - bare);
        if ours - bare > MORE_MAX {
            over.push(name);
        }
    }
    assert!(
        over.is_empty(),
        "more than {MORE_MAX} over the bare push: {over:?}"
    );
}

/// What callgrind has counted in the benched function, in whatever thread it ran, a call.
fn a_call(counted: &Path, case: &str) -> f64 {
    let outputs = files(&counted.join("cases/cases").join(format!("{case}.case")));
    let totals: Vec<u64> = outputs.iter().filter_map(|path| total(path)).collect();
    let sum: u64 = totals.iter().sum();
    assert!(
        sum > 0,
        "callgrind has counted nothing for {case}: {outputs:?}"
    );
    sum as f64 / CALLS as f64
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn total(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}
