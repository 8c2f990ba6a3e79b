//! What `publish` costs its caller: alone, contended, with the ring full, with the sink away, beside a bare queue.
//!
//! Criterion gives means of long loops; the bench `tail` measures the tail.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints"
)]

mod support;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use spillring::{AuditEntry, Publisher};
use support::{Away, Free, Stalled, entries, start, start_with};

/// Entries published between two flushes: half of the ring, so that it is never full.
const BLOCK: usize = 32_000;

/// Publishes `count` entries in blocks that the ring holds, and answers the time that the publishing took.
fn publish_blocks(
    publisher: &Publisher<AuditEntry>,
    entries: &[AuditEntry],
    count: u64,
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = usize::try_from(count).expect("a number of entries");
    while left > 0 {
        let block: Vec<_> = entries
            .iter()
            .cycle()
            .take(left.min(BLOCK))
            .cloned()
            .collect();
        left -= block.len();
        let start = Instant::now();
        for entry in block {
            publisher.publish(black_box(entry));
        }
        spent += start.elapsed();
        publisher
            .flush()
            .wait(Duration::from_secs(60))
            .expect("a flush");
    }
    assert_eq!(publisher.stats().lost.total(), 0, "the ring was full");
    spent
}

fn alone(c: &mut Criterion) {
    let entries = entries();
    let mut group = c.benchmark_group("publish");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare ArrayQueue", |b| {
        let queue = ArrayQueue::new(65_536);
        b.iter_custom(|count| {
            let mut spent = Duration::ZERO;
            let mut left = usize::try_from(count).expect("a number of entries");
            while left > 0 {
                let block: Vec<_> = entries
                    .iter()
                    .cycle()
                    .take(left.min(BLOCK))
                    .cloned()
                    .collect();
                left -= block.len();
                let start = Instant::now();
                for entry in block {
                    queue.push(black_box(entry)).expect("room");
                }
                spent += start.elapsed();
                while queue.pop().is_some() {}
            }
            spent
        });
    });
    let (drainer, _dir) = start(Free);
    let publisher = drainer.publisher();
    group.bench_function("sink up", |b| {
        b.iter_custom(|n| publish_blocks(&publisher, &entries, n));
    });
    let (drainer, _dir) = start_with(Away, |config| config.spill_bytes_max = 64 << 30);
    let publisher = drainer.publisher();
    group.bench_function("sink away", |b| {
        b.iter_custom(|n| publish_blocks(&publisher, &entries, n));
    });
    group.finish();
}

fn contended(c: &mut Criterion) {
    let entries = entries();
    let mut group = c.benchmark_group("publish contended");
    for threads in [2_usize, 4] {
        let (drainer, _dir) = start(Free);
        let publisher = drainer.publisher();
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter_custom(|count| {
                let share = usize::try_from(count).expect("a number of entries");
                let barrier = Barrier::new(threads);
                std::thread::scope(|scope| {
                    let publish = || {
                        let mut spent = Duration::ZERO;
                        let mut left = share;
                        while left > 0 {
                            let block: Vec<_> = entries
                                .iter()
                                .cycle()
                                .take(left.min(BLOCK / threads))
                                .cloned()
                                .collect();
                            left -= block.len();
                            barrier.wait();
                            let start = Instant::now();
                            for entry in block {
                                publisher.publish(black_box(entry));
                            }
                            spent += start.elapsed();
                            publisher
                                .flush()
                                .wait(Duration::from_secs(60))
                                .expect("a flush");
                        }
                        spent
                    };
                    let all: Vec<_> = (0..threads).map(|_| scope.spawn(publish)).collect();
                    all.into_iter()
                        .map(|thread| thread.join().expect("a publisher"))
                        .max()
                        .expect("threads")
                })
            });
        });
    }
    group.finish();
}

fn full(c: &mut Criterion) {
    let entries = entries();
    // Neither sink nor disk takes anything: at its cap from the first transaction on.
    let (drainer, _dir) = start_with(Stalled, |config| {
        config.ring_capacity = 64;
        config.spill_bytes_max = 1 << 20;
    });
    let publisher = drainer.publisher();
    for entry in entries.iter().cycle().take(200_000).cloned() {
        publisher.publish(entry);
    }
    let mut group = c.benchmark_group("ring full");
    group.throughput(Throughput::Elements(1));
    group.bench_function("try_publish hands back", |b| {
        let mut entry = Some(entries[0].clone());
        b.iter(|| {
            let refused = publisher.try_publish(entry.take().expect("an entry"));
            entry = refused
                .err()
                .map(spillring::error::TryPublishError::into_entry)
                .or_else(|| Some(entries[0].clone()));
        });
    });
    group.finish();
}

criterion_group!(benches, alone, contended, full);
criterion_main!(benches);
