//! What a ring in a file costs beside the ring in memory: `publish`, which also frees the entry, and `publish_packed`,
//! whose caller keeps it.
//!
//! `SPILLRING_RING_DIR` is where the file lies; without it, in `/dev/shm`.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use spillring::{AuditEntry, Publisher};

use crate::figure::Part;
use crate::lane::{Lane, Rig, Role};
use crate::machine::Machine;
use crate::ours::{Gets, Publish, ours};
use crate::rounds::Context;
use crate::shipped::{bare, nothing, sends_entries};
use crate::support::Free;
use crate::times::{Sender, Shape};

/// The caller keeps its entry.
#[derive(Debug, Clone)]
pub(crate) struct Packed(Publisher<AuditEntry>);

sends_entries!(Packed, |publisher, entry| {
    publisher.0.publish_packed(&entry);
    Some(entry)
});

pub(crate) fn in_a_file(name: &'static str) -> Rig<Publish> {
    let dir = env::var_os("SPILLRING_RING_DIR").map_or("/dev/shm".into(), PathBuf::from);
    ours(name, Free, Gets::Everything, move |config| {
        config.ring_dir = Some(dir);
    })
}

pub(crate) fn packed() -> Rig<Packed> {
    let name = "ring_dir, publish_packed";
    in_a_file(name).with_sender(name, Role::Other, |publish| Packed(publish.0))
}

pub(crate) fn outlives(context: &Context, machine: &Machine) {
    let mut part = Part::new("outlives", machine);
    let mut lanes: [Box<dyn Lane>; 5] = [
        nothing(),
        Box::new(bare()),
        Box::new(ours("spillring, in memory", Free, Gets::Everything, |_| {})),
        Box::new(in_a_file("ring_dir, publish")),
        Box::new(packed()),
    ];
    context.warm_up(&mut lanes);
    for shape in [Shape::Saturated, Shape::Paced(Duration::from_micros(1))] {
        let rows = context.blocks(&mut lanes, shape);
        part.figure(&shape.title(), &shape.slug(), &rows);
    }
    part.finish();
}
