//! Tries to lose, double, tear or reorder log lines on their way through a [`LogWriter`], and to make one wait: with
//! many threads, at a full ring, at the end, and with a SIGKILL in place of an end. And tries to make a failing sink
//! feed on its own log: `feedback`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

mod feedback;
mod killed;

use std::io::Write;
use std::path::Path;
use std::thread;

use allocation_counter::measure;
use serde_json::Value;
use spillring::event::LossReason;
use spillring::log_writer::LogWriter;
use spillring::{Config, Drainer, JsonLinesSink, RawEntry};
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use test_support::bench::{LIMIT, announced, eventually, quick};
use test_support::law::assert_law;
use test_support::sinks::{Cursor, Mode, Remote};

const THREADS: u64 = 8;
const LINES: u64 = 2_000;

/// The subscriber of the application, as its documentation shows it.
fn json(writer: LogWriter) -> Dispatch {
    tracing_subscriber::fmt().json().with_writer(writer).into()
}

fn log(to: &Dispatch, act: impl FnOnce()) {
    tracing::dispatcher::with_default(to, act);
}

fn start(config: Config, remote: &Remote) -> (LogWriter, Drainer<RawEntry>) {
    let drainer = spillring::start(config, remote.sink()).unwrap();
    (LogWriter::new(drainer.publisher(), "tenant.app"), drainer)
}

/// What is in the output once all that earlier runs left in the spill has been delivered.
fn lines_of(config: &Config, output: &Path) -> Vec<Value> {
    let sink = JsonLinesSink::new(output);
    let drainer = spillring::start_durable::<RawEntry>(config.clone(), sink).unwrap();
    eventually("all is delivered", || {
        let stats = drainer.stats();
        stats.spilled + stats.in_memory == 0 && stats.accounted() == stats.entered()
    });
    drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
    let text = std::fs::read_to_string(output).unwrap();
    let line = |line: &str| serde_json::from_str(line).expect("a whole line of JSON");
    text.lines().map(line).collect()
}

#[test]
fn many_threads_lose_nothing_and_each_keeps_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let (config, output) = (
        Config::new(dir.path().join("spill")),
        dir.path().join("app.jsonl"),
    );
    let sink = JsonLinesSink::new(&output);
    let (writer, guard) = LogWriter::start(config.clone(), sink, "tenant.app").unwrap();
    let subscriber = json(writer);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let subscriber = &subscriber;
            scope.spawn(move || {
                log(subscriber, || {
                    for number in 0..LINES {
                        tracing::info!(thread, number, text = "a \"line\"\nof two", "called");
                    }
                });
            });
        }
    });
    assert_eq!(guard.stats().accepted, THREADS * LINES);
    // The subscriber lives on, as a global one would.
    drop(guard);

    let lines = lines_of(&config, &output);
    assert_eq!(lines.len() as u64, THREADS * LINES);
    for thread in 0..THREADS {
        let own = lines
            .iter()
            .filter(|line| line["fields"]["thread"] == thread);
        let numbers: Vec<_> = own.map(|line| &line["fields"]["number"]).collect();
        assert_eq!(numbers, (0..LINES).collect::<Vec<_>>(), "thread {thread}");
    }
    assert!(
        lines
            .iter()
            .all(|line| line["fields"]["text"] == "a \"line\"\nof two")
    );
    drop(subscriber);
}

#[test]
fn a_dropped_guard_leaves_what_the_sink_did_not_take_to_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = quick(&dir.path().join("spill"));
    let remote = Remote::in_memory(Cursor::Kept);
    remote.set(Mode::Down);
    let (writer, guard) = LogWriter::start(config.clone(), remote.sink(), "tenant.app").unwrap();
    let subscriber = json(writer);
    log(&subscriber, || {
        for number in 0..LINES {
            tracing::info!(number, "called");
        }
    });
    drop(guard);
    log(&subscriber, || tracing::info!("too late"));

    remote.set(Mode::Up);
    // Fails while the spill is in use.
    let (_, guard) = LogWriter::start(config, remote.sink(), "tenant.app").unwrap();
    eventually("all is delivered", || remote.texts().len() as u64 == LINES);
    drop(guard);
    for (number, line) in remote.texts().iter().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["fields"]["number"], number);
    }
}

