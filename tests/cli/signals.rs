//! Promise: a signal stops the reading, never loses what was read, and the next run goes on.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use test_support::child::Process;

use super::bench::{Bench, SESSIONS, Said, assert_same, wait_for};

#[test]
fn sigterm_keeps_what_was_read_and_an_empty_run_delivers_it() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"100ms\"\n");
    let hurried = ["run", "--config", "config.toml"];
    let arguments = [
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
        "--report",
        "json",
    ];
    let (child, mut stdin) = bench.piped(&[&hurried[..], &arguments].concat());
    let entries = fs::read(SESSIONS).unwrap();
    stdin.write_all(&entries).unwrap();
    stdin.write_all(b"{\"seq\":").unwrap();
    bench.status_when(|status| status["stats"]["accepted"] == 2_000);
    child.signal(Signal::TERM);
    let said = Said::of(child);

    let report = said.assert_code(4).report();
    assert_eq!(
        [&report["read"], &report["pending"], &report["refused"]],
        [2_000, 2_000, 0]
    );
    assert!(
        said.err
            .contains("stopping: not reading line 2001 and later, delivering for at most 100ms"),
        "{}",
        said.err
    );

    fs::create_dir(bench.path("later")).unwrap();
    let report = bench
        .run(&[&["run"][..], &arguments].concat())
        .assert_code(0)
        .report();
    assert_eq!([&report["read"], &report["replayed"]], [0, 2_000]);
    assert_same(&bench.path("later/out"), &entries);
}

