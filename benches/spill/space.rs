//! Whether the spill gives its disk back: how large its directory is while a backlog leaves, when the last entry has
//! been delivered, and from then on.

use std::path::Path;
use std::time::{Duration, Instant};

use spillring::{Drainer, Stats};

use crate::door::Door;
use crate::measure::{Note, mib, notes, publish, room_for, size};
use crate::support::args::Args;
use crate::support::bench::eventually;
use crate::support::start_with;

/// How long the files are watched at most.
const WATCH_MAX: Duration = Duration::from_secs(60);
/// They are at rest once they have not changed for so long.
const REST: Duration = Duration::from_secs(10);
/// A smaller change is no change: a status file may be a few bytes longer.
const CHANGE: u64 = 64 << 10;
const POLL: Duration = Duration::from_millis(20);
/// The directory must fall below this size.
const SMALL: u64 = 64 << 20;
/// Steps in which the backlog's leaving is shown.
const STEPS: u64 = 4;

pub(crate) fn space(args: &Args) {
    let rows = args.rows.unwrap_or(args.choose(1_000_000, 20_000));
    if !room_for(rows) {
        return;
    }
    let door = Door::default();
    let (drainer, dir): (Drainer<Note>, _) = start_with(door.clone(), |config| {
        config.spill_bytes_max = 64 << 30;
        config.backoff_max = Duration::from_millis(100);
    });
    let spill = dir.path().join("spill");
    publish(&drainer.publisher(), notes(rows));
    println!("\nspace: {rows} entries of 300 bytes in and out; MiB of the spill's directory");
    println!("{:>26} {:>8.1}", "all on disk", mib(size(&spill)));
    door.open_for(u64::MAX);
    for step in 1..=STEPS {
        let left = rows * (STEPS - step) / STEPS;
        eventually("the backlog leaves", || {
            let Stats { spilled, .. } = drainer.stats();
            spilled <= left
        });
        let name = format!("{} % delivered", 100 * step / STEPS);
        println!("{name:>26} {:>8.1}", mib(size(&spill)));
    }
    let (watch, rest) = args.choose((WATCH_MAX, REST), (REST, Duration::from_secs(1)));
    until_rest(&spill, watch, rest);
}

/// Prints each change of the size, until there is none any more, and when it was small.
fn until_rest(spill: &Path, watch: Duration, rest: Duration) {
    let begin = Instant::now();
    let (mut last, mut changed, mut small) = (u64::MAX, begin, None);
    while changed.elapsed() < rest && begin.elapsed() < watch {
        let now = size(spill);
        if now < SMALL {
            small.get_or_insert(begin.elapsed());
        }
        if now.abs_diff(last) >= CHANGE {
            let name = format!("{:.2} s after that", begin.elapsed().as_secs_f64());
            println!("{name:>26} {:>8.1}", mib(now));
            (last, changed) = (now, Instant::now());
        }
        std::thread::sleep(POLL);
    }
    match small {
        Some(after) => println!("below 64 MiB after {:.2} s", after.as_secs_f64()),
        None => println!(
            "not below 64 MiB within {:.0} s",
            begin.elapsed().as_secs_f64()
        ),
    }
}
