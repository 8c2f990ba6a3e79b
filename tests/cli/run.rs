//! Promise: what goes in comes out, byte for byte, and what is not an entry is reported and counted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::bench::{Bench, SESSIONS, Said, assert_same};

/// Through a pipe it is enough for a backlog, and quick.
const REPEATS: usize = if cfg!(debug_assertions) { 20 } else { 500 };

#[test]
fn a_file_is_delivered_as_it_is() {
    let bench = Bench::new();
    let said = bench.run(&[
        "run",
        "--input",
        SESSIONS,
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
    ]);
    said.assert_code(0);
    assert_same(&bench.path("out"), &fs::read(SESSIONS).unwrap());
    assert_eq!(said.err, "entries go to out\n");
    assert!(
        said.out.contains("2,000  acknowledged by out\n"),
        "{}",
        said.out
    );
    assert!(
        said.out.ends_with("Everything is delivered.\n"),
        "{}",
        said.out
    );
}

#[test]
fn the_sink_defaults_to_a_file_and_the_input_to_standard_input() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let said = bench.run_with(&["run", "--spill", "spill"], &entries);
    let reported = "entries go to audit.jsonl in the current directory, because no sink is named";
    assert_eq!(said.assert_code(0).err, format!("{reported}\n"));
    assert_same(&bench.path("audit.jsonl"), entries.as_bytes());
}

#[test]
fn settings_of_nats_that_are_not_used_are_reported() {
    let bench = Bench::new();
    bench.write("audit.toml", "[spillring.nats]\nstream = \"OTHER\"\n");
    let with_file = bench.command(&["run", "--spill", "spill", "--config", "audit.toml"]);
    let mut with_environment = bench.command(&["run", "--spill", "spill"]);
    with_environment.env("NATS_URL", "nats://127.0.0.1:1");
    for mut command in [with_file, with_environment] {
        let said = Said::of(command.spawn().unwrap());
        let reported = &said.assert_code(0).err;
        for piece in ["entries go to audit.jsonl", "`--sink nats`", "to NATS"] {
            assert!(reported.contains(piece), "no `{piece}` in {reported}");
        }
    }
}

#[test]
fn a_second_run_appends() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    for input in ["--input=-", "--input=/dev/stdin"] {
        let arguments = ["run", input, "--sink", "jsonl:out", "--spill", "spill"];
        bench.run_with(&arguments, &entries).assert_code(0);
    }
    assert_same(&bench.path("out"), entries.repeat(2).as_bytes());
}

