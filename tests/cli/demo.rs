//! Promise: the demo goes through an outage, checks everything, and leaves nothing behind.

use std::fs;

use super::bench::Bench;

#[test]
fn a_small_one_holds() {
    let bench = Bench::new();
    let said = bench.run(&[
        "demo",
        "--entries",
        "30001",
        "--threads",
        "3",
        "--outage",
        "1500ms",
    ]);
    let out = &said.assert_code(0).out;
    for piece in [
        "30,001 entries from 3 threads",
        "the sink is away",
        "✓ nothing is lost\n      30,001 published, 30,001 accepted, 0 lost",
        "30,001 = 30,001 delivered",
        "30,001 read back; 31 chains unbroken",
        "p99.9",
        "clock alone",
        "All checks hold",
    ] {
        assert!(out.contains(piece), "no `{piece}` in {out}");
    }
    assert!(
        !out.contains(", 0 of them out of the spill"),
        "nothing was spilled: {out}"
    );
    assert!(!out.contains('\u{1b}'), "a terminal's codes: {out}");
    assert_eq!(fs::read_dir(bench.path("")).unwrap().count(), 0);
}

#[test]
fn nothing_is_missing_after_a_kill() {
    let bench = Bench::new();
    fs::create_dir(bench.path("ring")).unwrap();
    let said = bench.run(&["demo", "--kill", "--entries", "50000", "--ring-dir", "ring"]);
    let out = &said.assert_code(0).out;
    for piece in [
        "After 10,000 entries their process is killed",
        "in the ring and the spill",
        "each once, in order, none is missing",
    ] {
        assert!(out.contains(piece), "no `{piece}` in {out}");
    }
    assert_eq!(said.err, "");
    let left = |dir: &str| fs::read_dir(bench.path(dir)).unwrap().count();
    assert_eq!((left(""), left("ring")), (1, 0));
}

#[test]
fn an_outage_that_is_no_time_is_reported() {
    for time in ["soon", "-1", "NaN"] {
        let said = Bench::new().run(&["demo", &format!("--outage={time}")]);
        assert!(
            said.assert_code(2)
                .err
                .contains("'--outage <TIME>': give a time, such as 2s"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_reported() {
    let said = Bench::new().run(&["demo", "--nats", "nats://127.0.0.1:1"]);
    assert!(
        said.assert_code(2).err.contains("give `--nats` the URL"),
        "{}",
        said.err
    );
}
