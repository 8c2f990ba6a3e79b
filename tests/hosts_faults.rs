//! The host misbehaves: its log, its metrics, its tasks and its entries panic, also with payloads whose own `Drop`
//! panics; it starts a publisher without files or threads to spare, and it changes its current directory. Every entry
//! still arrives, the end accounts, and what cannot start is an error with a sentence. Each scenario has a process of
//! its own: subscriber, recorder, limits and directory are the process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::panic_any;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::set_thread_uid;
use spillring::error::StartError;
use spillring::{AuditEntry, Config, Drainer, JsonLinesSink};
use test_support::bench::{
    Bench, Bomb, Flaw, LIMIT, Note, end, eventually, names, publish, until_delivered, until_spilled,
};
use test_support::child::assert_one_passed;
use test_support::sinks::Mode;

const CHILD: &str = "SPILLRING_HOSTS_CHILD";

/// Whether this is the process of the scenario. Else the named test runs in one, and must pass there.
#[track_caller]
fn in_child(test: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    assert_one_passed(&run(test));
    false
}

fn run(test: &str) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("TMPDIR", dir.path())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Through an outage and back: all arrive, in order, and the end accounts for them and for `discarded` others.
#[track_caller]
fn assert_all_arrive(bench: &Bench, drainer: Drainer<Note>, discarded: u64) {
    bench.remote.set(Mode::Down);
    publish(&drainer.publisher(), 0..300);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    publish(&drainer.publisher(), 300..600);
    until_delivered(&drainer);
    // Long enough for a report.
    std::thread::sleep(Duration::from_millis(1_200));
    publish(&drainer.publisher(), 600..700);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    let stats = end(drainer, 700 + discarded);
    assert_eq!(stats.delivered, 700);
    assert_eq!(bench.remote.texts(), names(0..700));
}

/// Panics at each line of the log.
struct Scribe(Arc<AtomicU64>);

impl tracing::Subscriber for Scribe {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "spillring"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic_any(Bomb);
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_that_panics_at_every_line() {
    if !in_child("a_subscriber_that_panics_at_every_line") {
        return;
    }
    let lines = Arc::default();
    tracing::subscriber::set_global_default(Scribe(Arc::clone(&lines))).unwrap();
    let bench = Bench::new();
    let drainer = bench.start();
    drainer.publisher().publish(Note::flawed(Flaw::Fails));
    assert_all_arrive(&bench, drainer, 1);
    assert!(lines.load(Ordering::Relaxed) > 2, "the log was not asked");
}

/// Panics at each metric.
struct Meter(Arc<AtomicU64>);

impl Meter {
    fn panics<T>(&self) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic_any(Bomb)
    }
}

impl metrics::Recorder for Meter {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.panics()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        self.panics()
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        self.panics()
    }
}

#[test]
fn a_recorder_that_panics_at_every_metric() {
    if !in_child("a_recorder_that_panics_at_every_metric") {
        return;
    }
    let calls = Arc::default();
    assert!(metrics::set_global_recorder(Meter(Arc::clone(&calls))).is_ok());
    let bench = Bench::new();
    let drainer = bench.start();
    assert_all_arrive(&bench, drainer, 0);
    assert!(calls.load(Ordering::Relaxed) > 2, "no metric was recorded");
}

/// Panics when it is woken.
#[derive(Default)]
struct Alarm(AtomicU64);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic_any(Bomb);
    }
}

#[test]
fn a_waker_that_panics() {
    if !in_child("a_waker_that_panics") {
        return;
    }
    let bench = Bench::new();
    bench.remote.set(Mode::Stalled);
    let drainer = bench.start();
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let mut ticket = drainer.publisher().flush();
    let mut context = Context::from_waker(&waker);
    while Pin::new(&mut ticket).poll(&mut context).is_ready() {
        publish(&drainer.publisher(), [0]);
        ticket = drainer.publisher().flush();
    }
    eventually("it is woken", || alarm.0.load(Ordering::Relaxed) > 0);
    assert_eq!(ticket.wait(LIMIT), Ok(()));
    let published = drainer.stats().accepted;
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    end(drainer, published);
}

