//! The spill's disk freezes: every call on it hangs. A sink elsewhere must not notice, and publishers neither; a
//! backlog on the disk waits, with nothing lost, until it thaws.

use std::time::Duration;

use crate::child::with_shim;
use crate::shim::{CHANGE, EVERYTHING, Fault, Rule, Shim};
use crate::stock::{blind, end_whole, publish, text};
use test_support::bench::{Bench, LIMIT, Note, end_within, eventually, until_spilled};
use test_support::sinks::Mode;

const ENTRIES: usize = 60_000;
/// Entries are published half a ring at a time, so that none is refused while the drainer empties it.
const RING: usize = 1 << 15;
/// How long the freeze lasts, at least.
const FREEZE_MIN: Duration = Duration::from_secs(5);

fn freeze<'s>(shim: &'s Shim, bench: &Bench, calls: u32) -> Fault<'s> {
    shim.begin(&Rule::hang(calls, format!("{}*", bench.spill().display())))
}

/// All is delivered while the disk still hangs, and the ring has refused nothing.
fn sink_does_not_notice(shim: &Shim, calls: u32, freeze_min: Duration) {
    let mut bench = blind();
    bench.config.ring_capacity = RING;
    bench.config.spill_durability = spillring::config::SpillDurability::PowerLoss;
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    let fault = freeze(shim, &bench, calls);
    // It hangs before the first entry: once a second there is something to write.
    eventually("the disk hangs", || fault.hanging() > 0);
    for first in (0..ENTRIES).step_by(RING / 2) {
        let end = ENTRIES.min(first + RING / 2);
        publish(&drainer, first..end);
        eventually("all is delivered", || {
            drainer.stats().delivered == end as u64
        });
    }
    fault.until_old(freeze_min);
    assert!(fault.hanging() > 0, "the disk does not hang any more");
    let stats = drainer.stats();
    assert_eq!(stats.lost.total() + stats.returned, 0, "{stats:#?}");
    drop(fault);
    end_whole(&bench, drainer, ENTRIES as u64, 0..ENTRIES);
}

#[test]
fn a_sink_does_not_notice_that_the_disk_takes_nothing() {
    with_shim(a_sink_does_not_notice_that_the_disk_takes_nothing, |shim| {
        sink_does_not_notice(shim, CHANGE, Duration::ZERO);
    });
}

#[test]
fn a_sink_does_not_notice_that_the_disk_hangs() {
    with_shim(a_sink_does_not_notice_that_the_disk_hangs, |shim| {
        sink_does_not_notice(shim, EVERYTHING, FREEZE_MIN);
    });
}

/// The ring takes as many entries as it has room for, and all come out once the disk has thawed.
#[test]
fn a_backlog_waits_until_the_disk_thaws() {
    with_shim(a_backlog_waits_until_the_disk_thaws, |shim| {
        let bench = blind();
        let drainer = bench.start();
        publish(&drainer, 0..5_000);
        until_spilled(&drainer);
        let fault = freeze(shim, &bench, EVERYTHING);
        eventually("the disk hangs", || fault.hanging() > 0);
        bench.remote.set(Mode::Up);
        let publisher = drainer.publisher();
        let room = bench.config.ring_capacity;
        for number in 5_000..5_000 + room {
            let taken = publisher.try_publish(Note::new(text(number)));
            assert!(taken.is_ok(), "entry {number}: {:#?}", drainer.stats());
        }
        fault.until_old(Duration::from_secs(2));
        drop(fault);
        end_whole(&bench, drainer, (5_000 + room) as u64, 0..5_000 + room);
    });
}

/// The freeze meets an append, and the sink comes back meanwhile: it gets what memory has.
#[test]
fn a_sink_that_comes_back_is_served_from_memory() {
    with_shim(a_sink_that_comes_back_is_served_from_memory, |shim| {
        let bench = blind();
        let drainer = bench.start();
        let fault = freeze(shim, &bench, CHANGE);
        publish(&drainer, 0..2_000);
        eventually("an append hangs", || fault.hanging() > 0);
        bench.remote.set(Mode::Up);
        eventually("what is in memory is delivered", || {
            bench.remote.stored().len() >= 100
        });
        assert!(fault.hanging() > 0, "the disk does not hang any more");
        drop(fault);
        end_whole(&bench, drainer, 2_000, 0..2_000);
    });
}

/// A flush waits for the disk, or for the sink, whichever has everything first.
#[test]
fn a_flush_on_a_frozen_disk_completes_through_the_sink() {
    with_shim(
        a_flush_on_a_frozen_disk_completes_through_the_sink,
        |shim| {
            let bench = blind();
            let drainer = bench.start();
            let fault = freeze(shim, &bench, CHANGE);
            publish(&drainer, 0..500);
            let flush = drainer.publisher().flush();
            assert!(
                flush.wait(Duration::from_millis(500)).is_err(),
                "neither has it"
            );
            bench.remote.set(Mode::Up);
            flush.wait(LIMIT).unwrap();
            assert_eq!(bench.remote.stored().len(), 500);
            drop(fault);
            end_whole(&bench, drainer, 500, 0..500);
        },
    );
}

/// A shutdown does not wait for a disk that does not answer, and accounts for what it could put nowhere.
#[test]
fn a_shutdown_does_not_wait_for_ever_for_a_frozen_disk() {
    with_shim(
        a_shutdown_does_not_wait_for_ever_for_a_frozen_disk,
        |shim| {
            let bench = blind();
            let drainer = bench.start();
            publish(&drainer, 0..100);
            until_spilled(&drainer);
            let fault = freeze(shim, &bench, EVERYTHING);
            publish(&drainer, 100..1_100);
            eventually("the disk hangs", || fault.hanging() > 0);
            let stats = end_within(drainer, Duration::ZERO, 1_100);
            assert_eq!(
                (stats.in_ring + stats.in_memory, stats.spilled),
                (1_000, 100)
            );
        },
    );
}
