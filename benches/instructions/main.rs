//! How many instructions `publish` and `try_publish` cost over a bare `ArrayQueue::push` of the same entries, counted
//! by callgrind. Fails where one costs more than [`MORE_MAX`] over its bare twin.
//!
//! `.ci/instructions` sees to valgrind, and runs this: `cargo bench -p instructions`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod cases;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::Command;

use cases::CALLS;

/// The argument before the name of a case.
const CASE: &str = "--case";

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
    let mut args = std::env::args().skip(1);
    // Valgrind calls this binary for a single case.
    if args.next().as_deref() == Some(CASE) {
        return cases::run(&args.next().expect("a case"));
    }
    println!(
        "{:<28} {:>8} {:>8} {:>8}",
        "instructions a call", "bare", "", "more"
    );
    let mut over = Vec::new();
    for (name, case, twin) in PAIRS {
        let [bare, ours] = [twin, case].map(a_call);
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

/// What callgrind counts in the function of this case, in whatever thread it runs, a call.
fn a_call(case: &str) -> f64 {
    let counted = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{case}.callgrind"));
    let option = |name: &str, value: &dyn Display| format!("--{name}={value}");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(option(
            "toggle-collect",
            &format!("*::cases::{}", cases::function(case)),
        ))
        .arg(option("callgrind-out-file", &counted.display()))
        .arg(std::env::current_exe().expect("this binary"))
        .args([CASE, case])
        .output()
        .expect("valgrind, which .ci/instructions installs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {said}");
    let text = fs::read_to_string(&counted).expect("what callgrind has counted");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.expect("a total").trim().parse().expect("a number");
    assert!(
        total > 0,
        "callgrind has counted nothing for {case}: {said}"
    );
    total as f64 / CALLS as f64
}
