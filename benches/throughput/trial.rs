//! One rate, held for some time, against a server of its own; and what came of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{AuditEntry, Drainer, JetStreamSink, NatsConfig};

use crate::load::offer;
use crate::streams::{count_in_order, make};
use crate::support::usage::{Threads, process_runtime};
use crate::support::{entries, start};
use test_support::nats::NatsServer;

/// How long after the last publish the last acknowledgement may come: a share of the time, and no less than this.
const LATE_SHARE: f64 = 0.05;
const LATE_MIN: Duration = Duration::from_millis(500);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(5 * 60);
/// What is published before: to connect, and to have everything at work once.
const WARM: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Made by spillring.
    Batches,
    /// As Agent Assembly's gateway makes it: message by message.
    Messages,
}

/// Who says what was stored in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Spillring's own count.
    Stats,
    /// Whoever reads the stream: each entry once and in order, none missing.
    Reader,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    /// Entries a second.
    pub(crate) offered: f64,
    /// What the stream holds of what was offered.
    pub(crate) stored: u64,
    pub(crate) lost: u64,
    pub(crate) spilled: u64,
    /// Published, and not yet acknowledged: the most, and with the last publish.
    pub(crate) behind_most: u64,
    pub(crate) behind_end: u64,
    /// How long after the last publish the last acknowledgement came.
    pub(crate) caught_up: Duration,
    /// From the first publish to the last acknowledgement.
    pub(crate) took: Duration,
    late_max: Duration,
    pub(crate) cpu: Cpu,
}

/// Time on a core, of the whole time.
#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) publishers: Duration,
    pub(crate) drainer: Duration,
    pub(crate) sink: Duration,
    pub(crate) server: Duration,
}

impl Outcome {
    /// Entries a second, publish to acknowledged.
    pub(crate) fn rate(&self) -> f64 {
        self.stored as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn holds(&self) -> bool {
        self.lost == 0 && self.caught_up <= self.late_max
    }

    pub(crate) fn verdict(&self) -> String {
        if self.holds() {
            return "yes".to_owned();
        }
        format!(
            "no: {} lost, the last acknowledged after {:.1} s",
            self.lost,
            self.caught_up.as_secs_f64()
        )
    }
}

/// Publishes at this rate for this time, and waits until all is acknowledged.
pub(crate) fn trial(
    stream: Stream,
    publishers: usize,
    rate: f64,
    span: Duration,
    judge: Judge,
) -> Outcome {
    let server = NatsServer::start();
    if stream == Stream::Messages {
        make(&server.url(), "AUDIT", "assembly.audit.>", 1);
    }
    let mut config = NatsConfig::default();
    config.urls = vec![server.url().into()];
    let (drainer, _dir) = start(JetStreamSink::new(config).expect("sound settings"));
    let publisher = drainer.publisher();
    let entries = Arc::new(entries());
    for entry in entries.iter().take(WARM) {
        publisher.publish(entry.clone());
    }
    until_delivered(&drainer, LIMIT);
    let threads = ["spillring-drain", "spillring-sink"].map(Threads::named);
    let before = threads.each_ref().map(Threads::runtime);
    let server_before = process_runtime(server.pid());
    let (spilled, mut behind_most) = (drainer.stats().appended, 0);
    let offered = offer(&publisher, &entries, publishers, rate, span, || {
        behind_most = behind_most.max(behind(&drainer));
    });
    let behind_end = behind(&drainer);
    until_delivered(&drainer, LIMIT);
    let done = Instant::now();
    let [drainer_ran, sink_ran] = [0, 1].map(|at| threads[at].runtime().saturating_sub(before[at]));
    let server_ran = process_runtime(server.pid()).saturating_sub(server_before);
    let stats = drainer.stats();
    let stored = match judge {
        Judge::Stats => stats.delivered,
        Judge::Reader => count_in_order(&server.url()),
    } - WARM as u64;
    assert_eq!(stored + stats.lost.total(), offered.entries, "{stats:?}");
    drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
    Outcome {
        offered: rate,
        stored,
        lost: stats.lost.total(),
        spilled: stats.appended - spilled,
        behind_most: behind_most.max(behind_end),
        behind_end,
        caught_up: done - offered.end,
        took: done - offered.begin,
        late_max: LATE_MIN.max(span.mul_f64(LATE_SHARE)),
        cpu: Cpu {
            publishers: offered.runtime,
            drainer: drainer_ran,
            sink: sink_ran,
            server: server_ran,
        },
    }
}

/// How many entries are in spillring's hands.
fn behind(drainer: &Drainer<AuditEntry>) -> u64 {
    let stats = drainer.stats();
    stats.accepted - stats.delivered
}

fn until_delivered(drainer: &Drainer<AuditEntry>, limit: Duration) {
    let begin = Instant::now();
    while behind(drainer) > 0 {
        assert!(begin.elapsed() < limit, "nothing is delivered");
        thread::sleep(Duration::from_millis(2));
    }
}
