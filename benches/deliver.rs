//! How fast real entries get from `publish` to the acknowledgement of a real nats-server on the same machine.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints"
)]

mod support;
#[path = "../tests/support/mod.rs"]
mod test_support;

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use spillring::{JetStreamSink, NatsConfig};
use support::{entries, start};
use test_support::nats::NatsServer;

/// Entries an iteration moves.
const ENTRIES: usize = 20_000;

fn deliver(c: &mut Criterion) {
    let entries = entries();
    let server = NatsServer::start();
    let mut config = NatsConfig::default();
    config.urls = vec![server.url().into()];
    let (drainer, _dir) = start(JetStreamSink::new(config).expect("sound settings"));
    let publisher = drainer.publisher();
    let mut group = c.benchmark_group("deliver");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("JetStream, one server, file storage", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let batch: Vec<_> = entries.iter().cycle().take(ENTRIES).cloned().collect();
                let goal = publisher.stats().delivered + ENTRIES as u64;
                let begin = Instant::now();
                for entry in batch {
                    publisher
                        .publish_timeout(entry, Duration::from_mins(1))
                        .expect("room");
                }
                while publisher.stats().delivered < goal {
                    assert!(
                        begin.elapsed() < Duration::from_mins(1),
                        "nothing is delivered"
                    );
                    std::thread::sleep(Duration::from_micros(200));
                }
                spent += begin.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, deliver);
criterion_main!(benches);
