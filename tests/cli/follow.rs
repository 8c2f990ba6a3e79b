//! Promise: a file that is followed is published line by line, once and in order, whatever becomes of the file and of
//! the process.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use test_support::child::Process;

use super::bench::{Bench, Said, wait_for};

const KILLS: usize = 5;
/// Lines between two kills, at least.
const LINES: usize = 700;
/// The file is at most so many lines ahead of the output: a start may take long.
const AHEAD: usize = 2_000;

fn follow(bench: &Bench) -> Process {
    let arguments = [
        "run",
        "--follow",
        "app.log",
        "--raw",
        "--subject",
        "acme.app",
        "--ring-dir",
        "ring",
        "--spill",
        "spill",
        "--sink",
        "jsonl:out",
    ];
    bench.command(&arguments).spawn().unwrap().into()
}

fn append(bench: &Bench, name: &str, text: &str) {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(bench.path(name));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn lines(numbers: impl Iterator<Item = usize>) -> String {
    let lines: Vec<_> = numbers.map(|n| format!("line {n}\n")).collect();
    lines.concat()
}

/// Until that many lines are delivered.
fn until_out(bench: &Bench, count: usize) {
    let out = || fs::read_to_string(bench.path("out")).unwrap_or_default();
    wait_for(|| (out().lines().count() >= count).then_some(())).unwrap_or_else(|| {
        let bookmark = fs::read_to_string(bench.path("spill/input.json"));
        panic!(
            "{} of {count} lines came out; {bookmark:?}",
            out().lines().count()
        )
    });
}

fn end(child: Process) {
    child.signal(Signal::TERM);
    Said::of(child).assert_code(0);
}

/// The file grows and is rotated meanwhile.
#[test]
fn after_kills_nothing_is_lost_and_nothing_doubled() {
    let bench = Bench::new();
    fs::create_dir(bench.path("ring")).unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let out = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed);
                if n >= out.load(Ordering::Relaxed) + AHEAD {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                append(&bench, "app.log", &lines(n..n + 50));
                written.store(n + 50, Ordering::Relaxed);
                if n % 1_000 == 950 {
                    fs::rename(
                        bench.path("app.log"),
                        bench.path(&format!("app.log.{n:06}")),
                    )
                    .unwrap();
                    fs::write(bench.path("app.log"), "").unwrap();
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        for killed in 1..=KILLS {
            let child = follow(&bench);
            until_out(&bench, killed * LINES);
            out.store(killed * LINES, Ordering::Relaxed);
            drop(child);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // One that is killed with lines after its last bookmark, and one that had nothing to publish.
    let mut all = written.into_inner();
    let child = follow(&bench);
    until_out(&bench, all);
    append(&bench, "app.log", &lines(all..all + 300));
    all += 300;
    until_out(&bench, all);
    drop(child);
    let before = bench.read("spill/input.json");
    let child = follow(&bench);
    let begun = || (bench.read("spill/input.json") != before).then_some(());
    wait_for(begun).expect("its first bookmark");
    drop(child);
    append(&bench, "app.log", &lines(all..all + 5));
    all += 5;
    let child = follow(&bench);
    until_out(&bench, all);
    end(child);
    assert_eq!(bench.read("out"), lines(0..all));
    bench.run(&["verify", "out"]).assert_code(0);
}

#[test]
fn a_file_that_is_truncated_or_replaced_is_read_from_its_beginning() {
    let bench = Bench::new();
    fs::create_dir(bench.path("ring")).unwrap();
    append(&bench, "app.log", &lines(0..10));
    let child = follow(&bench);
    until_out(&bench, 10);
    append(&bench, "app.log", "line 10, which is not");
    append(&bench, "app.log", " finished at once\n");
    until_out(&bench, 11);
    fs::write(bench.path("app.log"), lines(11..13)).unwrap();
    until_out(&bench, 13);
    fs::rename(bench.path("app.log"), bench.path("app.log.1")).unwrap();
    append(&bench, "app.log.1", &lines(13..14));
    fs::write(bench.path("app.log"), lines(14..20)).unwrap();
    until_out(&bench, 20);
    end(child);
    let out = bench
        .read("out")
        .replace(", which is not finished at once", "");
    assert_eq!(out, lines(0..20));
    // A clean end is a place as well.
    append(&bench, "app.log", &lines(20..25));
    let child = follow(&bench);
    until_out(&bench, 25);
    end(child);
    assert_eq!(bench.read("out").lines().count(), 25);
}

#[test]
fn the_writers_of_a_pipe_come_and_go() {
    let bench = Bench::new();
    fs::create_dir(bench.path("ring")).unwrap();
    let fifo = bench.path("app.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut child = follow(&bench);
    for writer in 0..6 {
        if writer == 3 {
            // What was published is not in the pipe any more: nothing of the rest is passed over.
            drop(child);
            child = follow(&bench);
        }
        let mut pipe = File::options().write(true).open(&fifo).unwrap();
        pipe.write_all(lines(writer * 5..writer * 5 + 5).as_bytes())
            .unwrap();
        drop(pipe);
        until_out(&bench, writer * 5 + 5);
    }
    end(child);
    assert_eq!(bench.read("out"), lines(0..30));
}

/// Where the next run would go on in the file.
fn bookmarked(bench: &Bench) -> u64 {
    let bookmark: serde_json::Value =
        serde_json::from_str(&bench.read("spill/input.json")).unwrap();
    bookmark["place"]["offset"].as_u64().unwrap()
}

/// Kills after the file has begun again, and a name that is a link to the file.
#[test]
fn what_was_read_before_is_not_taken_for_what_is_there_now() {
    let bench = Bench::new();
    fs::create_dir(bench.path("ring")).unwrap();
    std::os::unix::fs::symlink(bench.path("real.log"), bench.path("app.log")).unwrap();
    append(&bench, "real.log", &lines(0..200));
    let mut child = follow(&bench);
    until_out(&bench, 200);
    // As copytruncate does; then with fewer lines than were published since, and with more bytes than there were.
    let mut all = 200;
    for more in [3, 400] {
        wait_for(|| (bookmarked(&bench) > 0).then_some(())).unwrap();
        fs::write(bench.path("real.log"), "").unwrap();
        wait_for(|| (bookmarked(&bench) == 0).then_some(())).unwrap();
        append(&bench, "real.log", &lines(all..all + more));
        all += more;
        until_out(&bench, all);
        drop(child);
        child = follow(&bench);
        append(&bench, "real.log", &lines(all..all + 10));
        all += 10;
        until_out(&bench, all);
    }
    end(child);
    // Truncated and grown again while nobody looks: it is read from its beginning.
    fs::write(bench.path("real.log"), lines(all..all + 600)).unwrap();
    all += 600;
    let child = follow(&bench);
    until_out(&bench, all);
    child.signal(Signal::TERM);
    let said = Said::of(child);
    let told = "is read from its beginning";
    assert!(said.assert_code(0).err.contains(told), "{}", said.err);
    assert_eq!(bench.read("out"), lines(0..all));
}

#[test]
fn without_a_ring_in_a_file_nothing_is_followed() {
    let bench = Bench::new();
    let said = bench.run(&["run", "--follow", "app.log", "--spill", "spill"]);
    let err = &said.assert_code(2).err;
    assert!(err.contains("`--follow` needs `--ring-dir DIR`"), "{err}");
}
