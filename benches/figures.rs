//! The figures that PERF.md states beside criterion's: the tail of `publish` in service time, the tail through a
//! stalled server, and the pace of spilling as the backlog grows. `cargo bench --bench figures -- tail|stall|backlog`;
//! without a name all of them run; with `--test` each runs short.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints"
)]

mod support;
#[path = "../tests/support/mod.rs"]
mod test_support;

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use hdrhistogram::Histogram;
use quanta::Clock;
use spillring::{AuditEntry, JetStreamSink, NatsConfig, Publisher};
use support::{Away, Free, Stalled, entries, start, start_with};
use test_support::nats::NatsServer;

/// Half of the ring: what one block of the tail publishes.
const BLOCK: usize = 32_000;

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
    if wanted("tail") {
        tail(length);
    }
    if wanted("backlog") {
        backlog(length);
    }
    if wanted("stall") {
        stall(length);
    }
}

type Latencies = Histogram<u64>;

fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds")
}

fn row(name: &str, histogram: &Latencies) {
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!(
        "{name:<34} {:>9} {:>7} {:>7} {:>7} {:>8} {:>8} {:>10}",
        histogram.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(0.9999),
        histogram.max()
    );
}

fn head(title: &str) {
    println!("\n{title}");
    println!(
        "{:<34} {:>9} {:>7} {:>7} {:>7} {:>8} {:>8} {:>10}",
        "ns", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
}

/// Calls `push` with each entry, one per `pace`, and records how long each call took.
fn paced(
    clock: &Clock,
    pace: Duration,
    block: Vec<AuditEntry>,
    into: &mut Latencies,
    mut push: impl FnMut(AuditEntry),
) {
    let pace = u64::try_from(pace.as_nanos()).expect("a short pace");
    let mut due = clock.raw();
    for entry in block {
        while clock.delta_as_nanos(due, clock.raw()) < pace {
            std::hint::spin_loop();
        }
        due = clock.raw();
        let before = clock.raw();
        push(entry);
        let after = clock.raw();
        into.saturating_record(clock.delta_as_nanos(before, after));
    }
}

/// Service time of `publish`, one call per microsecond in blocks that the ring holds, with the drainer at work. Blocks
/// of all conditions are interleaved; the empty call is the noise floor of clock and machine.
fn tail(length: Length) {
    const PACE: Duration = Duration::from_micros(1);
    let rounds = if length == Length::Full { 40 } else { 1 };
    let (clock, entries) = (Clock::new(), entries());
    let queue = ArrayQueue::new(65_536);
    let large = |config: &mut spillring::Config| config.spill_bytes_max = 64 << 30;
    let running = [
        ("publish, sink up", start(Free)),
        ("publish, sink away (spilling)", start_with(Away, large)),
        (
            "publish, sink stalled (spilling)",
            start_with(Stalled, large),
        ),
    ];
    let mut results: Vec<_> = (0..running.len() + 2).map(|_| latencies()).collect();
    let block = || -> Vec<_> { entries.iter().cycle().take(BLOCK).cloned().collect() };
    for _ in 0..rounds {
        paced(&clock, PACE, block(), &mut results[0], |entry| {
            std::hint::black_box(&entry);
            std::mem::forget(entry);
        });
        paced(&clock, PACE, block(), &mut results[1], |entry| {
            queue.push(entry).expect("room");
        });
        while queue.pop().is_some() {}
        for ((_, (drainer, _)), result) in running.iter().zip(&mut results[2..]) {
            let publisher = drainer.publisher();
            paced(&clock, PACE, block(), result, |entry| {
                publisher.publish(entry);
            });
            publisher
                .flush()
                .wait(Duration::from_mins(1))
                .expect("a flush");
            assert_eq!(publisher.stats().lost.total(), 0, "the ring was full");
        }
    }
    head("tail: one call per microsecond, service time");
    row("nothing (clock and machine)", &results[0]);
    row("bare ArrayQueue::push, nobody pops", &results[1]);
    for ((name, _), result) in running.iter().zip(&results[2..]) {
        row(name, result);
    }
}

/// Spills entries with the sink away, as fast as the disk takes them, and says how the pace develops.
fn backlog(length: Length) {
    let (total, step) = if length == Length::Full {
        (1_000_000, 100_000)
    } else {
        (20_000, 10_000)
    };
    let entries = entries();
    let (drainer, _dir) = start_with(Away, |config| config.spill_bytes_max = 64 << 30);
    let publisher = drainer.publisher();
    println!(
        "\nbacklog: spilling with the sink away, PowerLoss, real entries\n{:>10} {:>12}",
        "backlog", "entries/s"
    );
    let mut spent = Duration::ZERO;
    let mut first = None;
    for done in (0..total).step_by(step) {
        let batch: Vec<_> = entries.iter().cycle().take(step).cloned().collect();
        let begin = Instant::now();
        for entry in batch {
            publisher
                .publish_timeout(entry, Duration::from_mins(1))
                .expect("room");
        }
        publisher
            .flush()
            .wait(Duration::from_mins(1))
            .expect("a flush");
        let took = begin.elapsed();
        spent += took;
        println!("{:>10} {:>12.0}", done + step, per_second(step, took));
        if done + step == 200_000 {
            first = Some(per_second(200_000, spent));
        }
    }
    if let Some(first) = first {
        println!(
            "first 200,000: {first:.0}/s; all {total}: {:.0}/s",
            per_second(total, spent)
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// 100,000 entries a second to a real server that is stopped in between, and the same without the stop.
fn stall(length: Length) {
    let phases = |full: [u64; 3]| match length {
        Length::Full => full.map(Duration::from_secs),
        Length::Short => full.map(|seconds| Duration::from_millis(seconds * 50)),
    };
    head("stall: 100,000/s to a real server, service time");
    let calm = stalled_run("2 + 10 + 3 s, server up", phases([2, 10, 3]), Stop::Never);
    let stopped = stalled_run(
        "2 s up, 10 s SIGSTOP, 3 s up",
        phases([2, 10, 3]),
        Stop::InTheMiddle,
    );
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let ratio = stopped as f64 / calm as f64;
    println!("p99.9 with the stop / without: {ratio:.2}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Never,
    InTheMiddle,
}

fn stalled_run(name: &str, [before, during, after]: [Duration; 3], stop: Stop) -> u64 {
    let mut server = NatsServer::start();
    let mut config = NatsConfig::default();
    config.urls = vec![server.url().into()];
    let sink = JetStreamSink::new(config).expect("sound settings");
    let (drainer, _dir) = start(sink);
    let publisher = drainer.publisher();
    let (clock, entries) = (Clock::new(), entries());
    let mut result = latencies();
    let mut offered = 0;
    // A hundred entries every millisecond: a publisher that spun between them would take a core from the server.
    let mut offer = |publisher: &Publisher<AuditEntry>, span: Duration| {
        let mut due = Instant::now();
        let end = due + span;
        while due < end {
            let block: Vec<_> = (offered..offered + 100)
                .map(|n| entries[n % 2_000].clone())
                .collect();
            offered += block.len();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += Duration::from_millis(1);
            for entry in block {
                let before = clock.raw();
                publisher.publish(entry);
                result.saturating_record(clock.delta_as_nanos(before, clock.raw()));
            }
        }
    };
    offer(&publisher, before);
    if stop == Stop::InTheMiddle {
        server.stop_signal();
    }
    offer(&publisher, during);
    if stop == Stop::InTheMiddle {
        server.cont_signal();
    }
    offer(&publisher, after);
    let ended = Instant::now();
    let stats = drainer
        .shutdown(Duration::from_mins(1))
        .wait(Duration::from_secs(70))
        .expect("an account");
    row(name, &result);
    println!(
        "  offered {offered}, lost {}, delivered {} {:.1} s after the last; spilled on the way {}",
        stats.lost.total(),
        stats.delivered,
        ended.elapsed().as_secs_f64(),
        stats.appended
    );
    server.kill();
    result.value_at_quantile(0.999)
}
