//! Promise: a signal stops the reading, never loses what was read, and the next run goes on.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::bench::{Bench, SESSIONS, Said, assert_same, wait_for};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn sigterm_keeps_what_was_read_and_an_empty_run_delivers_it() {
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\nshutdown_max = \"100ms\"\n");
    let arguments = [
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
        "--report",
        "json",
    ];
    let (child, mut stdin) = bench.piped(&arguments);
    let entries = fs::read(SESSIONS).unwrap();
    stdin.write_all(&entries).unwrap();
    stdin.write_all(b"{\"seq\":").unwrap();
    bench.status_when(|status| status["stats"]["accepted"] == 2_000);
    signal(&child, Signal::TERM);
    let said = Said::of(child);

    let report = said.assert_code(4).report();
    assert_eq!(
        [&report["read"], &report["pending"], &report["refused"]],
        [2_000, 2_000, 0]
    );
    assert!(
        said.err.contains("stopping: read through line 2000"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("the beginning of line 2001"),
        "{}",
        said.err
    );

    fs::create_dir(bench.path("later")).unwrap();
    let report = bench.run(&arguments).assert_code(0).report();
    assert_eq!([&report["read"], &report["replayed"]], [0, 2_000]);
    assert_same(&bench.path("later/out"), &entries);
}

#[test]
fn sigint_delivers_what_it_can() {
    let bench = Bench::new();
    let (child, mut stdin) = bench.piped(&["run", "--sink", "jsonl:out", "--spill", "spill"]);
    let entries = fs::read(SESSIONS).unwrap();
    stdin.write_all(&entries).unwrap();
    wait_for(|| (fs::read(bench.path("out")).ok()? == entries).then_some(()))
        .expect("what was read is delivered before anybody asks");
    signal(&child, Signal::INT);
    Said::of(child).assert_code(0);
    assert_same(&bench.path("out"), &entries);
}

#[test]
fn a_signal_is_heard_by_one_who_waits_for_room() {
    let bench = Bench::new();
    // At its cap the spill takes no more, and the ring stays full.
    bench.write(
        "config.toml",
        "[spillring]\nspill_bytes_max = 1048576\nshutdown_max = \"100ms\"\n",
    );
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
    let entries = fs::read(SESSIONS).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&entries.repeat(2)));
    bench.status_when(|status| status["stats"]["state"] == "spill_full");
    signal(&child, Signal::TERM);
    let said = Said::of(child);
    assert!(writer.join().unwrap().is_err(), "it read on");

    let report = said.report();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        count("read"),
        count("accepted") + count("refused"),
        "{report}"
    );
    assert!(count("refused") > 0, "{report}");
    said.assert_code(3);
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
    signal(&child, Signal::TERM);
    bench.status_when(|status| status["stats"]["state"] == "stopping");
    signal(&child, Signal::TERM);
    let status = wait_for(|| child.try_wait().unwrap()).expect("it ends");
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}
