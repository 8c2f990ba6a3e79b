//! Promise: bad usage is exit code 2, a failed start 6, and one sentence says what is wrong and how to fix it.

use std::fs;

use super::bench::{Bench, Said};

/// Runs with these arguments, and wants each of these pieces in the sentence.
#[track_caller]
fn complains(bench: &Bench, arguments: &[&str], pieces: &[&str]) -> Said {
    complains_with(2, bench, arguments, pieces)
}

/// The same for errors that a retry may fix.
#[track_caller]
fn fails(bench: &Bench, arguments: &[&str], pieces: &[&str]) -> Said {
    complains_with(6, bench, arguments, pieces)
}

#[track_caller]
fn complains_with(code: i32, bench: &Bench, arguments: &[&str], pieces: &[&str]) -> Said {
    let said = bench.run(arguments);
    said.assert_code(code);
    assert_eq!(said.out, "");
    assert!(said.err.starts_with("error: "), "{}", said.err);
    for piece in pieces {
        assert!(said.err.contains(piece), "no `{piece}` in {}", said.err);
    }
    said
}

#[test]
fn a_spill_directory_is_needed() {
    complains(
        &Bench::new(),
        &["run"],
        &[
            "no directory for the backlog",
            "`--spill DIR`",
            "`spill_dir`",
        ],
    );
}

#[test]
fn an_unknown_sink_is_reported_without_its_password() {
    let arguments = [
        "run",
        "--spill",
        "spill",
        "--sink",
        "kafka://user:secret@host",
    ];
    let pieces = ["--sink cannot be `kafka`", "jsonl:PATH", "nats://HOST:PORT"];
    let said = complains(&Bench::new(), &arguments, &pieces);
    assert!(!said.err.contains("secret"), "{}", said.err);
}

#[test]
fn a_sink_without_a_file_is_reported() {
    complains(
        &Bench::new(),
        &["run", "--spill", "spill", "--sink", "jsonl:"],
        &["names no file"],
    );
}

#[test]
fn a_bad_url_is_reported() {
    complains(
        &Bench::new(),
        &["run", "--spill", "spill", "--sink", "nats://"],
        &["`urls`", "nats://127.0.0.1:4222"],
    );
}

#[test]
fn a_stream_needs_a_sink_that_has_one() {
    complains(
        &Bench::new(),
        &["run", "--spill", "spill", "--stream", "AUDIT"],
        &["`--stream`", "audit.jsonl", "nats://HOST:PORT"],
    );
}

#[test]
fn unreadable_input_is_reported_before_anything_is_made() {
    let bench = Bench::new();
    let arguments = ["run", "--spill", "spill", "--input", "missing"];
    complains(
        &bench,
        &arguments,
        &["missing cannot be read", "No such file", "`--input FILE`"],
    );
    complains(
        &bench,
        &["run", "--spill", "spill", "--input", "."],
        &["it is a directory"],
    );
    assert!(!bench.path("spill").exists());
}

#[test]
fn a_ring_out_of_bounds_is_reported() {
    complains(
        &Bench::new(),
        &["run", "--spill", "spill", "--ring", "1"],
        &["--ring", "2..=1048576"],
    );
    complains(
        &Bench::new(),
        &["run", "--spill", "spill", "--rate", "0"],
        &["--rate"],
    );
}

#[test]
fn a_spill_that_cannot_be_made_is_reported() {
    let bench = Bench::new();
    bench.write("file", "");
    fails(
        &bench,
        &["run", "--spill", "file/spill"],
        &["file/spill", "Not a directory", "give a directory"],
    );
    fails(
        &bench,
        &["run", "--spill", "file"],
        &[
            "cannot create /",
            "a file is in the way",
            "give a directory",
        ],
    );
    fails(
        &bench,
        &["run", "--spill", "/proc/spill"],
        &["/proc/spill", "give a directory that this user can write"],
    );
}

#[test]
fn a_spill_in_use_is_reported_with_the_process_that_uses_it() {
    let bench = Bench::new();
    let (mut child, _stdin) = bench.piped(&["run", "--spill", "spill"]);
    let pid = child.id();
    bench.status_when(|status| status["pid"] == pid);
    let in_use = format!("in use by process {pid}");
    fails(
        &bench,
        &["run", "--spill", "spill"],
        &["spill", &in_use, "its own directory"],
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_log_filter_that_is_none_is_reported() {
    let bench = Bench::new();
    let mut command = bench.command(&["run", "--spill", "spill"]);
    let said = Said::of(command.env("RUST_LOG", "spillring=loud").spawn().unwrap());
    said.assert_code(2);
    assert!(
        said.err
            .starts_with("error: RUST_LOG=spillring=loud cannot be read"),
        "{}",
        said.err
    );
}

#[test]
fn input_that_ends_in_an_error_is_reported_and_what_was_read_is_delivered() {
    let bench = Bench::new();
    // Reading the memory of a process from its start fails.
    let said = bench.run(&["run", "--spill", "spill", "--input", "/proc/self/mem"]);
    said.assert_code(6);
    assert!(
        said.err.contains("cannot read the input from line 1 on"),
        "{}",
        said.err
    );
    assert!(fs::exists(bench.path("spill")).unwrap());
}

#[test]
fn completions_and_man_pages_are_written() {
    let bench = Bench::new();
    let script = bench
        .run(&["completions", "bash"])
        .assert_code(0)
        .out
        .clone();
    bench.write("completions.bash", &script);
    let parsed = bench.bash(&["-n", "completions.bash"]);
    assert!(script.contains("dead-letters") && parsed, "{script}");
    bench.run(&["man", "."]).assert_code(0);
    for page in ["spillring.1", "spillring-run.1", "spillring-verify.1"] {
        assert!(bench.read(page).contains(".TH"), "{page}");
    }
}

#[test]
fn the_log_can_be_json() {
    let bench = Bench::new();
    let arguments = [
        "run",
        "--spill",
        "spill",
        "--sink",
        "nats://127.0.0.1:1",
        "--log-format",
        "json",
    ];
    let mut command = bench.command(&arguments);
    command.env("RUST_LOG", "info");
    let said = Said::of(command.spawn().unwrap());
    let started = said.assert_code(0).err.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["fields"]["message"] == "the publisher has started").then_some(line)
    });
    assert_eq!(started.expect("a line of JSON")["fields"]["backlog"], 0);
    let verdict = said.out.lines().last().unwrap();
    assert!(
        verdict.starts_with("There was nothing to deliver"),
        "{verdict}"
    );
}

#[test]
fn the_verb_of_dead_letters_may_come_first() {
    let bench = Bench::new();
    bench.run(&["run", "--spill", "spill"]).assert_code(0);
    for arguments in [
        ["dead-letters", "spill", "list"],
        ["dead-letters", "list", "spill"],
    ] {
        let said = bench.run(&arguments);
        assert_eq!(said.assert_code(0).out, "0 dead letters\n");
    }
}
