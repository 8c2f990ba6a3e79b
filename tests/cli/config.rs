//! Promise: a config file may be shared with others, a mistake in our own tables is reported, and flags override it.

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
fn an_unknown_key_is_reported() {
    complains(
        "[spillring]\nring_capcity = 64\n",
        &[
            "[spillring] of audit.toml: unknown key `ring_capcity`",
            "`ring_capacity`",
            "`input`, `sink`, `shutdown_max`, `spill_key_file`, `nats`",
        ],
    );
    complains(
        "[spillring.nats]\nurl = \"nats://a\"\n",
        &["[spillring.nats] of audit.toml", "`url`", "`urls`"],
    );
}

#[test]
fn keys_that_have_no_default_are_known() {
    let bench = Bench::new();
    bench.write(
        "audit.toml",
        "[spillring]\nreplay_rate_max = 50000\nimport = \"buffer.db\"\n",
    );
    let said = bench.run(&["run", "--spill", "spill", "--config", "audit.toml"]);
    said.assert_code(0);
}

#[test]
fn a_file_without_our_table_is_reported() {
    for config in [
        "",
        "[spilring]\nring_capacity = 64\n",
        "ring_capacity = 64\n",
    ] {
        complains(
            config,
            &[
                "audit.toml has no table [spillring]",
                "below a line [spillring]",
            ],
        );
    }
}

#[test]
fn settings_outside_of_our_table_are_reported() {
    let bench = Bench::new();
    let config = "ring_capacity = 64\nport = 1\n[sink]\n[spillring]\n";
    bench.write("audit.toml", config);
    let said = bench.run(&["run", "--spill", "spill", "--config", "audit.toml"]);
    let told: Vec<_> = said.assert_code(0).err.lines().collect();
    let stray = "`ring_capacity` in audit.toml is outside of [spillring], and is ignored";
    assert_eq!(told[0], stray, "{told:#?}");
    assert!(told[1].starts_with("entries go to"), "{told:#?}");
    // Entries would go to another server than the file says.
    complains(
        "[spillring]\n[nats]\nurls = [\"nats://elsewhere\"]\n",
        &["[nats] in audit.toml", "write it as [spillring.nats]"],
    );
}

#[test]
fn sizes_may_have_units() {
    complains(
        "[spillring]\nspill_bytes_max = \"10 GiBi\"\n",
        &["`spill_bytes_max`", "10 GiBi", "such as \"10 GiB\""],
    );
    let bench = Bench::new();
    bench.write("audit.toml", "[spillring]\nspill_bytes_max = \"10 GiB\"\n");
    let check = [
        "config",
        "check",
        "--spill",
        "spill",
        "--config",
        "audit.toml",
    ];
    let said = bench.run(&check);
    assert!(
        said.assert_code(0)
            .out
            .starts_with("ok: entries go to audit.jsonl")
    );
}

#[test]
fn a_check_starts_nothing_and_finds_what_a_run_would() {
    let bench = Bench::new();
    let check = |config: &str| {
        bench.write("audit.toml", config);
        bench.run(&[
            "config",
            "check",
            "--spill",
            "spill",
            "--config",
            "audit.toml",
        ])
    };
    check("[spillring]\nring_high_water = 0.25\n").assert_code(0);
    for (config, piece) in [
        ("[spillring]\nring_high_water = 2.0\n", "`ring_high_water`"),
        ("[spillring]\nsink = \"kafka://a\"\n", "cannot be `kafka`"),
        (
            "[spillring]\nsink = \"nats\"\n[spillring.nats]\nurls = [\"nats://\"]\n",
            "`urls`",
        ),
    ] {
        let said = check(config);
        let err = &said.assert_code(2).err;
        assert!(err.contains(piece), "no `{piece}` in {err}");
    }
    assert!(!bench.path("spill").exists());
}

#[test]
fn a_value_that_cannot_be_is_reported() {
    complains(
        "[spillring]\nring_high_water = 2.0\n",
        &["`ring_high_water`"],
    );
    complains(
        "[spillring]\nshutdown_max = 10\n",
        &["[spillring] of audit.toml", "`shutdown_max`", "like \"1s\""],
    );
    complains(
        "[spillring.nats]\nping_interval = 5\n",
        &[
            "[spillring.nats] of audit.toml",
            "`ping_interval`",
            "like \"1s\"",
        ],
    );
    complains(
        "[spillring]\nsink = \"mail:me\"\n",
        &["`sink` in audit.toml", "`mail`"],
    );
    complains(
        "spillring = 1\n",
        &["`spillring` in audit.toml must be a table"],
    );
    complains("[spillring\n", &["audit.toml is not valid TOML", "line 1"]);
}

#[test]
fn a_secret_in_a_line_that_cannot_be_read_is_not_reported() {
    for line in [
        "token = hidden",
        "token = \"hidden",
        "token = \"a\" hidden",
        "token = 7654321",
        "password = [\"hidden\"]",
        "urls = \"nats://who:hidden@h\"",
        "urls = [\"http://who:hidden@h\"]",
    ] {
        let bench = Bench::new();
        let text = format!("[spillring]\nsink = \"nats\"\n[spillring.nats]\n{line}\n");
        bench.write("audit.toml", &text);
        let said = bench.run(&["run", "--spill", "spill", "--config", "audit.toml"]);
        let told = &said.assert_code(2).err;
        assert!(
            !told.contains("hidden") && !told.contains("7654321"),
            "{told}"
        );
    }
}

#[test]
fn a_missing_file_is_reported() {
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
fn flags_override_the_file() {
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

#[test]
fn what_happens_at_the_cap_is_a_setting_of_the_file() {
    let bench = Bench::new();
    let config = "[spillring]\nwhen_spill_full = \"evict_oldest\"\n";
    bench.write("audit.toml", config);
    let said = bench.run(&["run", "--spill", "spill", "--config", "audit.toml"]);
    said.assert_code(0);
    complains(
        "[spillring]\nwhen_spill_full = \"evict_newest\"\n",
        &["`when_spill_full`", "`refuse_new`", "`evict_oldest`"],
    );
}
