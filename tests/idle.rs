//! The drainer waits when there is nothing that it could do: while it is idle, while the sink is away, while the spill
//! is at its cap. Its thread's time, as the kernel counts it, then hardly runs. One test,
//! because a process with one drainer is needed to know its thread.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spillring::{Drainer, State};

use test_support::bench::{Bench, Note, eventually, publish, until_delivered, until_spilled};
use test_support::sinks::Mode;

/// How long is watched, and how much of that a waiting drainer may use.
const WATCHED: Duration = Duration::from_millis(300);
const USED_MAX: Duration = Duration::from_millis(100);

#[test]
fn the_drainer_waits() {
    let mut bench = Bench::new();
    bench.config.spill_bytes_max = 1 << 20;
    if runtime(Path::new("/proc/self")).is_none() {
        test_support::skipped::skipped("this kernel does not count the time of threads");
        return;
    }
    let drainer = bench.start();
    assert_waits("idle at the start");
    publish(&drainer.publisher(), 0..100);
    until_delivered(&drainer);
    assert_waits("idle");
    bench.remote.set(Mode::Stalled);
    publish(&drainer.publisher(), 0..100);
    until_spilled(&drainer);
    assert_waits("a batch at a sink that stalls");
    bench.remote.set(Mode::Down);
    publish(&drainer.publisher(), 0..500);
    until_spilled(&drainer);
    assert_waits("the sink is down");
    fill(&drainer);
    assert_waits("the spill is at its cap");
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    assert_waits("all of the backlog is delivered");
}

/// Fills the spill up to its cap, and the ring behind it.
fn fill(drainer: &Drainer<Note>) {
    let publisher = drainer.publisher();
    let big = || Note::new("x".repeat(5_000));
    eventually("the ring is full at the cap", || {
        while publisher.try_publish(big()).is_ok() {}
        drainer.stats().state == State::SpillFull
    });
}

/// A thread is busy if it uses more in each of a few stretches: a single one may coincide with a report.
#[track_caller]
fn assert_waits(what: &str) {
    let task = drain_thread();
    let used = (0..4).map(|_| {
        let (start, before) = (Instant::now(), runtime(&task).unwrap());
        eventually("some time has passed", || start.elapsed() >= WATCHED);
        runtime(&task).unwrap().saturating_sub(before)
    });
    let least = used.min().unwrap();
    assert!(least < USED_MAX, "{what}: {least:?} in {WATCHED:?}");
}

fn drain_thread() -> PathBuf {
    let mut found = None;
    eventually("the drainer's thread has its name", || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        found = tasks.map(|task| task.unwrap().path()).find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "spillring-drain")
        });
        found.is_some()
    });
    found.unwrap()
}

fn runtime(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split(' ')
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}
