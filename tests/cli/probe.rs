//! Promise: `status --probe` is silent and 0 for a healthy running publisher, and 1 with a sentence for anything else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use super::bench::{Bench, SESSIONS, Said, wait_for};
use test_support::skipped::skipped;

fn probe(bench: &Bench) -> Said {
    bench.run(&["status", "spill", "--probe"])
}

#[track_caller]
fn unhealthy(said: &Said, piece: &str) {
    assert_eq!(said.assert_code(1).out, "");
    assert!(said.err.contains(piece), "no `{piece}` in {said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
}

/// Probes until it has this exit code.
#[track_caller]
fn probed(bench: &Bench, arguments: &[&str], code: i32) -> Said {
    let arguments = [&["status", "spill", "--probe"], arguments].concat();
    let probed = wait_for(|| Some(bench.run(&arguments)).filter(|said| said.code == Some(code)));
    probed.unwrap_or_else(|| panic!("never {code}: {:?}", bench.run(&arguments)))
}

#[test]
fn a_running_publisher_is_healthy_and_a_stopped_one_is_not() {
    let bench = Bench::new();
    unhealthy(&probe(&bench), "there is no spill in spill");
    let (child, mut stdin) = bench.piped(&["run", "--spill", "spill"]);
    let silent = probed(&bench, &[], 0);
    assert_eq!((silent.out.as_str(), silent.err.as_str()), ("", ""));
    let json = bench.run(&["status", "spill", "--probe", "--json"]);
    let json: Value = serde_json::from_str(&json.assert_code(0).out).unwrap();
    assert_eq!(json["stats"]["state"], "live");

    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    drop(stdin);
    Said::of(child).assert_code(0);
    unhealthy(&probe(&bench), "no publisher is running in spill");
}

/// Stopped as by SIGSTOP: it holds its lock, and reports nothing.
#[test]
fn a_publisher_that_no_longer_reports_is_unhealthy() {
    let bench = Bench::new();
    let (mut child, _stdin) = bench.piped(&["run", "--spill", "spill"]);
    probed(&bench, &[], 0);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    let stuck = probed(&bench, &["--max-age", "2s"], 1);
    unhealthy(&stuck, "ago, which is longer than 2.0 s");
    // The clock was set back by an hour since its last report.
    let said = bench.read("spill/status.json");
    let mut report: Value = serde_json::from_str(&said).unwrap();
    report["at_ms"] = (report["at_ms"].as_u64().unwrap() + 3_600_000).into();
    bench.write("spill/status.json", &report.to_string());
    probed(&bench, &["--max-age", "30m"], 1);
    kill_process(pid, Signal::CONT).unwrap();
    probed(&bench, &["--max-age", "2s"], 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn losses_in_sight_are_unhealthy_and_a_backlog_is_not() {
    let bench = Bench::new();
    bench.write(
        "config.toml",
        "[spillring]\nspill_bytes_max = 1048576\nshutdown_max = \"1h\"\n",
    );
    let away = [
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
    ];
    let small = ["--spill", "spill", "--ring", "64"];
    let (mut child, mut stdin) = bench.piped(&[&away[..], &small].concat());
    let sessions = fs::read(SESSIONS).unwrap();
    let some = sessions.len() / 10;
    std::io::Write::write_all(&mut stdin, &sessions[..some]).unwrap();
    bench.status_when(|status| status["stats"]["state"] == "spilling");
    probed(&bench, &[], 0);

    // It takes no more of them at some point.
    let writer = std::thread::spawn(move || {
        let rest = std::io::Write::write_all(&mut stdin, &sessions[some..].repeat(5));
        (stdin, rest)
    });
    let full = probed(&bench, &[], 1);
    unhealthy(&full, "is not healthy: the spill is full");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(writer.join().unwrap().1.is_err());
}

#[test]
fn durations_are_numbers_of_seconds() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"100ms\"\n");
    let away = [
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
    ];
    let input = ["--spill", "spill", "--input", SESSIONS];
    bench.run(&[&away[..], &input].concat()).assert_code(4);
    let status = bench.status_when(|_| true);
    let age = status["stats"]["oldest_entry_age_seconds"].as_f64();
    assert!(age.is_some_and(|age| age > 0.0), "{status}");
    assert!(
        status["stats"].get("oldest_entry_age").is_none(),
        "{status}"
    );
}

/// Only root can become somebody else.
#[test]
fn a_directory_of_another_user_is_refused_with_its_owner() {
    if !geteuid().is_root() {
        skipped("a directory of another user: only root can become one");
        return;
    }
    let bench = Bench::new();
    bench.run(&["run", "--spill", "spill"]).assert_code(0);
    // Where another user may go.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.path(""), open.clone()).unwrap();
    let binary = bench.path("binary");
    fs::copy(env!("CARGO_BIN_EXE_spillring"), &binary).unwrap();
    fs::set_permissions(&binary, open).unwrap();
    let spill = fs::canonicalize(bench.path("spill")).unwrap();

    for (arguments, code) in [
        (&["status", "spill"][..], 2),
        (&["status", "spill", "--probe"], 1),
        (&["export", "spill"], 2),
        (&["dead-letters", "spill", "list"], 2),
    ] {
        let mut command = bench.command(arguments);
        let said = Said::of(as_nobody(&binary, &mut command).spawn().unwrap());
        assert_eq!(said.assert_code(code).out, "");
        let sentence = format!(
            "{} belongs to user root (0), and this is user nobody (65534): run it as that user, with `sudo -u root`",
            spill.display()
        );
        assert!(said.err.contains(&sentence), "no `{sentence}` in {said:?}");
    }
}

/// The same command, by a user who may do nothing.
fn as_nobody(binary: &PathBuf, command: &mut std::process::Command) -> std::process::Command {
    let mut other = std::process::Command::new(binary);
    other
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .uid(65_534)
        .gid(65_534);
    other
}
