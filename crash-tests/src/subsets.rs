//! Which of the calls that are not synced yet a power cut leaves.

use std::collections::BTreeSet;
use std::path::Path;

use crate::disk::Portion;
use crate::trace::Event;

/// Of up to so many calls, every subset is tried.
const ALL_MAX: usize = 5;
/// How many subsets are drawn by chance of more, and of more than `MANY`: the index fills a megabyte when it is made.
const DRAWN: usize = 8;
const MANY: usize = 24;
const DRAWN_OF_MANY: usize = 1;

/// A subset: events in their order, the whole call or half of it.
pub(crate) type Subset = Vec<(usize, Portion)>;

/// The subsets to try of the calls at these events.
pub(crate) fn of(events: &[Event], pending: &[usize], random: &mut fastrand::Rng) -> Vec<Subset> {
    let mut subsets = if pending.len() <= ALL_MAX {
        all(pending)
    } else {
        let mut subsets = vec![
            Vec::new(),
            whole(pending),
            whole(&pending[1..]),
            whole(&pending[..pending.len() - 1]),
        ];
        subsets.extend(by_file(events, pending));
        let drawn = if pending.len() > MANY {
            DRAWN_OF_MANY
        } else {
            DRAWN
        };
        subsets.extend((0..drawn).map(|_| some(pending, random)));
        subsets
    };
    if let Some((last, others)) = pending.split_last() {
        let mut torn = whole(others);
        torn.push((*last, Portion::Half));
        subsets.push(torn);
    }
    subsets
}

fn whole(pending: &[usize]) -> Subset {
    pending
        .iter()
        .map(|&event| (event, Portion::Whole))
        .collect()
}

fn all(pending: &[usize]) -> Vec<Subset> {
    let subset = |mask: usize| {
        let there = pending.iter().enumerate();
        there
            .filter(|(bit, _)| mask >> bit & 1 == 1)
            .map(|(_, &event)| (event, Portion::Whole))
            .collect()
    };
    (0..1 << pending.len()).map(subset).collect()
}

/// The kernel writes back file by file: for each, all calls but those on it.
fn by_file(events: &[Event], pending: &[usize]) -> Vec<Subset> {
    let file = |&event: &usize| events[event].step.file();
    let files: BTreeSet<Option<&Path>> = pending.iter().map(file).collect();
    let without = |absent| {
        let there = pending.iter().filter(|event| file(event) != absent);
        whole(&there.copied().collect::<Vec<_>>())
    };
    files.into_iter().map(without).collect()
}

/// A subset by chance: half of the calls, most, or nearly all; a few of them torn.
fn some(pending: &[usize], random: &mut fastrand::Rng) -> Subset {
    let share = [0.5, 0.9, 0.97][random.usize(0..3)];
    let mut there = Vec::new();
    for &event in pending {
        if random.f64() < share {
            let torn = random.u8(0..16) == 0;
            there.push((event, if torn { Portion::Half } else { Portion::Whole }));
        }
    }
    there
}
