//! What spillring costs while nothing is published, how long the first entry after a silence waits, and how much memory
//! it holds: `cargo bench --bench idle -- nats|lines`; without a name both run. `--seconds N` sets how
//! long the silence is watched; with `--test` each runs short.
//!
//! Each part runs in a process of its own, which holds nothing but it.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{AuditEntry, Drainer, JetStreamSink, JsonLinesSink, NatsConfig, Sink};
use support::args::Args;
use support::latency::latencies;
use support::usage::{Threads, memory};
use support::{entries, start};
use test_support::nats::NatsServer;

const PARTS: [&str; 2] = ["nats", "lines"];
/// How long the silence before an entry lasts, and how much longer at most: by then the drainer is idle.
const SILENCE_MIN: Duration = Duration::from_millis(200);
const SILENCE_SPREAD: Duration = Duration::from_millis(200);
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let args = Args::read();
    let wanted: Vec<_> = PARTS.into_iter().filter(|part| args.wants(part)).collect();
    if let [part] = wanted[..] {
        return measure(part, &args);
    }
    for part in wanted {
        let binary = std::env::current_exe().expect("the path of this binary");
        let mut again = Command::new(binary);
        again.arg(part).args(std::env::args().skip(1));
        assert!(again.status().expect("it runs").success(), "{part} failed");
    }
}

fn measure(part: &str, args: &Args) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    if part == "nats" {
        let server = NatsServer::start();
        let mut config = NatsConfig::default();
        config.urls = vec![server.url().into()];
        let sink = JetStreamSink::new(config).expect("sound settings");
        idle("a real nats-server, connected", sink, args);
    } else {
        let sink = JsonLinesSink::new(dir.path().join("audit.jsonl"));
        idle("JSON lines", sink, args);
    }
}

fn idle(title: &str, sink: impl Sink, args: &Args) {
    let entries = entries();
    let before = memory("RssAnon");
    let heard = Heard::default();
    let (drainer, _dir) = start(Listening {
        sink,
        heard: heard.clone(),
    });
    publish(&drainer, &entries[..1_000]);
    let started = memory("RssAnon");
    println!("\nidle: {title}\n| what | how much |\n| --- | --- |");
    silence(Duration::from_secs(
        args.seconds.unwrap_or(args.choose(30, 1)),
    ));
    let tries = args.choose(200, 3);
    let waits: Vec<_> = (0..tries)
        .map(|_| first(&drainer, &entries[0], &heard))
        .collect();
    tell_waits(&waits);
    tell_memory(&drainer, &entries, [before, started]);
    drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
}

/// Nothing is published: what all threads but the bench's own do.
fn silence(span: Duration) {
    let threads = Threads::others();
    let (ran, slept, begin) = (threads.runtime(), threads.sleeps(), Instant::now());
    thread::sleep(span);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "| of one core, {seconds:.0} s of silence | {:.2} % |\n| wake-ups a second, {} threads | {:.0} |",
        threads.runtime().saturating_sub(ran).as_secs_f64() / seconds * 100.0,
        threads.count(),
        (threads.sleeps() - slept) as f64 / seconds,
    );
}

/// How long it takes after a silence from the call of `publish` until the sink is called with the entry.
fn first(drainer: &Drainer<AuditEntry>, entry: &AuditEntry, heard: &Heard) -> Duration {
    let spread = SILENCE_SPREAD.mul_f64(fastrand::f64());
    thread::sleep(SILENCE_MIN + spread);
    heard.0.lock().take();
    let called = Instant::now();
    publish(drainer, std::slice::from_ref(entry));
    let at = heard.0.lock().expect("it was delivered");
    at - called
}

fn tell_waits(waits: &[Duration]) {
    let mut all = latencies();
    for wait in waits {
        all.saturating_record(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
    }
    let millis = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1_000.0;
    println!(
        "| first entry after a silence until the sink gets it, {} times: p50, p99, max | {:.1}, {:.1}, {:.1} ms |",
        all.len(),
        millis(all.value_at_quantile(0.5)),
        millis(all.value_at_quantile(0.99)),
        millis(all.max()),
    );
}

/// Fills the ring once, as fast as possible, and prints how much memory is used, and how much of it is the ring's.
fn tell_memory(drainer: &Drainer<AuditEntry>, entries: &[AuditEntry], [before, started]: [f64; 2]) {
    let publisher = drainer.publisher();
    for entry in entries.iter().cycle() {
        if publisher.try_publish(entry.clone()).is_err() {
            break;
        }
    }
    let (stats, full) = (drainer.stats(), memory("RssAnon"));
    until_delivered(drainer);
    let delivered = memory("RssAnon");
    println!(
        "| memory (RssAnon) before the start | {before:.1} MiB |\n\
         | more once started and at work | {:.1} MiB |\n\
         | more with a full ring, {} entries of {:.1} MiB in it | {:.1} MiB |\n\
         | more once all is delivered again | {:.1} MiB |",
        started - before,
        stats.in_ring,
        stats.ring_bytes as f64 / f64::from(1 << 20),
        full - before,
        delivered - before,
    );
}

/// Publishes them, and waits until they are delivered.
fn publish(drainer: &Drainer<AuditEntry>, entries: &[AuditEntry]) {
    let publisher = drainer.publisher();
    for entry in entries {
        publisher.publish(entry.clone());
    }
    until_delivered(drainer);
}

fn until_delivered(drainer: &Drainer<AuditEntry>) {
    let begin = Instant::now();
    loop {
        let stats = drainer.stats();
        assert_eq!(stats.lost.total(), 0, "the ring was full");
        if stats.delivered == stats.accepted {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "nothing is delivered");
        thread::sleep(Duration::from_millis(1));
    }
}

/// When the sink was last called with a batch.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Option<Instant>>>);

/// The sink, and somebody who looks at the clock when it is called.
#[derive(Debug)]
struct Listening<S> {
    sink: S,
    heard: Heard,
}

impl<S: Sink> Sink for Listening<S> {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        self.sink.position(of)
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        self.heard.0.lock().get_or_insert_with(Instant::now);
        self.sink.deliver(batch)
    }
}
