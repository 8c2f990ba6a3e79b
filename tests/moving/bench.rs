//! A sink as Agent Assembly's tests have one, and publishers that deliver to it.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::error::SinkError;
use spillring::sink::EmitSink;
use spillring::{AuditEntry, Config, Drainer, Sink, Stats};

use test_support::law::assert_law;

/// How long anything may take before a test gives up on it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A sink that can be away, and keeps what it takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeSink(Arc<Mutex<Fake>>);

#[derive(Debug, Default)]
struct Fake {
    up: bool,
    captured: Vec<AuditEntry>,
}

impl FakeSink {
    pub(crate) fn new(up: bool) -> Self {
        let fake = Self::default();
        fake.set_up(up);
        fake
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.0.lock().up = up;
    }

    pub(crate) fn captured(&self) -> Vec<AuditEntry> {
        self.0.lock().captured.clone()
    }

    /// As their trait has it.
    fn emit(&self, entry: AuditEntry) -> Result<(), SinkError> {
        let mut fake = self.0.lock();
        if !fake.up {
            return Err(SinkError::Unavailable("fake sink down".to_owned()));
        }
        fake.captured.push(entry);
        Ok(())
    }

    pub(crate) fn sink(&self) -> impl Sink {
        let sink = self.clone();
        EmitSink::entries(move |entry: AuditEntry| {
            let sink = sink.clone();
            async move { sink.emit(entry) }
        })
    }
}

/// Quick to try again.
pub(crate) fn config(spill: &Path) -> Config {
    let mut config = Config::new(spill);
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(10);
    config.pending_max = Duration::from_millis(20);
    config
}

/// A distinct entry.
pub(crate) fn entry(seq: u64) -> AuditEntry {
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

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "never came to pass: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// All that was published has been delivered, or is a dead letter.
#[track_caller]
pub(crate) fn until_settled(drainer: &Drainer<AuditEntry>) {
    eventually("all is settled", || {
        let stats = drainer.stats();
        stats.in_ring + stats.in_memory + stats.spilled == 0 && stats.accounted() == stats.entered()
    });
}

#[track_caller]
pub(crate) fn end(drainer: Drainer<AuditEntry>, attempted: u64) -> Stats {
    let stats = drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
    assert_law(&stats, attempted);
    stats
}
