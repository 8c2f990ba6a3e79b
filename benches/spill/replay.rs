//! How fast a backlog leaves for a sink that costs nothing.

use spillring::Durable;
use spillring::config::SpillDurability;

use crate::door::Door;
use crate::measure::{median, notes, publish};
use crate::support::args::Args;
use crate::support::{entries, start_with};

pub(crate) fn replay(args: &Args) {
    let depth = args.choose(200_000, 2_000);
    println!(
        "\nreplay: a backlog of {depth}, entries a second\n{:<36} {:>9} {:>9} {:>9}",
        "", "median", "least", "most"
    );
    let real = entries();
    for durability in [SpillDurability::PowerLoss, SpillDurability::ProcessCrash] {
        let name = format!("real entries, {durability:?}");
        rounds(&name, args, durability, || {
            let block: Vec<_> = real.iter().cycle().take(depth).cloned().collect();
            block.into_iter()
        });
    }
    rounds(
        "300 bytes, PowerLoss",
        args,
        SpillDurability::PowerLoss,
        || notes(depth as u64),
    );
}

/// Spills a backlog and lets it leave, some times. The first time warms up.
fn rounds<E: Durable, B: ExactSizeIterator<Item = E>>(
    name: &str,
    args: &Args,
    durability: SpillDurability,
    backlog: impl Fn() -> B,
) {
    let door = Door::default();
    let (drainer, _dir) = start_with(door.clone(), |config| {
        config.spill_durability = durability;
        config.spill_bytes_max = 64 << 30;
        config.backoff_max = std::time::Duration::from_millis(100);
    });
    let mut rates = Vec::new();
    for _ in 0..=args.choose(7, 1) {
        publish(&drainer.publisher(), backlog());
        door.open_for(drainer.stats().spilled);
        rates.push(door.rate());
    }
    let rates = &rates[1..];
    println!(
        "{name:<36} {:>9.0} {:>9.0} {:>9.0}",
        median(rates),
        rates.iter().copied().fold(f64::MAX, f64::min),
        rates.iter().copied().fold(0.0, f64::max)
    );
}
