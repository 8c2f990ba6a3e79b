//! Whether a sink elsewhere feels that the spill's disk is frozen: 30,000 entries a second for some seconds, in turns
//! with and without a disk on which every call hangs. Nothing is in the spill when a turn begins.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use spillring::{Drainer, Publisher};

use crate::door::Door;
use crate::measure::{Note, median, millis, shuffled};
use crate::shim::Shim;
use crate::shimmed::{freeze, with_shim};
use crate::support::args::Args;
use crate::support::bench::eventually;
use crate::support::start_with;

/// 30,000 a second.
const PER_MILLISECOND: u64 = 30;

/// What the sink got in the turns of one kind.
#[derive(Debug, Default)]
struct Taken {
    /// Entries a second.
    rates: Vec<f64>,
    /// The longest time without a delivery.
    silences: Vec<f64>,
    /// Entries that `publish` dropped because the ring was full.
    lost: u64,
}

pub(crate) fn frozen(args: &Args) {
    with_shim("frozen", |shim| measure(shim, args));
}

fn measure(shim: &Shim, args: &Args) {
    let (rounds, length) =
        args.choose((3, Duration::from_secs(5)), (1, Duration::from_millis(300)));
    let door = Door::open();
    let (drainer, dir): (Drainer<Note>, _) = start_with(door.clone(), |_| {});
    let spill = dir.path().join("spill");
    let mut kinds: [Taken; 2] = Default::default();
    for _ in 0..rounds {
        for turn in shuffled(kinds.len()) {
            let frozen = (turn == 1).then_some((shim, spill.as_path()));
            kinds[turn].take(frozen, &drainer, &door, length);
        }
    }
    println!(
        "\nfrozen: 30,000 published a second, {rounds} turns of {length:?}\n{:<24} {:>9} {:>9} {:>20} {:>9}",
        "", "sink/s", "least", "longest silence, ms", "lost"
    );
    for (name, taken) in ["disk as it is", "disk frozen"].iter().zip(&kinds) {
        println!(
            "{name:<24} {:>9.0} {:>9.0} {:>20.1} {:>9}",
            median(&taken.rates),
            taken.rates.iter().copied().fold(f64::MAX, f64::min),
            taken.silences.iter().copied().fold(0.0, f64::max),
            taken.lost
        );
    }
    let [usual, frozen] = kinds.each_ref().map(|taken| median(&taken.rates));
    println!("frozen / as it is: {:.2}", frozen / usual);
}

impl Taken {
    /// Freezes the disk for one turn if `frozen` is given.
    fn take(
        &mut self,
        frozen: Option<(&Shim, &Path)>,
        drainer: &Drainer<Note>,
        door: &Door,
        length: Duration,
    ) {
        let fault = frozen.map(|(shim, spill)| freeze(shim, spill));
        let before = drainer.stats();
        door.open_for(u64::MAX);
        publish_at_rate(&drainer.publisher(), length);
        let (passed, silence) = door.seen();
        drop(fault);
        self.rates.push(passed as f64 / length.as_secs_f64());
        self.silences.push(millis(silence));
        eventually("the rest is delivered", || {
            let stats = drainer.stats();
            stats.delivered == stats.accepted
        });
        self.lost += drainer.stats().lost.total() - before.lost.total();
    }
}

fn publish_at_rate(publisher: &Publisher<Note>, length: Duration) {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < length {
        let due = u64::try_from(begin.elapsed().as_millis()).expect("a short time") + 1;
        while count < due * PER_MILLISECOND {
            publisher.publish(Note::new(count));
            count += 1;
        }
        let next = begin + Duration::from_millis(due);
        sleep(next.saturating_duration_since(Instant::now()));
    }
}
