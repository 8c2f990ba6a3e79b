//! Service times of paced calls: how they are measured, and how they are reported.

use std::time::Duration;

use hdrhistogram::Histogram;
use quanta::Clock;
use spillring::{Event, Publisher};

/// Half of the ring: what one block publishes.
pub(crate) const BLOCK: usize = 32_000;
/// One call per microsecond.
pub(crate) const PACE: Duration = Duration::from_micros(1);

pub(crate) type Latencies = Histogram<u64>;

pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds")
}

pub(crate) fn head(title: &str) {
    println!("\n{title}");
    println!(
        "{:<34} {:>9} {:>7} {:>7} {:>7} {:>8} {:>8} {:>10}",
        "ns", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
}

pub(crate) fn row(name: &str, histogram: &Latencies) {
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

/// Calls `push` with each entry, one per [`PACE`], and records how long each call took.
pub(crate) fn paced<E>(
    clock: &Clock,
    block: Vec<E>,
    into: &mut Latencies,
    mut push: impl FnMut(E),
) {
    let pace = u64::try_from(PACE.as_nanos()).expect("a short pace");
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

/// The call that does nothing: the noise floor of clock and machine.
pub(crate) fn pass<E>(entry: E) {
    std::hint::black_box(&entry);
    std::mem::forget(entry);
}

/// Waits until all that was published is delivered or on disk; nothing may have been lost.
pub(crate) fn settle<E: Event>(publisher: &Publisher<E>) {
    publisher
        .flush()
        .wait(Duration::from_secs(60))
        .expect("a flush");
    assert_eq!(publisher.stats().lost.total(), 0, "the ring was full");
}
