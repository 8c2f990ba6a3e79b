//! Whether `publish` feels the disk: paced calls while the spill appends and syncs, beside the same while nothing does.

use quanta::Clock;
use spillring::{AuditEntry, Drainer};

use crate::measure::{median, publish, shuffled};
use crate::support::args::Args;
use crate::support::bench::eventually;
use crate::support::latency::{BLOCK, Latencies, head, latencies, paced, pass, row, settle};
use crate::support::{Away, Free, entries, start, start_with};

/// The median over the blocks of their 99.9th percentiles.
fn typical(blocks: &[Latencies]) -> f64 {
    let tails = blocks
        .iter()
        .map(|block| block.value_at_quantile(0.999) as f64);
    median(&tails.collect::<Vec<_>>())
}

fn pooled(blocks: &[Latencies]) -> Latencies {
    let mut all = latencies();
    for block in blocks {
        all.add(block).expect("equal bounds");
    }
    all
}

pub(crate) fn sync(args: &Args) {
    let rounds = args.choose(60, 1);
    let (clock, entries) = (Clock::new(), entries());
    let block = || -> Vec<AuditEntry> { entries.iter().cycle().take(BLOCK).cloned().collect() };
    let running: [(_, (Drainer<AuditEntry>, _)); 3] = [
        ("publish, idle", start(Free)),
        ("publish, idle again", start(Free)),
        (
            "publish, appending and syncing",
            start_with(Away, |config| config.spill_bytes_max = 64 << 30),
        ),
    ];
    // A flush before the sink has answered its first question goes through the disk.
    for (_, (drainer, _)) in &running[..2] {
        drainer.publisher().publish(entries[0].clone());
        eventually("the sink takes entries", || drainer.stats().delivered > 0);
    }
    for (_, (drainer, _)) in &running {
        publish(&drainer.publisher(), block().into_iter());
    }
    let mut nothing = Vec::new();
    let mut results: [Vec<Latencies>; 3] = Default::default();
    let mut appended = 0;
    for _ in 0..rounds {
        let mut empty = latencies();
        paced(&clock, block(), &mut empty, pass);
        nothing.push(empty);
        for turn in shuffled(running.len()) {
            let publisher = running[turn].1.0.publisher();
            let before = publisher.stats().appended;
            let mut result = latencies();
            paced(&clock, block(), &mut result, |entry| {
                publisher.publish(entry);
            });
            appended += publisher.stats().appended - before;
            results[turn].push(result);
            settle(&publisher);
        }
    }
    head("sync: one call per microsecond, service time");
    row("nothing (clock and machine)", &pooled(&nothing));
    for ((name, _), blocks) in running.iter().zip(&results) {
        row(name, &pooled(blocks));
    }
    let [idle, again, syncing] = results.each_ref().map(|blocks| typical(blocks));
    println!(
        "p99.9, median of {rounds} blocks: idle {idle:.0}, again {again:.0} ({:.2}), syncing {syncing:.0} ({:.2}); \
         {appended} appended during the calls",
        again / idle,
        syncing / idle
    );
    assert_eq!(running[0].1.0.stats().appended, 0, "idle is not idle");
}
