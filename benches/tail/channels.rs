//! All candidates under all shapes of load, one publisher.

use std::time::Duration;

use crate::figure::Part;
use crate::lane::Lane;
use crate::machine::Machine;
use crate::ours::{Gets, ours};
use crate::rounds::Context;
use crate::shipped::{self, bare, nothing};
use crate::support::Free;
use crate::times::Shape;

/// Those that the workspace's graph can hold.
pub(crate) fn in_the_workspace() -> Vec<Box<dyn Lane>> {
    let mut lanes: Vec<Box<dyn Lane>> = vec![
        nothing(),
        Box::new(bare()),
        Box::new(ours("spillring", Free, Gets::Everything, |_| {})),
    ];
    lanes.extend(shipped::channels());
    lanes
}

pub(crate) fn channels(
    name: &'static str,
    context: &Context,
    machine: &Machine,
    mut lanes: Vec<Box<dyn Lane>>,
) {
    let mut part = Part::new(name, machine);
    context.warm_up(&mut lanes);
    let shapes = [
        Shape::Grouped,
        Shape::Saturated,
        Shape::Paced(Duration::from_micros(1)),
        Shape::Paced(Duration::from_micros(10)),
        Shape::Bursts {
            calls: 100,
            every: Duration::from_micros(100),
        },
    ];
    for shape in shapes {
        let rows = context.blocks(&mut lanes, shape);
        part.figure(&shape.title(), &shape.slug(), &rows);
    }
    // Here all receivers are up at the same time: one that spins would hold a core from the others.
    lanes.retain(|lane| !lane.name().ends_with("spinning"));
    let pace = Duration::from_millis(1);
    let shape = Shape::Paced(pace);
    let (rows, noise) =
        context.in_turns(&mut lanes, pace, context.samples(60_000, 100).min(60_000));
    part.figure(&shape.title(), &shape.slug(), &rows);
    println!(
        "the publisher of all of them: {} involuntary switches, {} ms of steal",
        noise.switches, noise.steal_ms
    );
    part.finish();
}
