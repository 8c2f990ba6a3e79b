//! How fast entries go to disk with the sink away, and back out when it returns.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use spillring::{
    AuditEntry, Batch, BoxFuture, Delivery, Position, Publisher, PublisherId, Sink, SinkError,
    SpillDurability,
};
use support::{Away, entries, start_with};

/// Entries an iteration moves.
const ENTRIES: usize = 50_000;

/// Takes everything while it is open, and nothing while it is not.
#[derive(Debug)]
struct Door {
    open: Arc<AtomicBool>,
}

impl Door {
    fn check(&self) -> Result<(), SinkError> {
        let open = self.open.load(Ordering::Relaxed);
        if open {
            Ok(())
        } else {
            Err(SinkError::Unavailable("closed".to_owned()))
        }
    }
}

impl Sink for Door {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { self.check().map(|()| None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async {
            match self.check() {
                Ok(()) => Delivery::all(batch),
                Err(away) => Delivery::stopped(0, away),
            }
        })
    }
}

fn fill(publisher: &Publisher<AuditEntry>, entries: Vec<AuditEntry>) {
    for entry in entries {
        publisher
            .publish_timeout(entry, Duration::from_mins(1))
            .expect("room");
    }
    publisher
        .flush()
        .wait(Duration::from_mins(1))
        .expect("a flush");
}

fn append(c: &mut Criterion) {
    let entries = entries();
    let mut group = c.benchmark_group("append");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    for durability in [SpillDurability::PowerLoss, SpillDurability::ProcessCrash] {
        let (drainer, _dir) = start_with(Away, |config| {
            config.spill_durability = durability;
            config.spill_bytes_max = 64 << 30;
        });
        let publisher = drainer.publisher();
        group.bench_function(
            BenchmarkId::from_parameter(format!("{durability:?}")),
            |b| {
                b.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        let batch: Vec<_> = entries.iter().cycle().take(ENTRIES).cloned().collect();
                        let start = Instant::now();
                        fill(&publisher, batch);
                        spent += start.elapsed();
                    }
                    spent
                });
            },
        );
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let entries = entries();
    let mut group = c.benchmark_group("replay");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    for durability in [SpillDurability::PowerLoss, SpillDurability::ProcessCrash] {
        let open = Arc::new(AtomicBool::new(false));
        let (drainer, _dir) = start_with(
            Door {
                open: Arc::clone(&open),
            },
            |config| {
                config.spill_durability = durability;
                config.backoff_max = Duration::from_millis(100);
            },
        );
        let publisher = drainer.publisher();
        group.bench_function(
            BenchmarkId::from_parameter(format!("{durability:?}")),
            |b| {
                b.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        open.store(false, Ordering::Relaxed);
                        fill(
                            &publisher,
                            entries.iter().cycle().take(ENTRIES).cloned().collect(),
                        );
                        let before = publisher.stats().delivered;
                        open.store(true, Ordering::Relaxed);
                        while publisher.stats().delivered == before {
                            std::thread::yield_now();
                        }
                        let start = Instant::now();
                        while publisher.stats().spilled > 0 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        spent += start.elapsed();
                    }
                    spent
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, append, replay);
criterion_main!(benches);
