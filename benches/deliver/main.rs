//! How fast real entries get from `publish` to the acknowledgement of a real nats-server on the same machine, beside a
//! plain async-nats loop on an equal stream: `cargo bench --bench deliver -- PART`, one of `one`, `always`, `three`,
//! `plain`, `singly`, `many`, `ring`, `signed`, `replay`; all of them without a name. With `--test` each runs short.
//!
//! The two take turns in blocks, so that other load affects both; the result is the ratio of the medians.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod settings;
#[path = "../support/streams.rs"]
#[allow(dead_code, reason = "each bench uses its part of it")]
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use spillring::{AuditEntry, Drainer, Event, JetStreamSink, NatsConfig};
use streams::make;
use support::usage::memory;
use support::{entries, start_with};
use test_support::nats::{Cluster, NatsServer, client};
use tokio::runtime::Runtime;

/// How many messages the plain loop has under way.
const IN_FLIGHT: usize = 1_024;
/// How many entries wait in the ring.
const IN_RING: u64 = 4_000;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(5 * 60);
/// The prefix of the plain loop's subjects.
const PLAIN: &str = "plain.audit";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Full,
    Short,
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let length = if args.iter().any(|arg| arg == "--test") {
        Length::Short
    } else {
        Length::Full
    };
    let wanted = |name: &str| {
        args.iter().all(|arg| arg.starts_with("--")) || args.iter().any(|arg| arg == name)
    };
    if wanted("one") {
        let server = NatsServer::start();
        pairs("one server, default sync", &server.url(), length, |_| {});
    }
    if wanted("always") {
        let server = NatsServer::start_synced();
        pairs(
            "one server, sync_interval: always",
            &server.url(),
            length,
            |_| {},
        );
    }
    if wanted("three") {
        let cluster = Cluster::start();
        pairs("three replicas", &cluster.url(), length, |config| {
            config.stream_replicas = 3;
        });
    }
    if wanted("plain") {
        let server = NatsServer::start();
        make(&server.url(), "AUDIT", "assembly.audit.>", 1);
        let title = "one server, a stream without transactions";
        pairs(title, &server.url(), length, |_| {});
    }
    if wanted("singly") {
        singly(length);
    }
    if wanted("many") {
        many(length);
    }
    if wanted("ring") {
        settings::ring(length);
    }
    if wanted("signed") {
        settings::signed(length);
    }
    if wanted("replay") {
        replay(length);
    }
}

fn sink(url: &str) -> JetStreamSink {
    let mut config = NatsConfig::default();
    config.urls = vec![url.into()];
    JetStreamSink::new(config).expect("sound settings")
}

/// One entry a batch: what a trickle costs.
fn singly(length: Length) {
    let server = NatsServer::start();
    let count = match length {
        Length::Full => 20_000,
        Length::Short => 100,
    };
    let (drainer, _dir) = start_with(sink(&server.url()), |config| config.batch_max = 1);
    ours(&drainer, 50);
    let mut rates: Vec<f64> = (0..3).map(|_| ours(&drainer, count)).collect();
    println!(
        "\none entry a batch, one server: {:.0} a second",
        median(&mut rates)
    );
    drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
}

/// Two hundred publishers with twenty entries each, at once.
fn many(length: Length) {
    const EACH: usize = 20;
    let publishers = match length {
        Length::Full => 200,
        Length::Short => 5,
    };
    let server = NatsServer::start();
    let started: Vec<(Drainer<AuditEntry>, _)> = (0..publishers)
        .map(|_| {
            start_with(sink(&server.url()), |config| {
                config.ring_capacity = 256;
                config.ring_bytes_max = 1 << 20;
            })
        })
        .collect();
    let round = || {
        let goals: Vec<u64> = started
            .iter()
            .map(|(drainer, _)| drainer.stats().delivered + EACH as u64)
            .collect();
        let batch: Vec<_> = entries()
            .into_iter()
            .cycle()
            .take(EACH * publishers)
            .collect();
        let mut entries = batch.into_iter();
        let begin = Instant::now();
        for (drainer, _) in &started {
            let publisher = drainer.publisher();
            for entry in entries.by_ref().take(EACH) {
                publisher.publish(entry);
            }
        }
        for ((drainer, _), goal) in started.iter().zip(goals) {
            until_delivered(drainer, goal);
        }
        (EACH * publishers) as f64 / begin.elapsed().as_secs_f64()
    };
    let mut rates: Vec<f64> = (0..20).map(|_| round()).skip(8).collect();
    println!(
        "\n{publishers} publishers of {EACH} entries each, one server: {:.0} a second",
        median(&mut rates)
    );
    for (drainer, _) in started {
        drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
    }
}

