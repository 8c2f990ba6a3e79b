//! Whether the spill gives its disk back once a backlog has left, and whether the ring is looked at meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use spillring::{Drainer, Publisher};

use crate::door::Door;
use crate::measure::{LIMIT, Note, mib, notes, publish, room_for, size};
use crate::support::args::Args;
use crate::support::start_with;

/// How long the files are watched at the most.
const WATCH_MAX: Duration = Duration::from_mins(1);
/// They stand still once they have not changed for so long.
const STILL: Duration = Duration::from_secs(10);
const CHANGE: u64 = 64 << 10;
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn shrink(args: &Args) {
    let rows = args.rows.unwrap_or(args.choose(1_000_000, 20_000));
    let (watch, still) = args.choose((WATCH_MAX, STILL), (2 * SECOND, SECOND));
    if !room_for(rows) {
        return;
    }
    let door = Door::default();
    let (drainer, dir): (Drainer<Note>, _) = start_with(door.clone(), |config| {
        config.spill_bytes_max = 64 << 30;
        config.backoff_max = Duration::from_millis(100);
    });
    let dir = dir.path();
    let publisher = drainer.publisher();
    // Open for good: live, with nothing on disk.
    door.open_for(u64::MAX);
    let before = probe(&publisher, still);
    door.open_for(0);
    publish(&publisher, notes(rows));
    let full = size(dir);
    door.open_for(u64::MAX);
    until_empty(&publisher);
    println!(
        "\nshrink: {rows} entries of 300 bytes in and out, {:.0} MiB with all of them\n{:>4} {:>8} {:>22}",
        mib(full),
        "s",
        "MiB",
        "longest gap so far, ms"
    );
    let gap = watch_it(&publisher, dir, watch, still);
    println!(
        "longest gap {:.1} ms; {:.1} ms before anything was spilled",
        millis(gap),
        millis(before)
    );
}

/// Tells the size each time it has changed, until it stands still. Answers the longest gap.
fn watch_it(publisher: &Publisher<Note>, dir: &Path, watch: Duration, still: Duration) -> Duration {
    let begin = Instant::now();
    let (mut gap, mut last, mut changed) = (Duration::ZERO, 0, begin);
    loop {
        let now = size(dir);
        // A status file that is a few bytes longer is no change.
        if now.abs_diff(last) >= CHANGE {
            println!(
                "{:>4.0} {:>8.1} {:>22.1}",
                begin.elapsed().as_secs_f64(),
                mib(now),
                millis(gap)
            );
            (last, changed) = (now, Instant::now());
        }
        if changed.elapsed() >= still || begin.elapsed() >= watch {
            println!(
                "{:.1} MiB after {:.0} s",
                mib(now),
                begin.elapsed().as_secs_f64()
            );
            return gap;
        }
        gap = gap.max(probe(publisher, SECOND));
    }
}

/// Publishes an entry a millisecond for so long, and answers the longest time from a call to the delivery: within the
/// polling of ring and stats, how long the drainer did not look at its ring.
fn probe(publisher: &Publisher<Note>, during: Duration) -> Duration {
    let begin = Instant::now();
    let mut gap = Duration::ZERO;
    while begin.elapsed() < during {
        let goal = publisher.stats().delivered + 1;
        let called = Instant::now();
        publisher.try_publish(Note::new(0)).expect("room");
        while publisher.stats().delivered < goal {
            assert!(called.elapsed() < LIMIT, "nothing is delivered");
            std::thread::sleep(Duration::from_micros(50));
        }
        gap = gap.max(called.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    gap
}

fn until_empty(publisher: &Publisher<Note>) {
    let begin = Instant::now();
    while publisher.stats().spilled > 0 {
        assert!(begin.elapsed() < LIMIT, "the backlog does not leave");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
