//! The figures that PERF.md states beside criterion's: the tail of `publish` in service time, and the tail through a
//! stalled server. `cargo bench --bench figures -- tail|stall`; without a name both run; with `--test` each runs short.

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
use quanta::Clock;
use spillring::{AuditEntry, JetStreamSink, NatsConfig, Publisher};
use support::args::{Args, Length};
use support::latency::{BLOCK, head, latencies, paced, pass, row, settle};
use support::{Away, Free, Stalled, entries, start, start_with};
use test_support::nats::NatsServer;

fn main() {
    let args = Args::read();
    if args.wants("tail") {
        tail(args.length);
    }
    if args.wants("stall") {
        stall(args.length);
    }
}

/// Service time of `publish`, one call per microsecond in blocks that the ring holds, with the drainer at work. Blocks
/// of all conditions are interleaved; the empty call is the noise floor of clock and machine.
fn tail(length: Length) {
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
        paced(&clock, block(), &mut results[0], pass);
        paced(&clock, block(), &mut results[1], |entry| {
            queue.push(entry).expect("room");
        });
        while queue.pop().is_some() {}
        for ((_, (drainer, _)), result) in running.iter().zip(&mut results[2..]) {
            let publisher = drainer.publisher();
            paced(&clock, block(), result, |entry| publisher.publish(entry));
            settle(&publisher);
        }
    }
    head("tail: one call per microsecond, service time");
    row("nothing (clock and machine)", &results[0]);
    row("bare ArrayQueue::push, nobody pops", &results[1]);
    for ((name, _), result) in running.iter().zip(&results[2..]) {
        row(name, result);
    }
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