/// Ours and the plain loop in turns, into streams of their own on the same server.
fn pairs(title: &str, url: &str, length: Length, change: impl Fn(&mut NatsConfig)) {
    let (rounds, block) = match length {
        Length::Full => (5, 60_000),
        Length::Short => (1, 500),
    };
    let mut config = NatsConfig::default();
    config.urls = vec![url.into()];
    change(&mut config);
    make(url, "PLAIN", &format!("{PLAIN}.>"), config.stream_replicas);
    let sink = JetStreamSink::new(config).expect("sound settings");
    let (drainer, _dir) = start_with(sink, |_| {});
    let plain = Plain::new(url);
    ours(&drainer, 500);
    plain.send(500);
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    println!("\n{title}: entries a second, publish to acknowledged, beside a plain pipelined loop");
    for _ in 0..rounds {
        fast.push(ours(&drainer, block));
        slow.push(plain.send(block));
        println!(
            "  {:>9.0}   {:>9.0}",
            fast[fast.len() - 1],
            slow[slow.len() - 1]
        );
    }
    let stats = drainer.stats();
    let (ours, theirs) = (median(&mut fast), median(&mut slow));
    println!(
        "  {ours:>9.0} / {theirs:.0} = {:.2}; spilled on the way {}",
        ours / theirs,
        stats.appended
    );
    drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
}

/// The rate at which so many entries are published and acknowledged.
fn ours(drainer: &Drainer<AuditEntry>, count: usize) -> f64 {
    let publisher = drainer.publisher();
    let block: Vec<_> = entries().into_iter().cycle().take(count).collect();
    let goal = drainer.stats().delivered + count as u64;
    let begin = Instant::now();
    for (place, entry) in block.into_iter().enumerate() {
        // As fast as it is delivered: past half of the ring entries would go through the disk.
        while place % 64 == 0 && drainer.stats().in_ring > IN_RING {
            std::thread::sleep(Duration::from_micros(100));
        }
        publisher.publish_timeout(entry, LIMIT).expect("room");
    }
    until_delivered(drainer, goal);
    count as f64 / begin.elapsed().as_secs_f64()
}

fn until_delivered(drainer: &Drainer<AuditEntry>, goal: u64) {
    let begin = Instant::now();
    while drainer.stats().delivered < goal {
        assert!(begin.elapsed() < LIMIT, "nothing is delivered");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What a careful user of the client would write: pipelined, acknowledged, with ids.
struct Plain {
    runtime: Runtime,
    context: Context,
    messages: Vec<(String, bytes::Bytes)>,
}

impl Plain {
    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let context = runtime.block_on(async { jetstream::new(client(url).await) });
        let message = |entry: AuditEntry| {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes).expect("it can be encoded");
            (format!("{PLAIN}.{}", entry.subject()), bytes.into())
        };
        Self {
            runtime,
            context,
            messages: entries().into_iter().map(message).collect(),
        }
    }

    fn send(&self, count: usize) -> f64 {
        let begin = Instant::now();
        self.runtime.block_on(async {
            let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
            let run = uuid::Uuid::now_v7();
            for n in 0..count {
                let (subject, bytes) = &self.messages[n % self.messages.len()];
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", format!("{run}.{n}"));
                let sent = self
                    .context
                    .publish_with_headers(subject.clone(), headers, bytes.clone())
                    .await
                    .expect("it is sent");
                in_flight.push_back(sent);
                if in_flight.len() == IN_FLIGHT {
                    let oldest = in_flight.pop_front().expect("one is under way");
                    oldest.into_future().await.expect("it is stored");
                }
            }
            for sent in in_flight {
                sent.into_future().await.expect("it is stored");
            }
        });
        count as f64 / begin.elapsed().as_secs_f64()
    }
}

/// A long backlog on disk, and how fast it leaves, beside live delivery to the same server; memory at both ends.
fn replay(length: Length) {
    let (count, live) = match length {
        Length::Full => (1_000_000, 100_000),
        Length::Short => (2_000, 1_000),
    };
    let mut server = NatsServer::start();
    let mut config = NatsConfig::default();
    config.urls = vec![server.url().as_str().into()];
    let sink = JetStreamSink::new(config).expect("sound settings");
    let (drainer, _dir) = start_with(sink, |config| config.spill_bytes_max = 16 << 30);
    ours(&drainer, 500);
    let before = ours(&drainer, live);
    server.kill();
    let publisher = drainer.publisher();
    for entry in entries().into_iter().cycle().take(count) {
        publisher.publish_timeout(entry, LIMIT).expect("room");
    }
    publisher.flush().wait(LIMIT).expect("all is on disk");
    let (backlog, resident) = (drainer.stats().spilled, memory("VmRSS"));
    let goal = drainer.stats().delivered + backlog;
    server.restart();
    let begin = Instant::now();
    let mut most = resident;
    while drainer.stats().delivered < goal {
        assert!(begin.elapsed() < LIMIT, "nothing is delivered");
        most = most.max(memory("VmRSS"));
        std::thread::sleep(Duration::from_millis(1));
    }
    let rate = backlog as f64 / begin.elapsed().as_secs_f64();
    let after = ours(&drainer, live);
    println!("\nreplay of {backlog} spilled entries: {rate:.0} a second");
    println!(
        "  live before {before:.0}, after {after:.0}; replay / live {:.2}",
        rate / before.max(after)
    );
    println!(
        "  memory {resident:.0} MiB with the backlog on disk, at most {most:.0} MiB while it left"
    );
    drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
