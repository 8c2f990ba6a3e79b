//! The highest rate, publish to acknowledged, that one real nats-server on the same cores takes for a minute with
//! nothing lost: `cargo bench --bench throughput -- batches|messages`; without a name both run. `--seconds N` sets how
//! long instead of a minute, `--publishers 1,2` how many publishers; with `--test` each runs for a second.
//!
//! A short search comes first, in trials of a sixth of the time: in steps of a quarter up or down from where the last
//! row ended, then halving the step. The reported minute is a run of its own; if it does not sustain the trial's rate,
//! it is repeated a little slower.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod load;
#[path = "../support/streams.rs"]
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod trial;

use std::time::Duration;

use support::args::{Args, Length};
use trial::{Judge, Outcome, Stream, trial};

/// Where the first search begins: entries a second.
const FIRST: f64 = 50_000.0;
const STEP: f64 = 1.25;
/// How often the last step is halved: what is found is within 6 % of the highest.
const HALVINGS: u32 = 2;
/// How much slower the minute is tried again, and how often.
const SLOWER: f64 = 0.9;
const MINUTES_MAX: u32 = 8;
/// Below that something is broken.
const LEAST: f64 = 1_000.0;
/// What a second of it may put on the disk, stream and spill together.
const BYTES_PER_SECOND: u64 = 200 << 20;

fn main() {
    let args = Args::read();
    let seconds = args.seconds.unwrap_or(args.choose(60, 1));
    let publishers = match args.publishers.as_slice() {
        [] => args.choose(vec![1, 2, 4, 8, 16], vec![1]),
        given => given.to_vec(),
    };
    if !room_for(seconds * BYTES_PER_SECOND) {
        return;
    }
    for (part, stream) in [("batches", Stream::Batches), ("messages", Stream::Messages)] {
        if !args.wants(part) {
            continue;
        }
        println!("\n{part}: the search");
        let mut rate = FIRST;
        let mut rows = Vec::new();
        for &publishers in &publishers {
            let span = Duration::from_secs(seconds);
            let outcome = if args.length == Length::Short {
                trial(stream, publishers, LEAST, span, Judge::Reader)
            } else {
                rate = search(stream, publishers, rate, span / 6);
                let outcome = minute(stream, publishers, rate, span);
                rate = outcome.offered;
                outcome
            };
            rows.push((publishers, outcome));
        }
        head(part, seconds);
        for (publishers, outcome) in &rows {
            row(*publishers, outcome);
        }
    }
}

/// The highest rate that holds in trials of this length, more or less.
fn search(stream: Stream, publishers: usize, start: f64, span: Duration) -> f64 {
    let holds = |rate: f64| {
        let outcome = trial(stream, publishers, rate, span, Judge::Stats);
        println!("  {publishers:>2} at {rate:>7.0}/s: {}", outcome.verdict());
        outcome.holds()
    };
    let mut rate = start;
    let mut step = STEP;
    if holds(rate) {
        while holds(rate * step) {
            rate *= step;
        }
    } else {
        rate /= step;
        while !holds(rate) {
            rate /= step;
            assert!(rate > LEAST, "not even {LEAST}/s hold");
        }
    }
    for _ in 0..HALVINGS {
        step = step.sqrt();
        if holds(rate * step) {
            rate *= step;
        }
    }
    rate
}

/// The whole time at that rate, or a little slower. The last attempt is reported even if it does not hold.
fn minute(stream: Stream, publishers: usize, mut rate: f64, span: Duration) -> Outcome {
    for _ in 1..MINUTES_MAX {
        let outcome = trial(stream, publishers, rate, span, Judge::Reader);
        if outcome.holds() {
            return outcome;
        }
        println!("  {publishers:>2} at {rate:>7.0}/s: {}", outcome.verdict());
        rate *= SLOWER;
    }
    trial(stream, publishers, rate, span, Judge::Reader)
}

fn head(part: &str, seconds: u64) {
    println!(
        "\n{part}: {seconds} s at the highest rate that holds; entries a second from the first publish to the last\n\
         acknowledgement; the most that was not acknowledged, how long the last took; seconds on a core\n\
         | publishers | offered/s | acknowledged/s | entries | lost | spilled | behind at most | behind at the end | \
         caught up after | CPU: publishers | drainer | sink | server | holds |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
}

fn row(publishers: usize, outcome: &Outcome) {
    let rate = outcome.rate();
    println!(
        "| {publishers} | {:.0} | {rate:.0} | {} | {} | {} | {:.2} s | {:.2} s | {:.2} s | {:.1} s | {:.1} s | {:.1} s | \
         {:.1} s | {} |",
        outcome.offered,
        outcome.stored,
        outcome.lost,
        outcome.spilled,
        outcome.behind_most as f64 / rate,
        outcome.behind_end as f64 / rate,
        outcome.caught_up.as_secs_f64(),
        outcome.cpu.publishers.as_secs_f64(),
        outcome.cpu.drainer.as_secs_f64(),
        outcome.cpu.sink.as_secs_f64(),
        outcome.cpu.server.as_secs_f64(),
        outcome.verdict(),
    );
}

/// Whether the disks of stream and spill have it; says so if not.
fn room_for(bytes: u64) -> bool {
    let dirs = [std::env::temp_dir(), env!("CARGO_TARGET_TMPDIR").into()];
    let free = dirs.map(|dir| {
        let disk = rustix::fs::statvfs(&dir).expect("a disk");
        disk.f_bavail * disk.f_frsize
    });
    let least = free[0].min(free[1]);
    if least < bytes {
        println!("skipped: throughput needs {bytes} bytes of free disk, there are {least}");
    }
    least >= bytes
}
