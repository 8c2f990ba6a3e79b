//! The operator's binary between a file of entries and a real server: what it says in its report must be what the
//! stream holds, also when the server dies in the middle.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::bench::{ALL, Bench};
use crate::reading::Reading;
use test_support::eventually::eventually;
use test_support::nats::NatsServer;

/// Sets off a run over all lines, with these arguments as well.
fn run(bench: &Bench, server: &NatsServer, shutdown_max: &str, extra: &[&str]) -> Child {
    let settings = bench.file("spillring.toml");
    let text = format!(
        "[spillring]\npending_max = \"100ms\"\nbackoff_min = \"20ms\"\nbackoff_max = \"200ms\"\n\
         shutdown_max = \"{shutdown_max}\"\n"
    );
    std::fs::write(&settings, text).expect("a file can be written");
    Command::new(env!("CARGO_BIN_EXE_spillring"))
        .args(["run", "--report", "json", "--sink", &server.url()])
        .args(["--input", "tests/data/sessions.jsonl"])
        .arg("--config")
        .arg(settings)
        .arg("--spill")
        .arg(bench.spill())
        .args(extra)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Waits for its end, asserts that all is well, and answers its report.
#[track_caller]
fn report(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    for (key, expected) in [
        ("read", 2_000),
        ("accepted", 2_000),
        ("delivered", 2_000),
        ("rejected", 0),
        ("pending", 0),
        ("refused", 0),
        ("dead_lettered", 0),
        ("evicted", 0),
    ] {
        assert_eq!(report[key], expected, "{key} in {said}");
    }
    report
}

#[test]
fn a_file_arrives_in_order_and_each_line_once() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let report = report(run(&bench, &server, "10s", &[]));
    assert_eq!(report["spilled"], report["replayed"], "{report}");
    Reading::of(&server).one_run().assert_lines(0..ALL);
}

#[test]
fn a_server_that_dies_in_a_slow_run_misses_nothing() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let child = run(&bench, &server, "10s", &["--rate", "500"]);
    let stats = || {
        spillring::operate::status(bench.spill())
            .ok()
            .map(|status| status.stats)
    };
    eventually("some are delivered", || {
        stats().filter(|stats| stats.delivered > 0)
    });
    server.kill();
    eventually("some are spilled", || {
        stats().filter(|stats| stats.spilled > 0)
    });
    server.restart();
    let report = report(child);
    let replayed = report["replayed"].as_u64().expect("a number");
    assert!(replayed > 0 && report["spilled"] == replayed, "{report}");
    Reading::of(&server).one_run().assert_lines(0..ALL);
}

/// The server is away until the end of the input: the run leaves a backlog and says so; the next one delivers it.
#[test]
fn a_run_without_a_server_leaves_a_backlog_that_the_next_run_delivers() {
    let mut server = NatsServer::start();
    server.kill();
    let bench = Bench::new(&server.url());
    let child = run(&bench, &server, "300ms", &[]);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        output.status.code(),
        Some(4),
        "nothing is lost, something left"
    );
    let left: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        (&left["pending"], &left["delivered"]),
        (&2_000.into(), &0.into())
    );

    server.restart();
    let mut next = bench.start();
    next.publish(0..10);
    assert_eq!(next.deliver_all().inherited, 2_000);
    let [one, other] = Reading::of(&server).runs_each_once();
    one.assert_lines(0..ALL);
    other.assert_lines(0..10);
    other.assert_follows_clean(&one, 2_000);
}
