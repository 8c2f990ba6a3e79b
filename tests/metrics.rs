//! What a host's recorder hears: every name of the design, each label from the start, totals that grow, and all of it
//! although the recorder is installed after the publisher was started. The log hears of what is evicted, summed up. The
//! totals are the process's: one test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a failed expectation fails the test; its counts are small"
)]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use spillring::State;
use spillring::config::WhenSpillFull;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, Flaw, LIMIT, Note, end, end_within, eventually, name, publish, until_delivered,
    until_spilled,
};
use test_support::ear::Ear;
use test_support::sinks::Mode;

#[test]
fn a_recorder_hears_every_name_and_the_sums_of_all_publishers() {
    let ear = Ear::default();
    let (mut first, mut second) = (Bench::new(), Bench::down());
    let buffer = tempfile::NamedTempFile::new().unwrap();
    rusqlite::Connection::open(buffer.path())
        .unwrap()
        .execute_batch(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, payload BLOB, enqueued_at INTEGER); \
             INSERT INTO events (payload, enqueued_at) VALUES (x'00', 7), (x'01', 7)",
        )
        .unwrap();
    first.config.import = Some(buffer.path().to_owned());
    // Nothing of the first is spilled, however slow the machine.
    first.config.pending_max = LIMIT;
    second.config.entry_bytes_max = 100;
    let drainer = first.start();
    publish(&drainer.publisher(), 0..30);
    until_delivered(&drainer);
    metrics::set_global_recorder(ear.clone()).unwrap();
    // Nothing has been lost so far, and each reason is heard all the same.
    eventually("a report is complete", || ear.reports() > 0);
    let reasons = LossReason::ALL.iter().map(|reason| match reason {
        // What is a dead letter is not lost.
        LossReason::DeadLettered => "dead_letters_full",
        other => other.as_str(),
    });
    for reason in reasons {
        assert!(ear.heard(&format!("aa_audit_dropped_total reason={reason}")) < 0.5);
    }
    first.remote.refuse(name(30));
    publish(&drainer.publisher(), 30..40);
    drainer.publisher().publish(Note::flawed(Flaw::Fails));
    until_delivered(&drainer);
    end(drainer, 41);

    let drainer = second.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..50);
    publisher.publish(Note::new("x".repeat(101)));
    until_spilled(&drainer);
    eventually("the backlog is told", || {
        ear.0
            .lock()
            .get("aa_audit_spill_entries")
            .is_some_and(|&entries| entries > 50.5)
    });
    let reports = ear.reports();
    eventually("a report is complete", || ear.reports() > reports);
    assert_depths(&ear);
    second.remote.set(Mode::Up);
    until_delivered(&drainer);
    end_within(drainer, LIMIT, 51);
    publisher.publish(Note::new("late"));
    let evicted = evict_and_log();
    assert!(ear.heard("aa_audit_sink_up") > 0.5);
    assert_documented(&ear);

    for (name, value) in [
        ("aa_audit_accepted_total", 92 + 400),
        ("aa_audit_delivered_total", 89 + 400 - evicted),
        ("aa_audit_published_total", 39),
        ("aa_audit_flushed_total", 50 + 400 - evicted),
        ("aa_events_flushed_total", 50 + 400 - evicted),
        ("aa_audit_buffered_total", 51 + 400),
        ("aa_events_buffered", 51 + 400),
        ("aa_events_dropped_total", evicted),
        ("aa_audit_dropped_total reason=spill_evicted", evicted),
        ("aa_audit_dropped_total reason=spill_full", 0),
        ("aa_audit_dropped_total reason=encode_error", 1),
        ("aa_audit_dropped_total reason=queue_full", 0),
        ("aa_audit_dead_lettered_total reason=rejected", 1),
        ("aa_audit_dead_lettered_total reason=oversize", 1),
        ("aa_audit_dead_lettered_total reason=undecodable", 2),
        ("aa_audit_spill_entries", 0),
        ("aa_audit_state state=stopped", 1),
    ] {
        let heard = ear.heard(name);
        assert!(
            (heard - f64::from(value)).abs() < 0.5,
            "{name}: {heard}, not {value}"
        );
    }
    assert!(ear.heard("aa_audit_publish_errors_total") > 0.5);
    for histogram in [
        "aa_audit_delivery_seconds",
        "aa_audit_batch_entries",
        "aa_audit_spill_append_seconds",
    ] {
        assert!(ear.heard(histogram) > 0.5, "{histogram}");
    }
}

/// The log of all threads.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Evictions are dozens; the log has one line a second at the most, and all of them together tell of each entry.
fn evict_and_log() -> u32 {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let start = Instant::now();
    let evicted = evict();
    let lines_max = start.elapsed().as_secs() + 2;
    let said = String::from_utf8(log.0.lock().clone()).unwrap();
    let told: Vec<u32> = said
        .lines()
        .filter_map(|line| {
            line.split(" evicted=")
                .nth(1)?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert_eq!(told.iter().sum::<u32>(), evicted, "{said}");
    assert!(told.len() as u64 <= lines_max, "{said}");
    evicted
}

/// Under its name without labels.
fn assert_documented(ear: &Ear) {
    let operating = include_str!("../docs/operating.md");
    for key in ear.0.lock().keys() {
        let name = key.split(' ').next().unwrap();
        assert!(
            operating.contains(&format!("`{name}")),
            "docs/operating.md does not list {name}"
        );
        assert!(ear.1.lock().contains(name), "no help text for {name}");
    }
}

/// A third publisher, at the cap: of 400 entries that many are evicted.
fn evict() -> u32 {
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 1 << 20;
    bench.config.when_spill_full = WhenSpillFull::EvictOldest;
    let drainer = bench.start();
    for _ in 0..4 {
        for _ in 0..100 {
            drainer.publisher().publish(Note::new("x".repeat(5_000)));
        }
        until_spilled(&drainer);
    }
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let evicted = end(drainer, 400).discarded.spill_evicted;
    assert!(evicted > 100, "{evicted}");
    u32::try_from(evicted).unwrap()
}

/// While the second publisher has its backlog of 51 on disk.
fn assert_depths(ear: &Ear) {
    assert!((ear.heard("aa_audit_spill_entries") - 51.0).abs() < 0.5);
    assert!(ear.heard("aa_audit_spill_bytes") > 0.5);
    assert!(ear.heard("aa_audit_spill_bytes_max") > ear.heard("aa_audit_spill_bytes"));
    assert!(ear.heard("aa_audit_sink_up") < 0.5);
    assert!(ear.heard("aa_audit_spill_seconds_until_full") > 0.0);
    assert!(ear.heard("aa_audit_oldest_entry_age_seconds") >= 0.0);
    for empty in ["aa_audit_ring_entries", "aa_audit_ring_bytes"] {
        assert!(ear.heard(empty) < 0.5, "{empty}");
    }
    for state in State::ALL {
        let told = ear.heard(&format!("aa_audit_state state={}", state.as_str()));
        assert_eq!(told > 0.5, state == State::Spilling, "{state:?}");
    }
}
