//! What a call costs if its entry was made long before: the entries of a block take more room than the last cache, and
//! the calls take them in an order by chance. Moving an entry in is part of the call, as in the empty row.
//!
//! A clock that is read without a fence does not wait for memory that nothing has needed yet: single calls hide a part
//! of what the entry costs. The mean of 16 calls has all but the last one's.

use std::hint::black_box;
use std::time::Duration;

use spillring::AuditEntry;

use crate::figure::Part;
use crate::lane::{Lane, Rig, Role};
use crate::machine::Machine;
use crate::ours::{Gets, ours};
use crate::outlives::{in_a_file, packed};
use crate::rounds::Context;
use crate::shipped::{Nothing, bare, tokio_mpsc};
use crate::support::Free;
use crate::times::{Sender, Shape};

/// An entry on a page of its own: nothing brings it into the cache together with others.
#[derive(Debug)]
#[repr(align(4096))]
struct Page(Option<AuditEntry>);

/// A sender whose entries wait in memory until the call moves them in.
#[derive(Debug)]
struct Cold<S>(S);

impl<S: Sender<Item = AuditEntry>> Sender for Cold<S> {
    type Item = Box<Page>;

    fn prepare(entry: AuditEntry) -> Self::Item {
        Box::new(Page(Some(entry)))
    }

    fn chill(items: &mut [Self::Item]) {
        fastrand::shuffle(items);
        evict();
    }

    #[inline]
    fn send(&mut self, mut item: Self::Item) -> Option<Self::Item> {
        if let Some(entry) = item.0.take() {
            item.0 = self.0.send(entry);
        }
        Some(item)
    }
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Writes and reads twice as much memory as the last cache holds.
fn evict() {
    // An unoptimised build takes seconds for it, and measures nothing.
    if cfg!(debug_assertions) {
        return;
    }
    let other = black_box(vec![1_u8; 2 * crate::machine::cache_bytes()]);
    let lines = other.iter().step_by(LINE);
    black_box(lines.map(|byte| u64::from(*byte)).sum::<u64>());
}

fn cold_of<S: Sender<Item = AuditEntry> + 'static>(rig: Rig<S>, role: Role) -> Box<dyn Lane>
where
    Rig<Cold<S>>: Lane,
{
    let name = rig.name;
    Box::new(rig.with_sender(name, role, Cold))
}

pub(crate) fn cold(context: &Context, machine: &Machine) {
    let mut part = Part::new("cold", machine);
    let ours = ours("spillring", Free, Gets::Everything, |_| {});
    let mut lanes: [Box<dyn Lane>; 6] = [
        cold_of(Rig::alone("nothing", Role::Floor, Nothing), Role::Floor),
        cold_of(bare(), Role::Bare),
        cold_of(ours, Role::Ours),
        cold_of(tokio_mpsc(), Role::Other),
        cold_of(in_a_file("ring_dir, publish"), Role::Other),
        cold_of(packed(), Role::Other),
    ];
    context.warm_up(&mut lanes);
    for shape in [Shape::Grouped, Shape::Paced(Duration::from_micros(1))] {
        let rows = context.blocks(&mut lanes, shape);
        part.figure(&shape.title(), &shape.slug(), &rows);
    }
    part.finish();
}
