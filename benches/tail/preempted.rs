//! The drainer preempted by a busy neighbour: the publisher has one core, and spillring's threads share another with a
//! thread that spins; the same for the bare queue's receiver.
//!
//! Once with room; and once with both full, the publisher trying again and again while the receiver pops. There a bare
//! queue's push waits for a receiver that was preempted in the middle of a pop, until the scheduler lets it go on; the
//! gate before spillring's ring refuses instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
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
/// After so many calls, or a long one, it is asked whether the publisher lost its core since it was asked last.
const LOOK: u32 = 4_096;

pub(crate) fn preempted(context: &Context, machine: &Machine) {
    let all = cores();
    let [first, second, ..] = all[..] else {
        println!("skipped: preempted (it needs two cores)");
        return;
    };
    let mut part = Part::new("preempted", machine);
    let _neighbour = Neighbour::start(second);
    room(context, &mut part, [first, second], &all);
    full(context, &mut part, [first, second], &all);
    part.finish();
}

/// Spins on a core until it is dropped.
struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start(core: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&stop);
        let spin = move || {
            pin(None, &[core]);
            while !its.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        Self {
            stop,
            thread: Some(thread::spawn(spin)),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only spins");
        }
    }
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
    context.warm_up(&mut lanes);
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
    let mut held = [0; 3];
    for _ in 0..context.args.choose(100, 2) {
        for turn in order(rows.len()) {
            match turn {
                0 => held[0] += retry(context, &mut nothing, &mut rows[0]),
                1 => held[1] += retry(context, &mut bare, &mut rows[1]),
                _ => held[2] += retry(context, &mut ours, &mut rows[2]),
            }
        }
    }
    pin(None, all);
    part.figure("full, tried again and again", "full", &rows);
    println!(
        "\ncalls of 1 ms or more, and those of them in which the publisher had its core all the time:"
    );
    for (row, held) in rows.iter().zip(held) {
        let long = row.service.count_between(SLICE, u64::MAX);
        println!("  {}: {long}, {held}", row.name);
    }
}

/// Fills the queue while its receiver rests (spillring's cannot), then times calls, each with an entry until it is
/// taken. Answers how many took long though the scheduler did not take the core from the publisher.
fn retry<S: Sender<Item = AuditEntry>>(context: &Context, rig: &mut Rig<S>, row: &mut Row) -> u64 {
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
    let (mut switches, mut held) = (noise.switches, 0);
    let mut next = entries.next();
    for count in 1_u32.. {
        let Some(entry) = next else { break };
        let (call, left) = timed(clock, &mut rig.sender, entry, 0, 0);
        let took = call.service(clock);
        row.service.saturating_record(took);
        if took >= SLICE || count.is_multiple_of(LOOK) {
            let now = Noise::now().switches;
            held += u64::from(took >= SLICE && now == switches);
            switches = now;
        }
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
    held
}
