//! How long the drainer goes without a look at its ring, seen from outside.
//!
//! A look itself cannot be seen. A full ring that gets room proves one, but the drainer may look and have nowhere to
//! put an entry. So this watches turns: at each turn the drainer looks at its ring, and then reports its stats. The
//! look is left out only while entries gather, for a millisecond at most. Hence two different reports have a turn, and
//! a look, between them, give or take that millisecond.
//!
//! Reports keep changing as long as there are turns. A trickle of one entry a millisecond sees to it: either entries
//! move on and change the counts, or the oldest of them waits and its age grows, which the report gives in
//! milliseconds. There is one exception: with a backlog whose oldest entry the spill does not know at the moment, the
//! trickle may wait in the ring, and turns change nothing. The observer is *blind* then. That time is printed and is
//! part of neither result: a stall in it would not be seen.
//!
//! An observer asks for the report ten times a millisecond. It can be kept from its core itself, so there are two
//! results:
//!
//! - *seen*: the longest time through which it asked and got the same report;
//! - *at most*: the longest time from its last question before one change to the first after the next, its own absence
//!   included.
//!
//! An empty loop that sleeps as the observer does has gaps too: that is the scheduler's noise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use spillring::stats::Lost;
use spillring::{Publisher, Stats};

use crate::measure::{Note, millis};

/// Between two questions of the observer.
const PERIOD: Duration = Duration::from_micros(100);
/// Between two entries of the trickle.
const TRICKLE: Duration = Duration::from_millis(1);

/// The longest times of a phase.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    seen: Duration,
    at_most: Duration,
    /// How long the observer was blind, all together.
    blind: Duration,
}

/// Ends the threads that watch, also if what they watch panics.
struct Ending<'d>(&'d AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn head(title: &str) {
    println!(
        "\n{title}\n{:<44} {:>8} {:>8} {:>11} {:>8} {:>8}",
        "", "seen", "at most", "empty loop", "took, s", "blind, s"
    );
}

/// Does the work, and prints the longest times meanwhile, in milliseconds.
pub(crate) fn phase(name: &str, publisher: &Publisher<Note>, work: impl FnOnce()) {
    let (begin, done) = (Instant::now(), AtomicBool::new(false));
    let (gaps, idle) = scope(|scope| {
        let observer = scope.spawn(|| observe(publisher, &done));
        let idle = scope.spawn(|| empty_loop(&done));
        scope.spawn(|| trickle(publisher, &done));
        let ending = Ending(&done);
        work();
        drop(ending);
        let gaps = observer.join().expect("the observer");
        (gaps, idle.join().expect("the empty loop"))
    });
    println!(
        "{name:<44} {:>8.1} {:>8.1} {:>11.1} {:>8.1} {:>8.1}",
        millis(gaps.seen),
        millis(gaps.at_most),
        millis(idle),
        begin.elapsed().as_secs_f64(),
        gaps.blind.as_secs_f64()
    );
}

fn observe(publisher: &Publisher<Note>, done: &AtomicBool) -> Gaps {
    let mut gaps = Gaps::default();
    let mut report = report(publisher);
    let mut last = Instant::now();
    // When it asked last before the change that it saw last, and when it saw that.
    let (mut before, mut changed) = (last, last);
    while !done.load(Ordering::Relaxed) {
        sleep(PERIOD);
        let next = self::report(publisher);
        let now = Instant::now();
        if next == report && is_blind(&report) {
            gaps.blind += now - last;
            (before, changed) = (last, now);
        } else {
            gaps.at_most = gaps.at_most.max(now - before);
            if next == report {
                gaps.seen = gaps.seen.max(now - changed);
            } else {
                (report, before, changed) = (next, last, now);
            }
        }
        last = now;
    }
    gaps
}

/// What the drainer reported, without what the ring knows by itself.
fn report(publisher: &Publisher<Note>) -> Stats {
    let mut stats = publisher.stats();
    (stats.accepted, stats.in_ring, stats.ring_bytes) = (0, 0, 0);
    (stats.returned, stats.lost) = (0, Lost::default());
    stats
}

/// Whether turns may leave the report as it is. Without a backlog the trickle always moves.
fn is_blind(report: &Stats) -> bool {
    report.oldest_entry_age.is_none() && report.spilled > 0
}

fn empty_loop(done: &AtomicBool) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while !done.load(Ordering::Relaxed) {
        sleep(PERIOD);
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    longest
}

/// If the ring is full, entries wait, and the age of the oldest changes the report.
fn trickle(publisher: &Publisher<Note>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        drop(publisher.try_publish(Note::new(0)));
        sleep(TRICKLE);
    }
}
