//! Promise: `status` says how things stand, whether a publisher is running or not.

use std::fs;
use std::io::Write;

use super::bench::{Bench, SESSIONS, Said};

#[test]
fn a_running_publisher_then_its_backlog() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"100ms\"\n");
    let (child, mut stdin) = bench.piped(&[
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
    ]);
    let pid = child.id();
    stdin.write_all(&fs::read(SESSIONS).unwrap()).unwrap();
    let status = bench.status_when(|status| status["stats"]["spilled"] == 2_000);
    assert_eq!(status["pid"], pid);
    let words = bench.run(&["status", "spill"]);
    let words = &words.assert_code(5).out;
    for piece in [
        "health        in use",
        &format!("running as process {pid}: spilling"),
        "2,000 entries",
        "2,000 accepted, 0 delivered",
    ] {
        assert!(words.contains(piece), "no `{piece}` in {words}");
    }

    drop(stdin);
    Said::of(child).assert_code(4);
    let words = bench.run(&["status", "spill"]);
    let words = &words.assert_code(0).out;
    for piece in [
        "health        healthy",
        "no publisher is running",
        "2,000 entries",
        "the oldest has waited for",
        "dead letters  none",
    ] {
        assert!(words.contains(piece), "no `{piece}` in {words}");
    }
    let status = bench.status_when(|_| true);
    assert_eq!(
        (&status["pid"].is_null(), &status["stats"]["spilled"]),
        (&true, &2_000.into())
    );
}

#[test]
fn an_empty_spill() {
    let bench = Bench::new();
    bench.run(&["run", "--spill", "spill"]).assert_code(0);
    let words = bench.run(&["status", "spill"]);
    assert!(
        words.assert_code(0).out.contains("spill         empty"),
        "{words:?}"
    );
}

#[test]
fn no_spill_at_all() {
    let bench = Bench::new();
    let said = bench.run(&["status", "spill"]);
    assert_eq!(said.assert_code(2).out, "");
    assert!(
        said.err
            .starts_with("error: there is no spill in spill: give the directory"),
        "{}",
        said.err
    );
    assert!(!bench.path("spill").exists(), "looking has made one");
}
