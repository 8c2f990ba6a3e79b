//! The latency of publishing: percentiles and a histogram.

use std::fmt::Write;

use indicatif::HumanCount;

use crate::latency::{Percentiles, Stopwatch};

/// Upper bounds of the histogram's buckets, in nanoseconds.
const STEPS_NS: [u64; 11] = [
    25,
    50,
    100,
    200,
    400,
    800,
    1_600,
    10_000,
    100_000,
    1_000_000,
    u64::MAX,
];

/// The width of the longest bar.
const BAR_MAX: u64 = 36;

/// Percentiles of publishing and of the clock, and a histogram; `full` calls found no room.
pub(super) fn describe(times: &Stopwatch, full: u64, clock: &Stopwatch) -> String {
    let mut text = format!(
        "\nEach of {} calls timed; {} found the ring full and were made again.\n\n",
        HumanCount(times.count()),
        HumanCount(full)
    );
    text += &row("", ["p50", "p90", "p99", "p99.9", "max"].map(str::to_owned));
    text += &row("publish", durations(times.percentiles()));
    text += &row("clock alone", durations(clock.percentiles()));
    text.push('\n');
    text += &histogram(times);
    text
}

fn row(name: &str, cells: [String; 5]) -> String {
    let [p50, p90, p99, p99_9, max] = cells;
    format!("{name:>12}{p50:>10}{p90:>10}{p99:>10}{p99_9:>10}{max:>10}\n")
}

fn durations(percentiles: Percentiles) -> [String; 5] {
    let Percentiles {
        p50,
        p90,
        p99,
        p99_9,
        max,
    } = percentiles;
    [p50, p90, p99, p99_9, max].map(duration)
}

fn histogram(times: &Stopwatch) -> String {
    let mut from = 0;
    let counts = STEPS_NS.map(|to| {
        let count = times.count_between(from, to);
        let name = if to == u64::MAX {
            format!("from {}", duration(from))
        } else {
            format!("below {}", duration(to))
        };
        from = to;
        (name, count)
    });
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut text = String::new();
    for (name, count) in counts {
        let bar = "█".repeat(usize::try_from(count * BAR_MAX / most.max(1)).unwrap_or(0));
        let bar = if bar.is_empty() && count > 0 {
            "▏".to_owned()
        } else {
            bar
        };
        let line = format!(
            "{name:>14}  {bar:<36}  {:>9}",
            HumanCount(count).to_string()
        );
        writeln!(text, "{line}").unwrap_or_default();
    }
    text
}

/// In ns, µs or ms, with at least two digits.
fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} µs", ns / 1_000),
        _ => format!("{} ms", ns / 1_000_000),
    }
}
