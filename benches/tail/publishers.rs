//! Several publishers at once: each thread with its own handle, its own share of the block, and its own histogram.
//!
//! Spillring and the bare queue run in pairs, and each twice in a pair, in an order by chance. The ratio is taken in
//! each pair; the ratios of one candidate to itself show how much equal runs differ.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use spillring::AuditEntry;

use crate::figure::{Part, Row, print_table};
use crate::lane::{Lane, Rig, Role};
use crate::machine::{Machine, Noise};
use crate::ours::{Gets, ours};
use crate::outlives::packed;
use crate::rounds::{Context, order};
use crate::shipped::bare;
use crate::support::Free;
use crate::times::{Latencies, Sender, Shape, Times, drive, latencies};

/// Pairs, and blocks in each run of a pair.
const PAIRS: usize = 12;
const BLOCKS: usize = 3;
const IDLE: Duration = Duration::from_millis(20);

pub(crate) fn publishers(context: &Context, machine: &Machine) {
    let mut part = Part::new("publishers", machine);
    for threads in [2, 4] {
        let paced = Shape::Paced(Duration::from_micros(10));
        for shape in [Shape::Saturated, paced] {
            pairs(context, &mut part, threads, shape);
        }
    }
    part.finish();
}

/// One run of a pair: what all threads' calls took, and what was taken from the threads.
#[derive(Debug)]
struct Run {
    service: Latencies,
    noise: Noise,
}

fn pairs(context: &Context, part: &mut Part, threads: usize, shape: Shape) {
    let mut bare = bare();
    let mut ours = ours("spillring", Free, Gets::Everything, |_| {});
    let mut file = packed();
    let calls = context
        .args
        .samples
        .unwrap_or(1_000_000)
        .div_ceil(PAIRS * context.block());
    let blocks = context.args.choose(calls.max(BLOCKS), 1);
    let names = [
        "ArrayQueue, polled",
        "ArrayQueue, polled, again",
        "spillring",
        "spillring, again",
        "ring_dir, publish_packed",
    ];
    let roles = [
        Role::Bare,
        Role::Other,
        Role::Ours,
        Role::Other,
        Role::Other,
    ];
    let mut rows: Vec<_> = names
        .iter()
        .zip(roles)
        .map(|(name, role)| Row::new(name, role))
        .collect();
    let mut runs: [Vec<Latencies>; 5] = Default::default();
    run(context, &mut bare, threads, shape, 1);
    run(context, &mut ours, threads, shape, 1);
    run(context, &mut file, threads, shape, 1);
    for _ in 0..context.args.choose(PAIRS, 2) {
        for turn in order(5) {
            let run = match turn {
                0 | 1 => run(context, &mut bare, threads, shape, blocks),
                4 => run(context, &mut file, threads, shape, blocks),
                _ => run(context, &mut ours, threads, shape, blocks),
            };
            rows[turn].merge(&run.service);
            rows[turn].add_noise(run.noise);
            runs[turn].push(run.service);
        }
    }
    let title = format!("{threads} at once, each {}", shape.title());
    part.figure(&title, &format!("{threads}-{}", shape.slug()), &rows);
    println!(
        "\n{title}: ratios in each of {} pairs, their median, least and most\n",
        runs[0].len()
    );
    let mut table = vec![["", "p50", "p99", "p99.9"].map(str::to_owned).to_vec()];
    for (name, above, below) in [
        ("spillring / ArrayQueue", 2, 0),
        ("ArrayQueue again / ArrayQueue", 1, 0),
        ("spillring again / spillring", 3, 2),
        ("ring_dir / spillring", 4, 2),
    ] {
        let mut line = vec![name.to_owned()];
        line.extend(
            [0.5, 0.99, 0.999].map(|quantile| ratios(&runs[above], &runs[below], quantile)),
        );
        table.push(line);
    }
    print_table(&table);
}

fn ratios(above: &[Latencies], below: &[Latencies], quantile: f64) -> String {
    let at = |run: &Latencies| run.value_at_quantile(quantile).max(1) as f64;
    let mut ratios: Vec<_> = above
        .iter()
        .zip(below)
        .map(|(a, b)| at(a) / at(b))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    format!("{:.2} ({least:.2} to {most:.2})", ratios[ratios.len() / 2])
}

/// Blocks whose calls are shared out to so many threads, which begin together.
fn run<S>(context: &Context, rig: &mut Rig<S>, threads: usize, shape: Shape, blocks: usize) -> Run
where
    S: Sender<Item = AuditEntry> + Clone + Send + Sync,
{
    let mut run = Run {
        service: latencies(),
        noise: Noise::default(),
    };
    let each = context.block() / threads;
    for _ in 0..blocks {
        let shares: Vec<_> = (0..threads).map(|_| context.entries(each)).collect();
        rig.wake();
        if let Some(receipts) = rig.receipts() {
            receipts.clear();
        }
        let barrier = Barrier::new(threads);
        let mut steal_ms = 0;
        let (sender, barrier) = (&rig.sender, &barrier);
        thread::scope(|scope| {
            let running: Vec<_> = shares
                .into_iter()
                .map(|entries| {
                    scope.spawn(move || publish(context, sender, shape, barrier, entries))
                })
                .collect();
            for thread in running {
                let (service, noise) = thread.join().expect("a publisher");
                run.service.add(&service).expect("equal bounds");
                run.noise.switches += noise.switches;
                steal_ms = noise.steal_ms.max(steal_ms);
            }
        });
        run.noise.steal_ms += steal_ms;
        rig.settle(each * threads);
        rig.rest();
    }
    run
}

/// One thread's share.
fn publish<S: Sender<Item = AuditEntry> + Clone>(
    context: &Context,
    sender: &S,
    shape: Shape,
    barrier: &Barrier,
    entries: Vec<AuditEntry>,
) -> (Latencies, Noise) {
    let (mut sender, mut times) = (sender.clone(), Times::default());
    thread::sleep(IDLE);
    barrier.wait();
    let noise = Noise::now();
    drive(&context.clock, shape, &mut sender, entries, &mut times);
    let noise = noise.since();
    let mut service = latencies();
    for call in &times.calls {
        service.saturating_record(call.service(&context.clock));
    }
    (service, noise)
}
