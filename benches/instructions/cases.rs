//! What is counted: the same loop over the same entries, around one call each.

#![expect(
    clippy::needless_pass_by_value,
    reason = "gungraun hands over what a case has left behind"
)]

use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
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

fn all_pushed(bare: Bare) {
    assert_eq!(bare.queue.len(), CALLS);
}

fn all_handed_back(bare: Bare) {
    assert_eq!(bare.returned.len(), CALLS);
}

fn all_accepted(ours: Ours) {
    assert_eq!(ours.publisher.stats().accepted, CALLS as u64);
    assert_eq!(ours.publisher.stats().lost.total(), 0);
}

fn all_lost(ours: Ours) {
    assert_eq!(
        ours.publisher.stats().lost.total(),
        ours.lost_before + CALLS as u64
    );
}

fn all_returned(ours: Ours) {
    assert_eq!(ours.returned.len(), CALLS);
}

#[library_benchmark]
#[bench::case(setup = empty, teardown = all_pushed)]
fn push_accepted(bare: Bare) -> Bare {
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

#[library_benchmark]
#[bench::case(setup = full)]
fn push_refused(bare: Bare) -> Bare {
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

#[library_benchmark]
#[bench::case(setup = full, teardown = all_handed_back)]
fn try_push_refused(bare: Bare) -> Bare {
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

#[library_benchmark]
#[bench::case(setup = idle, teardown = all_accepted)]
fn publish_accepted(mut ours: Ours) -> Ours {
    let publisher = &ours.publisher;
    each(std::mem::take(&mut ours.entries), |entry| {
        publisher.publish(entry);
    });
    ours
}

#[library_benchmark]
#[bench::case(setup = stuck, teardown = all_lost)]
fn publish_refused(mut ours: Ours) -> Ours {
    let publisher = &ours.publisher;
    each(std::mem::take(&mut ours.entries), |entry| {
        publisher.publish(entry);
    });
    ours
}

#[library_benchmark]
#[bench::case(setup = stuck, teardown = all_returned)]
fn try_publish_refused(mut ours: Ours) -> Ours {
    let publisher = &ours.publisher;
    let returned = &mut ours.returned;
    each(std::mem::take(&mut ours.entries), |entry| {
        if let Err(refused) = publisher.try_publish(entry) {
            returned.push(refused.into_entry());
        }
    });
    ours
}

library_benchmark_group!(
    name = cases,
    benchmarks = [
        push_accepted,
        publish_accepted,
        push_refused,
        publish_refused,
        try_push_refused,
        try_publish_refused
    ]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = cases
);

pub(crate) fn run() {
    main();
}
