//! docs/wire-format.md is enough for a reader in another language: `tests/interop/reader.py`, which knows only that
//! page, calls honest files complete, and finds what was taken out or changed.

use std::path::Path;
use std::process::Command;

use spillring::{Config, JsonLinesSink};

use super::bench::{Bench, SESSIONS};
use super::files::Copy;
use super::trail::{Run, entries};

/// Whether the reader calls the file complete, and what it says.
fn read(output: &Path) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/reader.py");
    let said = Command::new("python3").arg(script).arg(output).output();
    let said = said.unwrap();
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(matches!(said.status.code(), Some(0 | 1)), "{out}{err}");
    (said.status.success(), out)
}

#[track_caller]
fn assert_found(change: impl FnOnce(&mut Copy), problem: &str) {
    let mut copy = Copy::new();
    change(&mut copy);
    copy.write();
    let (complete, out) = read(&copy.path());
    assert!(!complete && out.contains(problem), "{out}");
}

/// Fits the ledger to the lines, when the first range has one line less.
fn cover_up(copy: &mut Copy) {
    let mut entries = copy.entries_of_ranges();
    entries[0] -= 1;
    copy.cover_up(&entries);
}

#[test]
fn what_the_binary_writes_is_complete() {
    let bench = Bench::new();
    for _ in 0..2 {
        let run = ["run", "--input", SESSIONS, "--spill", "spill"];
        bench.run(&run).assert_code(0);
    }
    let (complete, out) = read(&bench.path("audit.jsonl"));
    assert!(complete, "{out}");
    assert_eq!(out.matches("2000 entries, 0 lost, up to 2000").count(), 2);
}

#[test]
fn announced_losses_are_not_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("audit.jsonl");
    for part in [0..40, 40..80] {
        let mut config = Config::new(dir.path().join("spill"));
        config.batch_max = 7;
        config.entry_bytes_max = 850;
        let sink = JsonLinesSink::new(&output);
        let mut run = Run::of(spillring::start(config, sink).unwrap());
        run.publish(entries(part));
        run.settle();
        assert!(run.end().dead_lettered > 0);
    }
    let (complete, out) = read(&output);
    assert!(complete, "{out}");
    assert_eq!(out.matches("up to 40").count(), 2, "{out}");
    assert!(!out.contains(" 0 lost"), "{out}");
}

#[test]
fn an_entry_that_is_removed_is_found() {
    let problem = "bytes 0 to ";
    assert_found(|copy| drop(copy.lines.remove(20)), problem);
}

/// The next run says how many numbers this one had.
#[test]
fn an_entry_that_is_removed_from_the_end_of_a_run_is_found_though_the_ledger_fits() {
    let cut = |copy: &mut Copy| {
        copy.lines.remove(29);
        cover_up(copy);
        for range in copy.ranges() {
            if let Some(opening) = range["audit_run"].as_str() {
                range["audit_run"] = opening.replace("last=29", "last=30").into();
            }
        }
    };
    assert_found(cut, "neither stored nor announced as lost: [30]");
}

#[test]
fn a_run_that_is_removed_from_the_beginning_is_found_though_the_ledger_fits() {
    let cut = |copy: &mut Copy| {
        copy.lines.drain(..30);
        let first = copy.ledger.iter().position(|line| line["kind"] == "stored");
        copy.ledger.remove(first.unwrap());
        let entries = copy.entries_of_ranges();
        copy.cover_up(&entries);
    };
    assert_found(cut, "is not there");
}

#[test]
fn an_edited_entry_is_found_though_the_ledger_fits() {
    let edit = |copy: &mut Copy| {
        copy.lines[20] = copy.lines[20].replacen("\"timestamp_ns\":1", "\"timestamp_ns\":2", 1);
        let entries = copy.entries_of_ranges();
        copy.cover_up(&entries);
    };
    assert_found(edit, "an entry has been edited");
}
