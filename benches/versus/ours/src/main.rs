//! spillring with its default settings, doing what `original` does: `versus-ours up|down|free`; without a name all of
//! them run; with `--test` each runs short.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

#[path = "../../common/mod.rs"]
mod common;
#[path = "../../../spill/door.rs"]
mod door;

/// What `door` needs from the module around it.
mod measure {
    use crate::common::LIMIT;
    use test_support::eventually::eventually_within;

    pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        eventually_within(LIMIT, what, || holds().then_some(()));
    }
}

use std::time::{Duration, Instant};

use spillring::config::SpillDurability;
use spillring::nats::StreamCare;
use spillring::{AuditEntry, Config, Drainer, JetStreamSink, NatsConfig, Publisher, Sink};
use tempfile::TempDir;

use common::args::Args;
use common::line::{Figures, Line, Side, grouped, rate};
use common::meter::Meter;
use common::{Entries, LIMIT, PACES, Sizes};
use door::Door;
use test_support::eventually::eventually_within;
use test_support::nats::NatsServer;

/// How often `publish` is called while the server is down: there is no answer that the next call could wait for.
const DOWN_PACES: [(&str, Option<Duration>); 2] = [
    ("one per 10 µs", Some(Duration::from_micros(10))),
    ("tight loop", None),
];

/// How much of the backlog is on its way to disk while calls are measured: longer than those take.
const NEWEST: u64 = 8_000;

fn main() {
    let args = Args::read();
    let sizes = Sizes::of(&args);
    if args.wants("up") {
        up(sizes);
    }
    if args.wants("down") {
        for (how, pace) in DOWN_PACES {
            down(how, pace, sizes);
        }
        for durability in [SpillDurability::ProcessCrash, SpillDurability::PowerLoss] {
            spilling(durability, sizes);
        }
        for care in [StreamCare::Create, StreamCare::Upgrade] {
            replay(care, sizes);
        }
    }
    if args.wants("free") {
        free(sizes);
    }
}

/// A publisher, and what goes into it.
struct Running {
    drainer: Drainer<AuditEntry>,
    publisher: Publisher<AuditEntry>,
    entries: Entries<AuditEntry>,
    _dir: TempDir,
}

impl Running {
    fn start(sink: impl Sink, durability: SpillDurability) -> Self {
        let dir = common::folder();
        let mut config = Config::new(dir.path().join("spill"));
        config.spill_durability = durability;
        let drainer = spillring::start(config, sink).expect("a publisher");
        Self {
            publisher: drainer.publisher(),
            drainer,
            entries: Entries::read(),
            _dir: dir,
        }
    }

    fn to(server: &NatsServer, care: StreamCare, durability: SpillDurability) -> Self {
        let mut config = NatsConfig::default();
        config.urls = vec![server.url().into()];
        config.stream_care = care;
        Self::start(
            JetStreamSink::new(config).expect("sound settings"),
            durability,
        )
    }

    /// Publishes so many entries, and times each call.
    fn publish(&mut self, count: usize, pace: Option<Duration>) -> Meter {
        let block = self.entries.take(count);
        let mut meter = Meter::new(pace);
        for entry in block {
            while !meter.due() {
                std::hint::spin_loop();
            }
            let start = meter.start();
            self.publisher.publish(entry);
            meter.stop(start);
        }
        meter
    }

    /// Publishes entries until so many are in the spill, and nothing elsewhere.
    fn fill(&mut self, depth: u64) {
        self.flush();
        let missing = depth.saturating_sub(self.drainer.stats().spilled);
        for entry in self
            .entries
            .take(usize::try_from(missing).expect("not that many"))
        {
            self.publisher.publish_timeout(entry, LIMIT).expect("room");
        }
        self.flush();
        assert!(
            self.drainer.stats().spilled >= depth,
            "{:?}",
            self.drainer.stats()
        );
    }

    /// Waits until all is acknowledged or on disk.
    fn flush(&self) {
        self.publisher.flush().wait(LIMIT).expect("a flush");
    }

    /// Waits until all is acknowledged.
    fn settle(&self) {
        eventually_within(LIMIT, "all is delivered", || {
            let stats = self.drainer.stats();
            (stats.delivered == stats.accepted).then_some(())
        });
    }

    /// Each entry that was published stands in the stream, once and in order.
    fn account(self, condition: &str, how: &str, server: &NatsServer) {
        self.settle();
        let stats = self
            .drainer
            .shutdown(LIMIT)
            .wait(LIMIT * 2)
            .expect("an account");
        assert_eq!(stats.lost.total(), 0, "the ring was full");
        let (arrived, in_order) = common::arrived(server, stats.accepted);
        assert_eq!((arrived, in_order), (stats.accepted, true), "in the stream");
        let figures = Figures::Count {
            published: stats.accepted,
            arrived,
            in_order,
        };
        tell(condition, how, figures);
    }
}

