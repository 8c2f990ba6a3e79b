//! The publisher under test, with settings that make outages short: small batches, early timeouts, quick retries.

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{AuditEntry, Config, Drainer, JetStreamSink, NatsConfig, Publisher, State, Stats};
use tempfile::TempDir;

use crate::reading::LINES;
use test_support::eventually::eventually;
use test_support::law::assert_law;

/// More than any shutdown here needs.
pub(crate) const AMPLE: Duration = Duration::from_secs(60);
/// All lines.
pub(crate) const ALL: usize = 2_000;

static ENTRIES: LazyLock<Vec<AuditEntry>> = LazyLock::new(|| {
    let entry = |line: &&str| serde_json::from_str(line).expect("an entry");
    LINES.iter().map(entry).collect()
});

/// The entry of a line; after the last one they begin again.
pub(crate) fn entry(place: usize) -> AuditEntry {
    ENTRIES[place % ALL].clone()
}

/// Settings, and a directory that outlives the publishers that use it.
pub(crate) struct Bench {
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "kept until the end"))]
    dir: TempDir,
    pub(crate) config: Config,
    pub(crate) nats: NatsConfig,
}

/// A running publisher, and how often it was asked to publish.
pub(crate) struct Running {
    drainer: Drainer<AuditEntry>,
    pub(crate) publisher: Publisher<AuditEntry>,
    attempted: u64,
}

impl Bench {
    pub(crate) fn new(url: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let spill = dir.path().join("spill");
        Self {
            dir,
            config: config(&spill),
            nats: nats(url),
        }
    }

    pub(crate) fn spill(&self) -> &Path {
        &self.config.spill_dir
    }

    /// A path beside the spill.
    #[cfg(feature = "cli")]
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&self) -> Running {
        let sink = JetStreamSink::new(self.nats.clone()).expect("settings that can be used");
        let drainer = spillring::start(self.config.clone(), sink).expect("it starts");
        Running {
            publisher: drainer.publisher(),
            drainer,
            attempted: 0,
        }
    }
}

pub(crate) fn config(spill: &Path) -> Config {
    let mut config = Config::new(spill);
    config.batch_max = 100;
    config.pending_max = Duration::from_millis(100);
    config.ack_timeout = Duration::from_millis(400);
    config.backoff_min = Duration::from_millis(20);
    config.backoff_max = Duration::from_millis(200);
    config
}

pub(crate) fn nats(url: &str) -> NatsConfig {
    let mut nats = NatsConfig::default();
    nats.urls = vec![url.into()];
    nats
}

impl Running {
    /// Publishes these lines as fast as it goes.
    pub(crate) fn publish(&mut self, lines: Range<usize>) {
        for line in lines {
            self.publish_one(entry(line));
        }
    }

    pub(crate) fn publish_one(&mut self, entry: AuditEntry) {
        self.publisher.publish(entry);
        self.attempted += 1;
    }

    /// So many more attempts were made through clones of the publisher.
    pub(crate) fn attempted_elsewhere(&mut self, count: usize) {
        self.attempted += count as u64;
    }

    pub(crate) fn attempted(&self) -> u64 {
        self.attempted
    }

    pub(crate) fn stats(&self) -> Stats {
        self.drainer.stats()
    }

    /// Waits until the stats are so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, so: impl Fn(&Stats) -> bool) -> Stats {
        eventually(what, || Some(self.stats()).filter(|stats| so(stats)))
    }

    /// Waits until all that was published is in the spill.
    #[track_caller]
    pub(crate) fn until_all_spilled(&self) -> Stats {
        let all = self.attempted;
        self.until("all is spilled", |stats| {
            stats.state == State::Spilling && stats.spilled == all
        })
    }

    #[track_caller]
    pub(crate) fn until_delivered(&self, count: u64) -> Stats {
        self.until("so many are delivered", |stats| stats.delivered >= count)
    }

    /// Shuts down within the limit, and asserts the law.
    #[track_caller]
    pub(crate) fn shutdown(self, limit: Duration) -> Stats {
        let ticket = self.drainer.shutdown(limit);
        let stats = ticket.wait(limit + AMPLE).expect("an account");
        assert_law(&stats, self.attempted);
        assert_eq!(stats.state, State::Stopped);
        stats
    }

    /// Shuts down with time enough for everything, and asserts that everything is delivered and nothing was refused.
    #[track_caller]
    pub(crate) fn deliver_all(self) -> Stats {
        let attempted = self.attempted;
        let stats = self.shutdown(AMPLE);
        assert_eq!(stats.accepted, attempted, "none is refused: {stats:#?}");
        assert_eq!(stats.delivered, stats.entered(), "{stats:#?}");
        stats
    }
}

/// Publishes as an agent does that acts every now and then: a few at a time, at this pace. Answers when it is done.
pub(crate) fn publish_paced(
    publisher: &Publisher<AuditEntry>,
    lines: impl Iterator<Item = usize>,
    per_second: u32,
) {
    let every = Duration::from_secs(1) / per_second;
    let started = Instant::now();
    for (count, line) in (0..).zip(lines) {
        // The load, not a wait for anything.
        thread::sleep((every * count).saturating_sub(started.elapsed()));
        publisher.publish(entry(line));
    }
}
