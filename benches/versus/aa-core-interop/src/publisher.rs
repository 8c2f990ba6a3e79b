//! What the tests of Agent Assembly's publisher assert of it, with its own entries: each arrives as what it was, and
//! holds.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aa_core::audit::{AuditEntry, AuditEventType};
use aa_core::{AgentId, SessionId};
use parking_lot::{Mutex, MutexGuard};
use spillring::error::SinkError;
use spillring::sink::EmitSink;
use spillring::{Config, Drainer};
use tempfile::TempDir;

use crate::{LIMIT, Theirs};
use test_support::ear::Ear;

/// A sink whose connectivity can be toggled. It keeps what it takes.
#[derive(Debug, Default)]
struct FakeSink {
    up: bool,
    captured: Vec<AuditEntry>,
}

/// They run one after the other: the totals of the metrics are the process's.
static ONE: Mutex<()> = Mutex::new(());

struct Bench {
    _alone: MutexGuard<'static, ()>,
    sink: Arc<Mutex<FakeSink>>,
    drainer: Drainer<Theirs>,
    _dir: TempDir,
}

impl Bench {
    fn new(up: bool) -> Self {
        let alone = ONE.lock();
        let sink = Arc::new(Mutex::new(FakeSink {
            up,
            captured: Vec::new(),
        }));
        let theirs = Arc::clone(&sink);
        let emit = EmitSink::entries(move |entry: AuditEntry| {
            let mut sink = theirs.lock();
            let taken = if sink.up {
                sink.captured.push(entry);
                Ok(())
            } else {
                Err(SinkError::Unavailable("fake sink down".to_owned()))
            };
            async { taken }
        });
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = Config::new(dir.path().join("spill"));
        config.backoff_max = Duration::from_millis(100);
        Self {
            _alone: alone,
            sink,
            drainer: spillring::start(config, emit).expect("a start"),
            _dir: dir,
        }
    }

    fn publish(&self, seq: u64) {
        self.drainer.publisher().publish(Theirs(entry(seq)));
    }

    fn flush(&self) {
        let flushed = self.drainer.publisher().flush().wait(LIMIT);
        flushed.expect("all is on disk, or delivered");
    }

    fn set_up(&self, up: bool) {
        self.sink.lock().up = up;
    }

    /// What `buffered_len` answers.
    fn buffered(&self) -> u64 {
        self.drainer.stats().spilled
    }

    /// What has arrived, once so many have.
    fn captured(&self, count: usize) -> Vec<u64> {
        until(|| self.sink.lock().captured.len() >= count);
        let sink = self.sink.lock();
        assert!(sink.captured.iter().all(AuditEntry::verify_integrity));
        sink.captured.iter().map(AuditEntry::seq).collect()
    }

    fn end(self) {
        let account = self.drainer.shutdown(LIMIT).wait(LIMIT * 2);
        let account = account.expect("an account");
        assert_eq!(account.delivered, account.accepted);
    }
}

fn entry(seq: u64) -> AuditEntry {
    AuditEntry::new(
        seq,
        seq,
        AuditEventType::ToolCallIntercepted,
        AgentId::from_bytes([0; 16]),
        SessionId::from_bytes([0; 16]),
        format!("{{\"seq\":{seq}}}"),
        [0; 32],
    )
}

#[test]
fn publish_succeeds_when_sink_up() {
    let bench = Bench::new(true);
    bench.publish(1);
    assert_eq!(bench.captured(1), [1]);
    assert_eq!(bench.buffered(), 0, "nothing should be buffered");
    bench.end();
}

#[test]
fn buffers_when_sink_down() {
    let bench = Bench::new(false);
    bench.publish(1);
    bench.publish(2);
    bench.flush();
    assert!(bench.captured(0).is_empty(), "nothing delivered");
    assert_eq!(bench.buffered(), 2, "both events buffered");
    bench.set_up(true);
    bench.end();
}

#[test]
fn reconnect_drains_buffer_in_fifo_order() {
    let bench = Bench::new(false);
    for seq in 1..=3 {
        bench.publish(seq);
    }
    bench.flush();
    assert_eq!(bench.buffered(), 3);
    bench.set_up(true);
    assert_eq!(bench.captured(3), [1, 2, 3], "replayed in FIFO order");
    bench.end();
}

#[test]
fn records_all_four_audit_metrics() {
    let names = [
        "aa_audit_published_total",
        "aa_audit_publish_errors_total",
        "aa_audit_buffered_total",
        "aa_audit_flushed_total",
    ];
    let ear = Ear::default();
    let bench = Bench::new(true);
    metrics::set_global_recorder(ear.clone()).expect("the only one");
    until(|| ear.reports() > 0);
    let before = names.map(|name| ear.heard(name));
    bench.publish(1);
    bench.captured(1);
    bench.set_up(false);
    bench.publish(2);
    bench.flush();
    until(|| bench.drainer.stats().delivery_errors > 0);
    until(|| bench.drainer.stats().appended > 0);
    bench.set_up(true);
    bench.captured(2);
    bench.end();
    for (name, before) in names.into_iter().zip(before) {
        assert!(ear.heard(name) > before + 0.5, "{name}");
    }
}

fn until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "it never comes to pass");
        thread::sleep(Duration::from_millis(2));
    }
}
