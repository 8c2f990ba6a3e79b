//! The disk fails to read for a few milliseconds, and works again: five such moments, and eleven; while a publisher
//! runs, and while it starts. The bytes never change, so nothing may be lost, doubled or set aside, and every start
//! succeeds.

use std::time::Duration;

use rustix::io::Errno;

use crate::child::{at_once, with_shim};
use crate::log;
use crate::shim::{OPEN, READ, Rule, STAT, Shim};
use crate::stock::{
    ENTRIES, blind, copied, deliver_some, end_whole, leave_backlog, leave_killed_backlog, publish,
};
use test_support::bench::{Bench, end_within, eventually, until_spilled};
use test_support::sinks::{Cursor, Mode, Remote};

/// Few, so that a start has few reads to fail.
const FEW: usize = 100;
const MOMENT: Duration = Duration::from_millis(5);

/// Reading fails, or the disk says nothing at all, not even that a file is there.
const WAYS: [u32; 2] = [READ, READ | OPEN | STAT];

/// These calls on files of the spill fail for so many moments.
fn moments(bench: &Bench, calls: u32, count: u32) -> Rule {
    let files = format!("{}/*", bench.spill().display());
    Rule::fail(calls, Errno::IO, files)
        .lasting(MOMENT)
        .rounds(count)
}

#[test]
fn moments_while_a_backlog_is_replayed() {
    with_shim(moments_while_a_backlog_is_replayed, |shim| {
        for calls in WAYS {
            for count in [5, 11] {
                replays_through(shim, calls, count);
            }
        }
    });
}

fn replays_through(shim: &Shim, calls: u32, count: u32) {
    let bench = blind();
    let drainer = bench.start();
    publish(&drainer, 0..ENTRIES);
    until_spilled(&drainer);
    let fault = shim.begin(&moments(&bench, calls, count).after(20));
    bench.remote.set(Mode::Up);
    publish(&drainer, ENTRIES..ENTRIES + 1_000);
    eventually("all moments are over", || fault.over() == count);
    end_whole(&bench, drainer, ENTRIES as u64 + 1_000, 0..ENTRIES + 1_000);
}

#[test]
fn moments_while_a_publisher_starts() {
    with_shim(moments_while_a_publisher_starts, |shim| {
        let cases = WAYS.map(|calls| [(calls, 5), (calls, 11)]);
        at_once(cases.into_iter().flatten(), |(calls, count)| {
            let mut bench = blind();
            leave_backlog(&bench, 0..ENTRIES / 4);
            starts_through(shim, &bench, calls, count);
            bench = blind();
            leave_killed_backlog(&mut bench, 0..ENTRIES / 4);
            starts_through(shim, &bench, calls, count);
        });
    });
}

/// The first moments fall into the start, the others follow as soon as the disk is read again.
fn starts_through(shim: &Shim, bench: &Bench, calls: u32, count: u32) {
    let fault = shim.begin(&moments(bench, calls, count).after(3));
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    assert!(fault.hits() > 0, "no moment fell into the start");
    eventually("all moments are over", || fault.over() == count);
    end_whole(bench, drainer, 0, 0..ENTRIES / 4);
}

/// A moment at each read of a start in turn. Some was delivered before, to a sink that cannot say so.
#[test]
fn a_moment_at_any_read_of_a_start() {
    with_shim(a_moment_at_any_read_of_a_start, |shim| {
        let mut bench = blind();
        bench.config.batch_max = 20;
        let drainer = bench.start();
        let delivered = deliver_some(&bench, &drainer, 0..FEW);
        end_within(drainer, Duration::ZERO, FEW as u64);
        let starts = sweep(shim, || {
            let mut copy = copied(&bench);
            copy.remote = Remote::in_memory(Cursor::None);
            copy.remote.set(Mode::Down);
            (copy, delivered)
        });
        assert!(starts > 10, "{starts} reads");
    });
}

/// The same after a kill, with a sink that says how far it has come.
#[test]
fn a_moment_at_any_read_of_a_start_after_a_kill() {
    with_shim(a_moment_at_any_read_of_a_start_after_a_kill, |shim| {
        let mut bench = Bench::down();
        bench.config.batch_max = 20;
        let drainer = bench.start();
        deliver_some(&bench, &drainer, 0..FEW);
        bench.kill(drainer);
        let starts = sweep(shim, || {
            let mut copy = copied(&bench);
            copy.remote = Remote::holding(bench.remote.stored());
            copy.remote.set(Mode::Down);
            (copy, 0)
        });
        assert!(starts > 10, "{starts} reads");
    });
}

/// Answers how many reads a start has.
fn sweep(shim: &Shim, fresh: impl Fn() -> (Bench, usize)) -> u32 {
    let mut failed = Vec::new();
    let (bench, first) = fresh();
    bench.remote.set(Mode::Up);
    end_whole(&bench, bench.start(), 0, first..FEW);
    for read in 0.. {
        let (bench, first) = fresh();
        let fault = shim.begin(&moments(&bench, READ, 1).after(read));
        let started = spillring::start(bench.config.clone(), bench.remote.sink());
        let hits = fault.hits();
        match started {
            Err(error) => failed.push(format!("a moment at read {read}: {error}")),
            Ok(drainer) => {
                bench.remote.set(Mode::Up);
                log::note(&format!("a moment at read {read}"));
                end_whole(&bench, drainer, 0, first..FEW);
            }
        }
        if hits == 0 {
            assert!(failed.is_empty(), "starts failed:\n{}", failed.join("\n"));
            return read;
        }
    }
    unreachable!("a start has an end")
}
