//! What is counted: the same loop over the same entries, around one call each.

use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use spillring::{AuditEntry, Drainer, Publisher, State};
use tempfile::TempDir;

use crate::support::{Free, Stalled, entries, start, start_with};

/// How many entries each case publishes: all of the real ones once, less than the ring holds.
pub(crate) const CALLS: usize = 2_000;
/// As many as a publisher's ring holds by default.
const CAPACITY: usize = 65_536;

/// Calls `call` with each entry; in all cases the same code around it.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the same code in each case, whatever the compiler thinks of it"
)]
fn each(entries: Vec<AuditEntry>, mut call: impl FnMut(AuditEntry)) {
    for entry in entries {
        call(entry);
    }
}

/// A bare queue, and entries to push.
struct Bare {
    queue: ArrayQueue<AuditEntry>,
    entries: Vec<AuditEntry>,
    returned: Vec<AuditEntry>,
}

/// A publisher at work, and entries to publish.
struct Ours {
    publisher: Publisher<AuditEntry>,
    entries: Vec<AuditEntry>,
    returned: Vec<AuditEntry>,
    lost_before: u64,
    _drainer: Drainer<AuditEntry>,
    _dir: TempDir,
}

fn empty() -> Bare {
    Bare {
        queue: ArrayQueue::new(CAPACITY),
        entries: entries(),
        returned: Vec::with_capacity(CALLS),
    }
}

fn full() -> Bare {
    let queue = ArrayQueue::new(2);
    while queue.push(entries().remove(0)).is_ok() {}
    Bare { queue, ..empty() }
}

fn idle() -> Ours {
    ours(start(Free))
}

/// Neither sink nor spill takes anything.
fn stuck() -> Ours {
    let mut ours = ours(start_with(Stalled, |config| {
        config.ring_capacity = 64;
        config.spill_bytes_max = 1 << 20;
    }));
    let real = entries();
    let mut more = real.iter().cycle().cloned();
    loop {
        let accepted = ours.publisher.stats().accepted;
        while more
            .next()
            .is_some_and(|entry| ours.publisher.try_publish(entry).is_ok())
        {}
        let stats = ours.publisher.stats();
        if stats.state == State::SpillFull && stats.accepted == accepted {
            break;
        }
        // What the drainer can still take, it takes by then.
        std::thread::sleep(Duration::from_millis(200));
    }
    ours.lost_before = ours.publisher.stats().lost.total();
    ours
}

fn ours((drainer, dir): (Drainer<AuditEntry>, TempDir)) -> Ours {
    Ours {
        publisher: drainer.publisher(),
        entries: entries(),
        returned: Vec::with_capacity(CALLS),
        lost_before: 0,
        _drainer: drainer,
        _dir: dir,
    }
}

fn all_pushed(bare: &Bare) {
    assert_eq!(bare.queue.len(), CALLS);
}

fn all_handed_back(bare: &Bare) {
    assert_eq!(bare.returned.len(), CALLS);
}

fn all_accepted(ours: &Ours) {
    assert_eq!(ours.publisher.stats().accepted, CALLS as u64);
    assert_eq!(ours.publisher.stats().lost.total(), 0);
}

fn all_lost(ours: &Ours) {
    assert_eq!(
        ours.publisher.stats().lost.total(),
        ours.lost_before + CALLS as u64
    );
}

fn all_returned(ours: &Ours) {
    assert_eq!(ours.returned.len(), CALLS);
}

#[inline(never)]
fn push(bare: Bare) -> Bare {
    let Bare {
        queue,
        entries,
        returned,
    } = bare;
    each(entries, |entry| {
        if let Err(entry) = queue.push(entry) {
            drop(entry);
        }
    });
    Bare {
        queue,
        entries: Vec::new(),
        returned,
    }
}

#[inline(never)]
fn try_push(bare: Bare) -> Bare {
    let Bare {
        queue,
        entries,
        mut returned,
    } = bare;
    each(entries, |entry| {
        if let Err(entry) = queue.push(entry) {
            returned.push(entry);
        }
    });
    Bare {
        queue,
        entries: Vec::new(),
        returned,
    }
}

#[inline(never)]
fn publish(mut ours: Ours) -> Ours {
    let publisher = &ours.publisher;
    each(std::mem::take(&mut ours.entries), |entry| {
        publisher.publish(entry);
    });
    ours
}

#[inline(never)]
fn try_publish(mut ours: Ours) -> Ours {
    let publisher = &ours.publisher;
    let returned = &mut ours.returned;
    each(std::mem::take(&mut ours.entries), |entry| {
        if let Err(refused) = publisher.try_publish(entry) {
            returned.push(refused.into_entry());
        }
    });
    ours
}

/// Runs one case.
pub(crate) fn run(case: &str) {
    match case {
        "push_accepted" => all_pushed(&push(empty())),
        "push_refused" => drop(push(full())),
        "try_push_refused" => all_handed_back(&try_push(full())),
        "publish_accepted" => all_accepted(&publish(idle())),
        "publish_refused" => all_lost(&publish(stuck())),
        "try_publish_refused" => all_returned(&try_publish(stuck())),
        other => panic!("{other} is no case"),
    }
}

/// The function of a case that is counted.
pub(crate) fn function(case: &str) -> &str {
    case.rsplit_once('_').map_or(case, |(function, _)| function)
}