/// A terminal that goes away, or a supervisor that reloads; and `nohup`. What we have inherited ourselves does not
/// matter.
#[test]
fn sighup_is_as_sigterm_unless_whoever_started_it_ignores_it() {
    let entries = fs::read(SESSIONS).unwrap();
    let first = entries
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .unwrap();
    for (disposition, read) in [("--default-signal=HUP", 1), ("--ignore-signal=HUP", 2)] {
        let bench = Bench::new();
        let mut env = Command::new("env");
        env.arg(disposition).arg(env!("CARGO_BIN_EXE_spillring"));
        env.args(["run", "--spill", "spill", "--report", "json"]);
        env.current_dir(bench.path(".")).env_remove("NATS_URL");
        let piped = env.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Process::from(piped.stderr(Stdio::piped()).spawn().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(first).unwrap();
        bench.status_when(|status| status["stats"]["accepted"] == 1);
        child.signal(Signal::HUP);
        if read == 2 {
            stdin.write_all(first).unwrap();
            drop(stdin);
        }
        let report = Said::of(child).assert_code(0).report();
        assert_eq!([&report["read"], &report["delivered"]], [read, read]);
    }
}

#[test]
fn sigint_delivers_what_it_can() {
    let bench = Bench::new();
    let (child, mut stdin) = bench.piped(&["run", "--sink", "jsonl:out", "--spill", "spill"]);
    let entries = fs::read(SESSIONS).unwrap();
    stdin.write_all(&entries).unwrap();
    wait_for(|| (fs::read(bench.path("out")).ok()? == entries).then_some(()))
        .expect("what was read is delivered before anybody asks");
    child.signal(Signal::INT);
    Said::of(child).assert_code(0);
    assert_same(&bench.path("out"), &entries);
}

#[test]
fn a_signal_at_the_cap_leaves_the_rest_unread_for_the_next_run() {
    let bench = Bench::new();
    // At its cap the spill takes no more, and the ring stays full.
    bench.write(
        "config.toml",
        "[spillring]\nspill_bytes_max = 1048576\nshutdown_max = \"100ms\"\n",
    );
    // More than the spill at its cap and a batch in memory can take.
    let entries = fs::read_to_string(SESSIONS).unwrap().repeat(5);
    bench.write("input", &entries);
    let arguments = [
        "run",
        "--config",
        "config.toml",
        "--input",
        "input",
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
        "--ring",
        "64",
        "--report",
        "json",
    ];
    let child = Process::from(bench.command(&arguments).spawn().unwrap());
    bench.status_when(|status| status["stats"]["state"] == "spill_full");
    child.signal(Signal::TERM);
    let said = Said::of(child);

    let report = said.assert_code(4).report();
    let read = usize::try_from(report["read"].as_u64().unwrap()).unwrap();
    assert_eq!(
        [&report["accepted"], &report["pending"], &report["refused"]],
        [read, read, 0],
        "{report}"
    );
    let reported = format!("not reading line {} and later", read + 1);
    assert!(
        said.err.contains(&reported),
        "no `{reported}` in {}",
        said.err
    );

    fs::create_dir(bench.path("later")).unwrap();
    let rest: String = entries.split_inclusive('\n').skip(read).collect();
    bench.write("input", &rest);
    bench.write("config.toml", "[spillring]\nspill_bytes_max = 1048576\n");
    bench.run(&arguments).assert_code(0);
    assert_same(&bench.path("later/out"), entries.as_bytes());
}

#[test]
fn after_a_signal_no_line_is_hurried_past_the_rate() {
    let bench = Bench::new();
    let arguments = [
        "run", "--input", SESSIONS, "--spill", "spill", "--rate", "1", "--report", "json",
    ];
    let child = Process::from(bench.command(&arguments).spawn().unwrap());
    let accepted = bench.status_when(|status| status["stats"]["accepted"].as_u64() > Some(0));
    child.signal(Signal::INT);
    let said = Said::of(child);
    let read = said.assert_code(0).report()["read"].as_u64().unwrap();
    assert!(read < 40, "{read} lines read, after {accepted}");
    let reported = format!("not reading line {} and later", read + 1);
    assert!(
        said.err.contains(&reported),
        "no `{reported}` in {}",
        said.err
    );
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"1h\"\n");
    let (mut child, mut stdin) = bench.piped(&[
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
    ]);
    stdin.write_all(&fs::read(SESSIONS).unwrap()).unwrap();
    bench.status_when(|status| status["stats"]["accepted"] == 2_000);
    child.signal(Signal::TERM);
    bench.status_when(|status| status["stats"]["state"] == "stopping");
    child.signal(Signal::TERM);
    let status = wait_for(|| child.try_wait().unwrap()).expect("it ends");
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

/// SIGKILL: what was read is in the ring, and the trail says that nothing of that run is gone.
#[test]
fn a_kill_loses_nothing_that_was_read_with_a_ring_that_is_kept() {
    let bench = Bench::new();
    let arguments = |input: &'static str| {
        [
            "run",
            "--input",
            input,
            "--sink",
            "jsonl:later/out",
            "--spill",
            "spill",
            "--ring-dir",
            "ring",
        ]
    };
    let (mut child, mut stdin) = bench.piped(&arguments("-"));
    let entries = fs::read(SESSIONS).unwrap();
    stdin.write_all(&entries).unwrap();
    bench.status_when(|status| status["stats"]["accepted"] == 2_000);
    child.kill().unwrap();
    child.wait().unwrap();
    let status = bench.run(&["status", "spill"]);
    assert!(status.out.contains("ring "), "{status:?}");

    fs::create_dir(bench.path("later")).unwrap();
    bench.run(&arguments("/dev/null")).assert_code(0);
    assert_same(&bench.path("later/out"), &entries);
    let one = String::from_utf8(entries).unwrap();
    let one = one.lines().next().unwrap().to_owned() + "\n";
    bench.run_with(&arguments("-"), &one).assert_code(0);
    let said = bench.run(&["verify", "later/out"]);
    let survived = "killed: its ring survived, nothing is gone";
    assert!(said.out.contains(survived), "{}{}", said.out, said.err);
    assert_eq!(fs::read_dir(bench.path("ring")).unwrap().count(), 0);
}