/// Service times while the server takes everything.
fn up(sizes: Sizes) {
    let server = common::server_with_stream();
    let mut running = Running::to(&server, StreamCare::Create, SpillDurability::PowerLoss);
    for (condition, pace) in PACES {
        let meter = running.publish(sizes.block, pace);
        tell(condition, "from a thread", meter.figures());
        running.settle();
    }
    running.account("NATS up throughout", "acknowledged", &server);
}

/// A publisher whose server has been killed, with one entry in its spill.
fn cut_off(care: StreamCare, durability: SpillDurability) -> (NatsServer, Running) {
    let mut server = common::server_with_stream();
    let mut running = Running::to(&server, care, durability);
    running.publish(1, None);
    running.settle();
    server.kill();
    running.publish(1, None);
    eventually_within(LIMIT, "it has noticed", || {
        running.flush();
        (running.drainer.stats().spilled == 1).then_some(())
    });
    (server, running)
}

/// Service times while the server is away. But for the first, the drainer is at the same time writing the newest of the
/// backlog to disk.
fn down(how: &str, pace: Option<Duration>, sizes: Sizes) {
    let (mut server, mut running) = cut_off(StreamCare::Create, SpillDurability::PowerLoss);
    for depth in sizes.depths {
        let newest = depth.min(NEWEST);
        running.fill(depth - newest);
        running.publish(usize::try_from(newest).expect("not that many"), None);
        let flush = running.publisher.flush();
        while running.drainer.stats().in_ring == newest && newest > 0 {
            std::thread::yield_now();
        }
        let meter = running.publish(sizes.window, pace);
        tell(&common::down(depth, sizes.window), how, meter.figures());
        flush.wait(LIMIT).expect("a flush");
    }
    server.restart();
    running.account("NATS down, then back", how, &server);
}

/// How fast it spills at the deepest, from the first call until the last entry is on disk.
fn spilling(durability: SpillDurability, sizes: Sizes) {
    let (mut server, mut running) = cut_off(StreamCare::Create, durability);
    running.fill(sizes.deepest());
    let block = running.entries.take(sizes.block);
    let begin = Instant::now();
    for entry in block {
        running.publisher.publish(entry);
    }
    running.flush();
    let seconds = begin.elapsed().as_secs_f64();
    let how = match durability {
        SpillDurability::ProcessCrash => "publish to flushed; survives a kill",
        _ => "publish to flushed; survives a power cut",
    };
    tell(
        &format!("spilling at {} in the backlog", grouped(sizes.deepest())),
        how,
        rate(sizes.block as u64, seconds),
    );
    server.restart();
    running.account("NATS down, then back", how, &server);
}

/// How fast a backlog leaves to a server that is back, from the first acknowledgement to the last.
fn replay(care: StreamCare, sizes: Sizes) {
    let (mut server, mut running) = cut_off(care, SpillDurability::PowerLoss);
    let backlog = sizes.replayed();
    running.fill(backlog);
    let before = running.drainer.stats().delivered;
    server.restart();
    let delivered = |at_least: u64| {
        eventually_within(LIMIT, "it is delivered", || {
            let delivered = running.drainer.stats().delivered - before;
            (delivered >= at_least).then(|| (delivered, Instant::now()))
        })
    };
    let (first, begin) = delivered(1);
    let (last, end) = delivered(backlog);
    let how = match care {
        StreamCare::Upgrade => "JetStream, in transactions, acknowledged",
        _ => "JetStream, message by message, acknowledged",
    };
    tell(
        &format!("replay of {} to NATS", grouped(backlog)),
        how,
        rate(last - first, (end - begin).as_secs_f64()),
    );
    running.account("NATS down, then back", how, &server);
}

/// How fast a backlog leaves into a sink that costs nothing, from the first batch to the last.
fn free(sizes: Sizes) {
    let door = Door::default();
    let mut running = Running::start(door.clone(), SpillDurability::PowerLoss);
    running.fill(sizes.free);
    door.open_for(sizes.free);
    tell(
        &format!(
            "replay of {} into a sink that costs nothing",
            grouped(sizes.free)
        ),
        "batch by batch",
        Figures::Rate {
            entries: sizes.free,
            per_second: door.rate(),
        },
    );
}

fn tell(condition: &str, how: &str, figures: Figures) {
    let line = Line {
        side: Side::Spillring,
        condition: condition.to_owned(),
        how: how.to_owned(),
        figures,
    };
    line.tell();
}