#[test]
fn nothing_is_lost_or_changed_while_the_output_cannot_be_written() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nbackoff_max = \"200ms\"\n");
    let entries = fs::read(SESSIONS).unwrap();
    let (child, mut stdin) = bench.piped(&[
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
        "--ring",
        "64",
        "--report",
        "json",
    ]);
    let repeated = entries.clone();
    let writer = thread::spawn(move || {
        for _ in 0..REPEATS {
            stdin.write_all(&repeated).unwrap();
        }
    });
    bench.status_when(|status| status["stats"]["appended"].as_u64() > Some(1_000));
    fs::create_dir(bench.path("later")).unwrap();
    let said = Said::of(child);
    writer.join().unwrap();

    let report = said.assert_code(0).report();
    assert_same(&bench.path("later/out"), &entries.repeat(REPEATS));
    let read = 2_000 * REPEATS;
    assert_eq!([&report["read"], &report["delivered"]], [read, read]);
    for some in ["spilled", "replayed", "full_attempts"] {
        assert!(report[some].as_u64() > Some(0), "{some} in {report}");
    }
    assert!(report["waited_s"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn lines_that_are_no_entries_are_reported_with_their_numbers_and_passed_over() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let entries: Vec<_> = entries.lines().take(3).collect();
    let (a, b, c) = (entries[0], entries[1], entries[2]);
    let half = &c[..c.len() / 2];
    let input = format!("{a}\n\nnonsense\n{{\"seq\":1}}\n  \t \r\n{b}\r\n{half}\n{c}");
    let arguments = [
        "run",
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
        "--report",
        "json",
    ];
    let said = bench.run_with(&arguments, &input);

    let reported: Vec<_> = said.assert_code(4).err.lines().skip(1).collect();
    assert_eq!(reported.len(), 3, "{reported:#?}");
    assert_eq!(
        reported[0],
        "line 3 is not an entry: expected ident (column 2)"
    );
    assert_eq!(
        reported[1],
        "line 4 is not an entry: missing field `timestamp_ns` (column 9)"
    );
    assert!(
        reported[2].starts_with("line 7 is not an entry: EOF while parsing"),
        "{}",
        reported[2]
    );
    assert_eq!(bench.read("out"), format!("{a}\n{b}\n{c}\n"));
    let report = said.report();
    assert_eq!(
        [&report["read"], &report["rejected"], &report["accepted"]],
        [6, 3, 3]
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let marked = format!("\u{feff}{entries}");
    let arguments = ["run", "--spill", "spill", "--report", "json"];
    let said = bench.run_with(&arguments, &marked);
    let report = said.assert_code(0).report();
    assert_eq!([&report["read"], &report["rejected"]], [2_000, 0]);
    assert_same(&bench.path("audit.jsonl"), entries.as_bytes());
}

/// It would never come to an end.
#[test]
fn the_output_is_no_input() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    bench.write("audit.jsonl", &entries);
    fs::hard_link(bench.path("audit.jsonl"), bench.path("other")).unwrap();
    for name in ["audit.jsonl", "other"] {
        let said = bench.run(&["run", "--spill", "spill", "--input", name]);
        said.assert_code(2);
        assert!(
            said.err
                .contains("the input is the file that the entries go to"),
            "{}",
            said.err
        );
    }
    assert_same(&bench.path("audit.jsonl"), entries.as_bytes());
}

#[test]
fn an_overlong_line_is_passed_over() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let entry = entries.lines().next().unwrap();
    let long = "x".repeat((16 << 20) + 1);
    let arguments = [
        "run",
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
        "--report",
        "json",
    ];
    let said = bench.run_with(&arguments, &format!("{long}\n{entry}\n{long}"));
    let expected: String = [1, 3]
        .map(|line| format!("line {line} is not an entry: it is longer than 16777216 bytes\n"))
        .concat();
    assert_eq!(
        said.assert_code(4).err,
        format!("entries go to out\n{expected}")
    );
    assert_eq!(bench.read("out"), format!("{entry}\n"));
}

#[test]
fn entries_that_are_too_large_are_dead_letters() {
    let bench = Bench::new();
    bench.write(
        "config.toml",
        "[spillring]\nentry_bytes_max = 700\nspill_dir = \"spill\"\n",
    );
    let said = bench.run(&[
        "run",
        "--config",
        "config.toml",
        "--input",
        SESSIONS,
        "--report",
        "json",
    ]);
    let report = said.assert_code(4).report();
    let dead = report["dead_lettered"].as_u64().unwrap();
    assert!(dead > 0, "{report}");
    assert_eq!(report["delivered"], 2_000 - dead);
    let status = bench.status_when(|_| true);
    assert_eq!(status["dead_letters"], dead);

    let said = bench.run(&["run", "--spill", "spill"]);
    let words = &said.assert_code(4).out;
    for piece in [
        "Nothing is lost; ",
        " dead letters are kept, ",
        " of them from earlier runs.",
    ] {
        assert!(words.contains(piece), "no `{piece}` in {words}");
    }
}

#[test]
fn fields_that_an_entry_does_not_have_are_kept_byte_for_byte() {
    let bench = Bench::new();
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let (first, second) = entries.split_once('\n').unwrap();
    let second = second.lines().next().unwrap();
    let traced = first.replacen('{', "{ \"trace_id\":  \"7f\", ", 1);
    let spaced = second.replacen("\"seq\":", "\"seq\" : ", 1);
    let arguments = ["run", "--sink", "jsonl:out", "--spill", "spill"];
    let said = bench.run_with(&arguments, &format!("{traced}\n{spaced}\n"));
    said.assert_code(0);
    assert_eq!(bench.read("out"), format!("{traced}\n{second}\n"));
    bench.run(&["verify", "out"]).assert_code(0);
}