/// Entries that panic where the drainer encodes and drops them, in between others.
#[test]
fn entries_that_panic() {
    if !in_child("entries_that_panic") {
        return;
    }
    let flaws = [
        Flaw::PanicsWithBomb,
        Flaw::Panics,
        Flaw::PanicsAtSubject,
        Flaw::FailsAndPanics,
    ];
    let bench = Bench::new();
    let drainer = bench.start();
    for flaw in flaws {
        drainer.publisher().publish(Note::flawed(flaw));
    }
    assert_all_arrive(&bench, drainer, flaws.len() as u64);
}

#[test]
fn entries_that_panic_when_they_are_dropped() {
    if !in_child("entries_that_panic_when_they_are_dropped") {
        return;
    }
    let bench = Bench::new();
    let drainer = bench.start();
    for flaw in [Flaw::PanicsWhenDropped, Flaw::BombsWhenDropped] {
        drainer.publisher().publish(Note::flawed(flaw));
    }
    until_delivered(&drainer);
    publish(&drainer.publisher(), 0..100);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    until_delivered(&drainer);
    assert_eq!(bench.remote.texts()[2..], names(0..100));
    assert_eq!(end(drainer, 102).delivered, 102);
}

fn set_limit(resource: Resource, current: u64) {
    let limit = Rlimit {
        current: Some(current),
        ..getrlimit(resource)
    };
    setrlimit(resource, limit).unwrap();
}

/// Starts as often as there are limits, each time in another directory. What does not start says why.
#[track_caller]
fn assert_starts_or_says_why(resource: Resource, limits: std::ops::Range<u64>) {
    let base = tempfile::tempdir().unwrap();
    let (mut started, mut refused) = (0, 0);
    for limit in limits {
        let spill = base.path().join(limit.to_string());
        fs::create_dir(&spill).unwrap();
        fs::set_permissions(&spill, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let sink = JsonLinesSink::new(spill.join("out.jsonl"));
        set_limit(resource, limit);
        match spillring::start::<AuditEntry>(Config::new(&spill), sink) {
            Ok(drainer) => {
                drop(drainer.shutdown(Duration::ZERO).wait(LIMIT));
                started += 1;
            }
            Err(why) => {
                assert!(why.to_string().contains(' '), "no sentence: {why}");
                let expected = matches!(why, StartError::Spill(_) | StartError::Thread { .. });
                assert!(expected, "{why:?}");
                refused += 1;
            }
        }
    }
    assert!(started > 0, "no limit lets it start");
    assert!(refused > 0, "no limit keeps it from starting");
}

#[track_caller]
fn assert_passes_in_silence(test: &str) {
    let output = run(test);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "a thread panicked: {said}");
}

#[test]
fn a_start_without_files_to_spare() {
    if env::var_os(CHILD).is_none() {
        return assert_passes_in_silence("a_start_without_files_to_spare");
    }
    assert_starts_or_says_why(Resource::Nofile, 5..48);
}

/// The limit binds no superuser, so the calling thread becomes another user.
#[test]
fn a_start_without_threads_to_spare() {
    if env::var_os(CHILD).is_none() {
        return if rustix::process::getuid().is_root() {
            assert_passes_in_silence("a_start_without_threads_to_spare");
        } else {
            test_support::skipped::skipped(
                "only the superuser can become a user without other threads",
            );
        };
    }
    fs::set_permissions(env::temp_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let nobody = 1_000_000_000 + std::process::id();
    set_thread_uid(rustix::process::Uid::from_raw(nobody)).unwrap();
    assert_starts_or_says_why(Resource::Nproc, 1..12);
}

/// What was named by a relative path stays where it was at the start.
#[test]
fn a_host_that_changes_its_directory() {
    if !in_child("a_host_that_changes_its_directory") {
        return;
    }
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    env::set_current_dir(here.path()).unwrap();
    let sink = JsonLinesSink::new("out.jsonl");
    let drainer = spillring::start::<Note>(Config::new("spill"), sink).unwrap();
    env::set_current_dir(there.path()).unwrap();
    publish(&drainer.publisher(), 0..10);
    end(drainer, 10);
    let out = fs::read_to_string(here.path().join("out.jsonl")).unwrap();
    assert_eq!(out.lines().count(), 10);
    let said = fs::read_to_string(here.path().join("spill/status.json")).unwrap();
    assert!(said.contains("stopped"), "an old one: {said}");
    let there = fs::read_dir(there.path()).unwrap().next();
    assert!(there.is_none(), "a second spill, or output");
}
