//! Promise: what the tests of Agent Assembly's publisher assert of it holds here, too. They run one after the other:
//! the totals of the metrics are the process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[path = "moving/bench.rs"]
mod bench;

use parking_lot::{Mutex, MutexGuard};
use spillring::{AuditEntry, Config};

use bench::{FakeSink, LIMIT, config, end, entry, eventually, until_settled};
use test_support::ear::Ear;

static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock()
}

fn seqs(sink: &FakeSink) -> Vec<u64> {
    sink.captured().iter().map(AuditEntry::seq).collect()
}

#[test]
fn publish_succeeds_when_sink_up() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sink = FakeSink::new(true);
    let drainer = spillring::start(Config::new(dir.path()), sink.sink()).unwrap();

    drainer.publisher().publish(entry(1));
    until_settled(&drainer);

    assert_eq!(seqs(&sink), [1]);
    assert_eq!(drainer.stats().spilled, 0, "nothing should be buffered");
    end(drainer, 1);
}

#[test]
fn buffers_when_sink_down() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sink = FakeSink::new(false);
    let drainer = spillring::start(config(dir.path()), sink.sink()).unwrap();
    let publisher = drainer.publisher();

    publisher.publish(entry(1));
    publisher.publish(entry(2));
    publisher.flush().wait(LIMIT).unwrap();

    assert_eq!(seqs(&sink), [0; 0], "nothing is delivered");
    assert_eq!(drainer.stats().spilled, 2, "both are buffered");
    drop(drainer);
}

#[test]
fn reconnect_drains_buffer_in_fifo_order() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let sink = FakeSink::new(false);
    let drainer = spillring::start(config(dir.path()), sink.sink()).unwrap();
    let publisher = drainer.publisher();
    for seq in 1..=3 {
        publisher.publish(entry(seq));
    }
    publisher.flush().wait(LIMIT).unwrap();
    assert_eq!(drainer.stats().spilled, 3);

    // Nobody has to ask for it.
    sink.set_up(true);
    until_settled(&drainer);

    assert_eq!(seqs(&sink), [1, 2, 3], "replayed in order");
    let stats = end(drainer, 3);
    assert_eq!((stats.replayed, stats.spilled), (3, 0));
}

/// The recorder hears totals, once a second.
#[test]
fn records_all_four_audit_metrics() {
    let _alone = alone();
    let names = [
        "aa_audit_published_total",
        "aa_audit_publish_errors_total",
        "aa_audit_buffered_total",
        "aa_audit_flushed_total",
    ];
    let ear = Ear::default();
    metrics::set_global_recorder(ear.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sink = FakeSink::new(true);
    let mut config = config(dir.path());
    // However slow the sink's thread is to begin with, the first entry does not go through the spill.
    config.pending_max = LIMIT;
    let drainer = spillring::start(config, sink.sink()).unwrap();
    eventually("a report is complete", || ear.reports() > 0);
    let before = names.map(|name| ear.heard(name));

    let publisher = drainer.publisher();
    publisher.publish(entry(1));
    until_settled(&drainer);
    sink.set_up(false);
    publisher.publish(entry(2));
    publisher.flush().wait(LIMIT).unwrap();
    eventually("the sink was tried", || drainer.stats().delivery_errors > 0);
    eventually("it is buffered", || drainer.stats().appended > 0);
    sink.set_up(true);
    until_settled(&drainer);
    end(drainer, 2);

    for (name, before) in names.into_iter().zip(before) {
        assert!(ear.heard(name) > before + 0.5, "{name}");
    }
}
