//! Promise: `status` and `export` say in words and by exit code what is wrong with a spill, what they left out and
//! where damaged segments lie; a publisher that runs is left alone.

use std::fs;

use serde_json::Value;

use super::bench::{Bench, SESSIONS};

/// A spill with all of the sessions in it, since the sink could not be reached.
fn with_backlog() -> Bench {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"100ms\"\n");
    let said = bench.run(&[
        "run",
        "--config",
        "config.toml",
        "--input",
        SESSIONS,
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
    ]);
    said.assert_code(4);
    bench
}

fn vanish(bench: &Bench, count: usize) {
    let segments = fs::read_dir(bench.path("spill/segments")).unwrap();
    let segments: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    let conn = rusqlite::Connection::open(&segments[0]).unwrap();
    let sql = format!("DELETE FROM rows WHERE key & 0xffff BETWEEN 8 AND 7 + {count}");
    assert_eq!(conn.execute(&sql, ()).unwrap(), count);
}

#[track_caller]
fn assert_says(said: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(said.contains(piece), "no `{piece}` in {said}");
    }
}

#[test]
fn a_backlog_is_exported_as_it_is() {
    let bench = with_backlog();
    let to_stdout = bench.run(&["export", "spill"]);
    to_stdout.assert_code(0);
    assert_eq!(to_stdout.err, "2,000 entries exported\n");
    let to_file = bench.run(&["export", "spill", "--output", "lines"]);
    assert_eq!(to_file.assert_code(0).out, "");
    assert_eq!(bench.read("lines"), to_stdout.out);

    let sessions = fs::read_to_string(SESSIONS).unwrap();
    let mut count = 0;
    for ((line, entry), n) in to_stdout.out.lines().zip(sessions.lines()).zip(1..) {
        let parsed: Value = serde_json::from_str(line).unwrap();
        let run = parsed["run"].as_str().unwrap();
        let subject = parsed["subject"].as_str().unwrap();
        let popped = parsed["popped_ms"].as_u64().unwrap();
        let expected = format!(
            r#"{{"run":"{run}","n":{n},"lost":0,"subject":"{subject}","popped_ms":{popped},"entry":{entry}}}"#
        );
        assert_eq!(line, expected);
        count += 1;
    }
    assert_eq!(count, 2_000);

    let said = bench.run(&["export", "spill", "--output", "lines"]);
    assert_says(&said.assert_code(2).err, &["cannot create lines", "exists"]);
    assert_eq!(bench.read("lines"), to_stdout.out);
}

#[test]
fn what_is_missing_is_reported_and_the_next_run_delivers_the_rest() {
    let bench = with_backlog();
    vanish(&bench, 3);

    let said = bench.run(&["status", "spill"]);
    let damage = "damaged: 3 entries are damaged or missing";
    assert_says(
        &said.assert_code(1).out,
        &["health", damage, "quarantined   none"],
    );
    let said = bench.run(&["status", "spill", "--json"]);
    let status: Value = serde_json::from_str(&said.assert_code(1).out).unwrap();
    assert_eq!(status["health"], "damaged");
    assert_eq!(status["damage"], "3 entries are damaged or missing");

    let said = bench.run(&["export", "spill"]);
    assert_eq!(said.assert_code(3).out.lines().count(), 1_997);
    assert_says(
        &said.err,
        &["1,997 entries exported", "3 entries are damaged or missing"],
    );

    let said = bench.run(&["run", "--sink", "jsonl:out", "--spill", "spill"]);
    said.assert_code(3);
    assert_eq!(bench.read("out").lines().count(), 1_997);
    let said = bench.run(&["status", "spill"]);
    let pieces = [
        "health        healthy",
        "spill         empty",
        "quarantined   1: spill/segments/",
        ".damaged",
    ];
    assert_says(&said.assert_code(0).out, &pieces);
    let said = bench.run(&["export", "spill"]);
    assert_eq!(said.assert_code(0).out, "");
    assert_says(&said.err, &[".damaged is skipped"]);
}

#[test]
fn dead_letters_are_reported_and_not_exported() {
    let bench = Bench::new();
    bench.write(
        "config.toml",
        "[spillring]\nentry_bytes_max = 700\nspill_dir = \"spill\"\n",
    );
    let arguments = ["run", "--config", "config.toml", "--input", SESSIONS];
    bench.run(&arguments).assert_code(4);
    let said = bench.run(&["export", "spill"]);
    assert_eq!(said.assert_code(0).out, "");
    assert_says(
        &said.err,
        &["0 entries exported", "dead letters are not exported"],
    );
}

#[test]
fn a_running_publisher_is_in_use() {
    let bench = Bench::new();
    let (mut child, _stdin) = bench.piped(&["run", "--spill", "spill"]);
    let pid = child.id();
    let status = bench.status_when(|status| status["pid"] == pid);
    assert_eq!(status["health"], "in_use");
    bench.run(&["status", "spill"]).assert_code(5);
    let by = format!("in use by process {pid}");
    for arguments in [
        &["export", "spill", "--output", "lines"][..],
        &["export", "spill"],
    ] {
        let said = bench.run(arguments);
        assert_eq!(said.assert_code(5).out, "");
        assert_says(&said.err, &["error: ", &by]);
    }
    assert!(!bench.path("lines").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn no_spill_at_all_is_reported() {
    let bench = Bench::new();
    let said = bench.run(&["export", "spill"]);
    assert_says(
        &said.assert_code(2).err,
        &["error: there is no spill in spill"],
    );
    assert!(!bench.path("spill").exists());
}

#[test]
fn help_names_the_exit_codes() {
    let bench = Bench::new();
    for (command, code) in [
        ("status", "5 it is in use"),
        ("export", "5 a publisher is running"),
    ] {
        let said = bench.run(&[command, "--help"]);
        let words: Vec<_> = said.out.split_whitespace().collect();
        assert_says(&words.join(" "), &["Exit code: 0", code]);
    }
}

/// What was printed goes nowhere: that is no success.
#[test]
fn an_output_that_takes_nothing_is_reported() {
    let bench = with_backlog();
    let mut command = bench.command(&["export", "spill"]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_says(&err, &["error: cannot write the export"]);
}

/// The buffer of Agent Assembly that the library's tests import, too.
#[test]
fn a_buffer_is_imported_and_the_next_run_delivers_it() {
    let bench = Bench::new();
    let buffer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/buffer_alpha8.db");
    fs::copy(buffer, bench.path("buffer.db")).unwrap();
    let conn = rusqlite::Connection::open(bench.path("buffer.db")).unwrap();
    conn.execute("UPDATE events SET payload = x'00' WHERE id = 7", ())
        .unwrap();
    drop(conn);
    let said = bench.run(&["import", "buffer.db", "spill"]);
    assert_says(
        &said.assert_code(4).out,
        &[
            "imported      39 entries",
            "dead letters  1, which",
            "dead-letters spill list",
        ],
    );
    let again = bench.run(&["import", "buffer.db", "spill"]);
    assert_eq!(again.assert_code(0).out, "imported      0 entries\n");
    let said = bench.run(&["run", "--sink", "jsonl:out", "--spill", "spill"]);
    said.assert_code(4);
    assert_eq!(bench.read("out").lines().count(), 39);
    let missing = bench.run(&["import", "nothing.db", "spill"]);
    assert_says(
        &missing.assert_code(2).err,
        &["cannot open the event buffer nothing.db"],
    );
}
