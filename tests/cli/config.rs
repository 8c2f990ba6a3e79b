//! Promise: a config file may be shared with others, a slip in our own tables is told, and flags go before it.

use super::bench::{Bench, SESSIONS};

#[track_caller]
fn complains(config: &str, pieces: &[&str]) {
    let bench = Bench::new();
    bench.write("audit.toml", config);
    let said = bench.run(&["run", "--spill", "spill", "--config", "audit.toml"]);
    said.assert_code(2);
    for piece in pieces {
        assert!(said.err.contains(piece), "no `{piece}` in {}", said.err);
    }
}

#[test]
fn an_unknown_key_is_told() {
    complains(
        "[spillring]\nring_capcity = 64\n",
        &["[spillring] of audit.toml", "ring_capcity"],
    );
    complains(
        "[spillring.nats]\nurl = \"nats://a\"\n",
        &["[spillring.nats] of audit.toml", "`url`"],
    );
}

#[test]
fn a_value_that_cannot_be_is_told() {
    complains(
        "[spillring]\nring_high_water = 2.0\n",
        &["`ring_high_water`"],
    );
    complains(
        "[spillring]\nshutdown_max = 10\n",
        &["[spillring] of audit.toml", "shutdown_max"],
    );
    complains(
        "[spillring]\nsink = \"mail:me\"\n",
        &["`sink` in audit.toml", "`mail`"],
    );
    complains(
        "spillring = 1\n",
        &["`spillring` in audit.toml must be a table"],
    );
    complains("[spillring\n", &["audit.toml is no TOML", "line 1"]);
}

#[test]
fn a_missing_file_is_told() {
    let bench = Bench::new();
    let said = bench.run(&["run", "--spill", "spill", "--config", "none.toml"]);
    said.assert_code(2);
    assert!(
        said.err.contains("none.toml cannot be read"),
        "{}",
        said.err
    );
}

#[test]
fn everything_can_stand_in_the_file_beside_the_tables_of_others() {
    let bench = Bench::new();
    let config = format!(
        "title = \"host\"\n[server]\nport = 1\n[spillring]\nspill_dir = \"here\"\nsink = \"jsonl:there\"\ninput = \
         {SESSIONS:?}\nshutdown_max = \"5s\"\nring_capacity = 64\n[spillring.nats]\nstream = \"OTHER\"\n"
    );
    bench.write("audit.toml", &config);
    bench.run(&["run", "--config", "audit.toml"]).assert_code(0);
    assert_eq!(bench.read("there").lines().count(), 2_000);
    assert!(bench.path("here").exists());
}

#[test]
fn flags_go_before_the_file() {
    let bench = Bench::new();
    let config =
        "[spillring]\nspill_dir = \"no/where\"\nsink = \"jsonl:no/where\"\ninput = \"none\"\n";
    bench.write("audit.toml", config);
    bench
        .run(&[
            "run",
            "--config",
            "audit.toml",
            "--spill",
            "spill",
            "--sink",
            "jsonl:out",
            "--input",
            SESSIONS,
        ])
        .assert_code(0);
    assert_eq!(bench.read("out").lines().count(), 2_000);
}