#[test]
fn a_wrong_hash_is_reported_and_by_a_flag_rejected() {
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let entry = entries.lines().next().unwrap();
    let wrong = entry.replacen("\"timestamp_ns\":1", "\"timestamp_ns\":2", 1);
    assert_ne!(wrong, entry);
    let reported = "line 2: its entry_hash is not the hash of its fields";
    let rejected = "line 2 is not an entry: its entry_hash is not the hash of its fields";
    for (flag, code, line, left) in [
        (None, 0, reported, 2),
        (Some("--reject-wrong-hash"), 4, rejected, 1),
    ] {
        let bench = Bench::new();
        let mut arguments = vec!["run", "--sink", "jsonl:out", "--spill", "spill"];
        arguments.extend(flag);
        let said = bench.run_with(&arguments, &format!("{entry}\n{wrong}\n"));
        let lines: Vec<_> = said.assert_code(code).err.lines().skip(1).collect();
        assert_eq!(lines, [line]);
        assert_eq!(bench.read("out").lines().count(), left);
    }
}

#[test]
fn raw_lines_are_entries_as_they_are_and_verify_finds_what_is_changed() {
    let bench = Bench::new();
    let arguments = [
        "run",
        "--raw",
        "--subject",
        "acme.agent-7",
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
    ];
    let input = " GET /\n\nnot { JSON\r\n\u{e9}\n";
    bench.run_with(&arguments, input).assert_code(0);
    assert_eq!(bench.read("out"), " GET /\nnot { JSON\r\n\u{e9}\n");
    bench.run(&["verify", "out"]).assert_code(0);
    bench.write("out", " GET /\nnot { JSON\r\nx!\n");
    let said = bench.run(&["verify", "out"]);
    assert_ne!(said.code, Some(0), "{}", said.out);
}

#[test]
fn raw_needs_a_subject_that_can_be_published() {
    let bench = Bench::new();
    for (arguments, piece) in [
        (
            &["run", "--spill", "spill", "--raw"][..],
            "--subject <SUBJECT>",
        ),
        (&["run", "--spill", "spill", "--subject", "a"], "--raw"),
        (
            &["run", "--spill", "spill", "--raw", "--subject", "a..b"],
            "a subject is tokens of letters, digits",
        ),
    ] {
        let said = bench.run(arguments);
        let err = &said.assert_code(2).err;
        assert!(err.contains(piece), "no `{piece}` in {err}");
    }
}

#[test]
fn the_report_has_the_keys_that_are_documented() {
    let bench = Bench::new();
    let said = bench.run(&["run", "--spill", "spill", "--report", "json"]);
    let report = said.assert_code(0).report();
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    let mut expected = [
        "read",
        "rejected",
        "wrong_hashes",
        "accepted",
        "delivered",
        "spilled",
        "replayed",
        "pending",
        "dead_lettered",
        "refused",
        "full_attempts",
        "evicted",
        "dead_letters_full",
        "publish_ns",
        "waited_s",
        "elapsed_s",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let percentiles: Vec<_> = report["publish_ns"].as_object().unwrap().keys().collect();
    assert_eq!(percentiles, ["max", "p50", "p90", "p99", "p99_9"]);
}

#[test]
fn a_spill_directory_that_others_may_look_into_is_warned_of() {
    for (mode, warned) in [(0o755, true), (0o750, false), (0o700, false)] {
        let bench = Bench::new();
        fs::create_dir(bench.path("spill")).unwrap();
        fs::set_permissions(bench.path("spill"), fs::Permissions::from_mode(mode)).unwrap();
        let said = bench.run(&["run", "--spill", "spill"]);
        let found = said.assert_code(0).err.contains("`chmod 700` closes it");
        assert_eq!(found, warned, "{mode:o}: {}", said.err);
    }
}

#[test]
fn a_rate_is_kept() {
    let bench = Bench::new();
    let said = bench.run(&[
        "run", "--input", SESSIONS, "--spill", "spill", "--rate", "4000", "--report", "json",
    ]);
    let elapsed = said.assert_code(0).report()["elapsed_s"].as_f64();
    assert!(elapsed > Some(0.45), "2,000 entries in {elapsed:?} s");
}

/// The library has a sink and a drainer, and each knows of it.
#[test]
fn an_outage_is_one_line_of_the_log() {
    let bench = Bench::new();
    let entry = fs::read_to_string(SESSIONS).unwrap();
    let entry = entry.lines().next().unwrap();
    let nowhere = ["run", "--sink", "nats://127.0.0.1:1", "--spill", "spill"];
    let said = bench.run_with(&nowhere, &format!("{entry}\n"));
    let log = &said.assert_code(4).err;
    let lines = log
        .lines()
        .filter(|line| line.contains("cannot be reached"));
    assert_eq!(lines.count(), 1, "{log}");
}
