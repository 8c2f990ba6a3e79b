//! What `publish` costs while the sink is up, free, away or hanging, while the ring is full, and while the drainer
//! sleeps; each beside the empty region and a bare queue whose receiver polls, under the same load and in turns with
//! it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use spillring::{AuditEntry, JetStreamSink, NatsConfig, Sink};

use crate::figure::Part;
use crate::lane::{CAPACITY, LIMIT, Lane, Rig, Role};
use crate::machine::Machine;
use crate::ours::{Gets, Publish, TryPublish, ours};
use crate::rounds::Context;
use crate::shipped::{Queue, bare, nothing, sends_entries};
use crate::support::{Away, Free, Stalled, start_with};
use crate::times::{Sender, Shape};
use test_support::nats::NatsServer;

const PACE: Shape = Shape::Paced(Duration::from_micros(1));
/// How long nobody has published anything when a call finds the drainer asleep: twice its longest pause.
const SILENCE: Duration = Duration::from_millis(16);

pub(crate) fn conditions(context: &Context, machine: &Machine) {
    let mut part = Part::new("conditions", machine);
    // It panics with the reason where no server can be had.
    match std::panic::catch_unwind(NatsServer::start) {
        Ok(server) => {
            let mut config = NatsConfig::default();
            config.urls = vec![server.url().as_str().into()];
            let sink = JetStreamSink::new(config).expect("sound settings");
            with(context, &mut part, "sink up", sink, Gets::Everything);
        }
        Err(_) => println!("skipped: sink up (no nats-server)"),
    }
    with(context, &mut part, "sink free", Free, Gets::Everything);
    with(context, &mut part, "sink down", Away, Gets::Nothing);
    with(context, &mut part, "sink stalled", Stalled, Gets::Nothing);
    full(context, &mut part);
    asleep(context, &mut part);
    part.finish();
}

fn with(context: &Context, part: &mut Part, name: &str, sink: impl Sink, gets: Gets) {
    let mut lanes: [Box<dyn Lane>; 3] = [
        nothing(),
        Box::new(bare()),
        Box::new(ours("spillring", sink, gets, |config| {
            config.spill_bytes_max = 64 << 30;
        })),
    ];
    context.warm_up(&mut lanes);
    let rows = context.blocks(&mut lanes, PACE);
    let title = format!("{name}, {}", PACE.title());
    part.figure(&title, &name.replace(' ', "-"), &rows);
}

/// A bare queue from which a refused entry is dropped in the call, as `publish` does.
#[derive(Debug)]
struct Drops(Queue);

sends_entries!(Drops, |queue, entry| {
    drop(queue.0.push(entry));
    None
});

/// Every call is refused: the sink never answers and the spill is at its cap, so nothing leaves the ring. Nothing
/// leaves the bare queue either.
fn full(context: &Context, part: &mut Part) {
    let (drainer, _dir) = start_with(Stalled, |config| config.spill_bytes_max = 1 << 20);
    let publisher = drainer.publisher();
    let fill = context.entries(4 * CAPACITY);
    // What the cap lets out of the ring makes room for a while: until there is none for long enough.
    for entry in fill {
        let refused = publisher.publish_timeout(entry, Duration::from_millis(500));
        if refused.is_err() {
            break;
        }
    }
    let queue = Arc::new(ArrayQueue::new(CAPACITY));
    for entry in context.entries(CAPACITY) {
        queue.push(entry).expect("room");
    }
    let before = drainer.stats();
    let mut lanes: [Box<dyn Lane>; 5] = [
        nothing(),
        Box::new(Rig::alone(
            "ArrayQueue, handed back",
            Role::Bare,
            Arc::clone(&queue),
        )),
        Box::new(Rig::alone("ArrayQueue, dropped", Role::Other, Drops(queue))),
        Box::new(Rig::alone(
            "try_publish",
            Role::Ours,
            TryPublish(publisher.clone()),
        )),
        Box::new(Rig::alone("publish", Role::Ours, Publish(publisher))),
    ];
    let rows = context.blocks(&mut lanes, PACE);
    let after = drainer.stats();
    assert_eq!(after.accepted, before.accepted, "the ring was not full");
    let title = format!("ring full, every call refused, {}", PACE.title());
    part.figure(&title, "ring-full", &rows);
    drop(drainer.shutdown(Duration::ZERO).wait(LIMIT));
}

/// Each call is the first after a silence: queue empty, receiver asleep, publisher just woken.
fn asleep(context: &Context, part: &mut Part) {
    let mut lanes: [Box<dyn Lane>; 3] = [
        nothing(),
        Box::new(bare()),
        Box::new(ours("spillring", Free, Gets::Everything, |_| {})),
    ];
    context.warm_up(&mut lanes);
    let (rows, noise) = context.in_turns(&mut lanes, SILENCE, context.samples(3_000, 20));
    let title = format!("drainer asleep, {}", Shape::Paced(SILENCE).title());
    part.figure(&title, "drainer-asleep", &rows);
    println!(
        "the publisher of all of them: {} involuntary switches, {} ms of steal",
        noise.switches, noise.steal_ms
    );
}
