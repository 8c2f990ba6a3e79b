//! What encryption costs: two publishers, one with a key, take turns spilling and replaying the same entries.

use spillring::AuditEntry;
use spillring::config::SpillKey;

use crate::door::Door;
use crate::ear::Appends;
use crate::measure::{median, publish, shuffled};
use crate::support::args::Args;
use crate::support::{entries, start_with};

/// Fewer than the ring holds.
const BLOCK: usize = 51_200;

const NAMES: [&str; 3] = ["the transactions alone", "publish to flushed", "replayed"];

/// The plain one twice: any difference between equals is noise.
const PUBLISHERS: [&str; 3] = ["plain", "plain again", "encrypted"];

pub(crate) fn encrypted(args: &Args) {
    let (rounds, block) = args.choose((15, BLOCK), (1, 2_048));
    let entries = entries();
    Appends::now();
    let publishers = [None, None, Some(SpillKey::new([7; 32]))].map(|key| {
        let door = Door::default();
        let (drainer, dir) = start_with(door.clone(), |config| {
            config.spill_key = key;
            config.spill_bytes_max = 64 << 30;
            config.backoff_max = std::time::Duration::from_millis(100);
        });
        (door, drainer, dir)
    });
    let mut rates: [[Vec<f64>; 3]; 3] = Default::default();
    // The first round warms all of them up.
    for round in 0..=rounds {
        for turn in shuffled(3) {
            let (door, drainer, _) = &publishers[turn];
            let batch: Vec<AuditEntry> = entries.iter().cycle().take(block).cloned().collect();
            let before = Appends::now();
            let flushed = publish(&drainer.publisher(), batch.into_iter());
            let alone = block as f64 / before.since().seconds;
            door.open_for(drainer.stats().spilled);
            let replayed = door.rate();
            if round > 0 {
                for (rates, rate) in rates[turn].iter_mut().zip([alone, flushed, replayed]) {
                    rates.push(rate);
                }
            }
        }
    }
    println!("\nencrypted: entries a second, {rounds} turns of {block}, median of the turns");
    print!("{:<26}", "");
    for name in PUBLISHERS {
        print!(" {name:>12}");
    }
    println!(" {:>12}", "/ plain");
    for (at, name) in NAMES.iter().enumerate() {
        let medians = [0, 1, 2].map(|publisher| median(&rates[publisher][at]));
        let plain = median(&[&rates[0][at][..], &rates[1][at]].concat());
        print!("{name:<26}");
        for median in medians {
            print!(" {median:>12.0}");
        }
        println!(" {:>12.2}", medians[2] / plain);
    }
}