/// Neither sink nor disk takes anything.
#[test]
fn at_a_full_ring_lines_are_dropped_counted_and_announced() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = quick(&dir.path().join("spill"));
    config.ring_capacity = 64;
    config.spill_bytes_max = 1 << 20;
    let remote = Remote::in_memory(Cursor::Kept);
    remote.set(Mode::Stalled);
    let (writer, drainer) = start(config, &remote);
    let subscriber = json(writer);
    let mut logged: u64 = 0;
    let mut one_more = || {
        log(&subscriber, || tracing::info!(number = logged, "called"));
        logged += 1;
    };
    eventually("the ring is full", || {
        (0..1_000).for_each(|_| one_more());
        drainer.stats().lost.total() > 1_000
    });
    remote.set(Mode::Up);
    eventually("there is room again", || {
        let stats = drainer.stats();
        stats.in_ring + stats.in_memory + stats.spilled == 0
    });
    one_more();
    let stats = drainer.shutdown(LIMIT).wait(LIMIT).unwrap();

    assert_law(&stats, logged);
    let stored = remote.stored();
    assert_eq!(stored.len() as u64, stats.accepted);
    let told = |reason| announced(&stored, reason);
    assert_eq!(
        told(LossReason::QueueFull) + told(LossReason::SpillFull),
        stats.lost.total()
    );
    let number = |text: &str| {
        let line: Value = serde_json::from_str(text).unwrap();
        line["fields"]["number"].as_u64().unwrap()
    };
    let numbers: Vec<_> = stored.iter().map(|stored| number(&stored.text)).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&(logged - 1)));
}

#[test]
fn what_is_written_until_the_drop_is_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Remote::in_memory(Cursor::Kept);
    let (writer, drainer) = start(quick(&dir.path().join("spill")), &remote);
    for pieces in [
        &["whole\n"][..],
        &["no line break"],
        &["in ", "", "pieces\n", "of two lines", "\n"],
        &["blank\n", "\n"],
        &[],
        &["\n"],
    ] {
        let mut line = writer.make_writer();
        for piece in pieces {
            line.write_all(piece.as_bytes()).unwrap();
        }
        line.flush().unwrap();
    }
    drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
    assert_eq!(
        remote.texts(),
        [
            "whole",
            "no line break",
            "in pieces\nof two lines",
            "blank\n"
        ]
    );
    assert_eq!(remote.stored()[0].subject, "tenant.app");
}

#[test]
fn the_layer_writes_json_with_its_spans_beside_other_layers() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Remote::in_memory(Cursor::Kept);
    let (writer, drainer) = start(quick(&dir.path().join("spill")), &remote);
    let plain = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let layers = tracing_subscriber::registry()
        .with(plain)
        .with(writer.into_json_layer());
    log(&layers.into(), || {
        let _session = tracing::info_span!("session", agent = 7).entered();
        tracing::warn!(tool = "bash", "called");
    });
    drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
    let [line] = &remote.texts()[..] else {
        panic!("one line: {:?}", remote.texts());
    };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["fields"]["tool"], "bash");
    assert_eq!(line["span"]["agent"], 7);
}

/// Beside what the format itself asks for.
#[test]
fn a_line_costs_one_allocation() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Remote::in_memory(Cursor::Kept);
    let (writer, drainer) = start(quick(&dir.path().join("spill")), &remote);
    let written = measure(|| {
        let mut line = writer.make_writer();
        line.write_all(b"{\"tool\":\"bash\"}\n").unwrap();
    });
    assert_eq!(written.count_total, 1);

    let floor = tracing_subscriber::fmt().json();
    let floor = Dispatch::new(floor.with_writer(std::io::sink).finish());
    let event = |to: &Dispatch| {
        let event = || tracing::info!(tool = "bash", "called");
        log(to, event);
        let mut seen = 0;
        log(to, || seen = measure(event).count_total);
        seen
    };
    let floor = event(&floor);
    assert_eq!(event(&json(writer)), floor + 1);
    drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
}
