//! How fast real entries go to disk with the sink away, beside plain rusqlite with the same rows in the same database,
//! and how fast they come out again.

use spillring::AuditEntry;
use spillring::config::SpillDurability;

use crate::door::Door;
use crate::ear::Appends;
use crate::measure::{median, publish, shuffled};
use crate::plain::{Plain, ROWS};
use crate::support::args::Args;
use crate::support::{entries, start_with};

/// Rows of a turn: fifty transactions, less than the ring holds.
const BLOCK: usize = 50 * ROWS;

/// The plain one twice: any difference between equals is noise.
const NAMES: [&str; 4] = [
    "plain rusqlite",
    "plain rusqlite again",
    "spillring, the transactions alone",
    "spillring, publish to flushed",
];

pub(crate) fn append(args: &Args) {
    for durability in [SpillDurability::PowerLoss, SpillDurability::ProcessCrash] {
        beside_plain(durability, args);
    }
}

fn beside_plain(durability: SpillDurability, args: &Args) {
    let (rounds, block) = args.choose((11, BLOCK), (1, 2 * ROWS));
    let entries = entries();
    let door = Door::default();
    let mut plain = Plain::new(durability);
    Appends::now();
    let (drainer, _dir) = start_with(door.clone(), |config| {
        config.spill_durability = durability;
        config.spill_bytes_max = 64 << 30;
    });
    let publisher = drainer.publisher();
    let mut rates: [Vec<f64>; 4] = Default::default();
    let mut transactions = 0;
    // The first round warms all of them up.
    for _ in 0..=rounds {
        for turn in shuffled(3) {
            match turn {
                2 => {
                    let batch: Vec<AuditEntry> =
                        entries.iter().cycle().take(block).cloned().collect();
                    let before = Appends::now();
                    rates[3].push(publish(&publisher, batch.into_iter()));
                    let new = before.since();
                    rates[2].push(block as f64 / new.seconds);
                    transactions += new.transactions;
                }
                equal => rates[equal].push(plain.insert(block)),
            }
        }
    }
    println!("\nappend, {durability:?}: rows a second, {rounds} turns of {block}");
    print(&rates.map(|rates| rates[1..].to_vec()));
    let spilled = drainer.stats().spilled;
    door.open_for(spilled);
    println!(
        "{:.0} rows a transaction; all {spilled} replayed at {:.0}/s",
        ((rounds + 1) * block) as f64 / transactions as f64,
        door.rate()
    );
}

fn print(rates: &[Vec<f64>; 4]) {
    println!(
        "{:<36} {:>9} {:>9} {:>9} {:>9}",
        "", "median", "least", "most", "/ plain"
    );
    let base = median(&[&rates[0][..], &rates[1]].concat());
    for (name, rates) in NAMES.iter().zip(rates) {
        let least = rates.iter().copied().fold(f64::MAX, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        let middle = median(rates);
        println!(
            "{name:<36} {middle:>9.0} {least:>9.0} {most:>9.0} {:>9.2}",
            middle / base
        );
    }
}
