//! The drainer preempted by a busy neighbour: the publisher has one core, and spillring's threads share another with a
//! thread that spins; the same for the bare queue's receiver.
//!
//! Once with room; and once with both full, the publisher trying again and again while the receiver pops. There a bare
//! queue's push waits for a receiver that was preempted in the middle of a pop, until the scheduler lets it go on; the
//! gate before spillring's ring refuses instead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spillring::AuditEntry;

use crate::figure::{Part, Row};
use crate::lane::{BLOCK, CAPACITY, Lane, Rig, Role};
use crate::machine::{Machine, Noise, Threads, cores, pin};
use crate::ours::{Gets, TryPublish, ours};
use crate::rounds::{Context, order};
use crate::shipped::{Nothing, bare, nothing};
use crate::support::{Free, start_with};
use crate::times::{Sender, Shape, timed};

/// How long a turn on a full ring takes at the most: several of the scheduler's slices.
const TURN: Duration = Duration::from_millis(20);
/// A call that takes this long waited for the scheduler.
const SLICE: u64 = 1_000_000;

pub(crate) fn preempted(context: &Context, machine: &Machine) {
    let all = cores();
    let [first, second, ..] = all[..] else {
        println!("skipped: preempted (it needs two cores)");
        return;
    };
    let mut part = Part::new("preempted", machine);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(None, &[second]);
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        room(context, &mut part, [first, second], &all);
        full(context, &mut part, [first, second], &all);
        stop.store(true, Ordering::Relaxed);
    });
    part.finish();
}

/// The calling thread goes to the first core, the others to the second.
fn place<'a>(others: impl IntoIterator<Item = &'a Threads>, [first, second]: [usize; 2]) {
    for thread in others.into_iter().flat_map(Threads::ids) {
        pin(Some(thread), &[second]);
    }
    pin(None, &[first]);
}

fn room(context: &Context, part: &mut Part, two: [usize; 2], all: &[usize]) {
    let mut lanes: [Box<dyn Lane>; 3] = [
        nothing(),
        Box::new(bare()),
        Box::new(ours("spillring", Free, Gets::Everything, |_| {})),
    ];
    place(lanes.iter().map(|lane| lane.threads()), two);
    let shape = Shape::Paced(Duration::from_micros(1));
    let rows = context.blocks(&mut lanes, shape);
    pin(None, all);
    part.figure(&format!("with room, {}", shape.title()), "room", &rows);
}

fn full(context: &Context, part: &mut Part, two: [usize; 2], all: &[usize]) {
    let mut nothing = Rig::alone("nothing", Role::Floor, Nothing);
    let mut bare = bare();
    let (drainer, _dir) = start_with(Free, |config| config.spill_bytes_max = 64 << 30);
    let mut ours = Rig {
        threads: Threads::Named("spillring-"),
        ..Rig::alone("spillring", Role::Ours, TryPublish(drainer.publisher()))
    };
    let mut rows = [
        Row::new("nothing", Role::Floor),
        Row::new("ArrayQueue, polled", Role::Bare),
        Row::new("spillring, try_publish", Role::Ours),
    ];
    place([&bare.threads, &ours.threads], two);
    for _ in 0..context.args.choose(150, 2) {
        for turn in order(rows.len()) {
            match turn {
                0 => retry(context, &mut nothing, &mut rows[0]),
                1 => retry(context, &mut bare, &mut rows[1]),
                _ => retry(context, &mut ours, &mut rows[2]),
            }
        }
    }
    pin(None, all);
    part.figure("full, tried again and again", "full", &rows);
    println!("\ncalls of 1 ms or more (the publisher's own switches stand in the table):");
    for row in &rows {
        let long = row.service.count_between(SLICE, u64::MAX);
        println!("  {}: {long}", row.name);
    }
}

/// Fills the queue while its receiver rests (spillring's cannot), then times calls, each with an entry until it is taken.
fn retry<S: Sender<Item = AuditEntry>>(context: &Context, rig: &mut Rig<S>, row: &mut Row) {
    let clock = &context.clock;
    for entry in context.entries(2 * CAPACITY) {
        if rig.sender.send(entry).is_some() {
            break;
        }
    }
    let mut entries = context.entries(BLOCK).into_iter();
    let mut refused = 0;
    rig.wake();
    let (noise, begin) = (Noise::now(), Instant::now());
    let mut next = entries.next();
    while let Some(entry) = next {
        let (call, left) = timed(clock, &mut rig.sender, entry, 0, 0);
        row.service.saturating_record(call.service(clock));
        refused += u64::from(left.is_some());
        next = left
            .or_else(|| entries.next())
            .filter(|_| begin.elapsed() < TURN);
    }
    row.add_noise(noise.since());
    rig.rest();
    if row.role != Role::Floor {
        *row.refused.get_or_insert_default() += refused;
    }
}
