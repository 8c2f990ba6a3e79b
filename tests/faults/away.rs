//! The disk takes nothing for one to twelve seconds, and comes back just before a shutdown, or just after it. The rest
//! after so many failures is ten seconds long by then, but nothing may be abandoned for it. If the disk stays away, the
//! shutdown comes to an end all the same, and accounts for what it could put nowhere.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use spillring::{Config, Drainer, State};

use crate::child::{at_once, with_shim};
use crate::shim::{CHANGE, Fault, Rule, Shim};
use crate::stock::{end_whole, publish};
use test_support::bench::{Bench, Note, end_within, eventually, until_delivered, until_spilled};
use test_support::sinks::Mode;

const NONE: Duration = Duration::ZERO;
const SOME: Duration = Duration::from_millis(300);

/// The sink is away, and so is the disk since 100 entries. The waits after failures are those of the default settings.
fn without_disk(shim: &Shim) -> (Bench, Drainer<Note>, Fault<'_>) {
    let mut bench = Bench::down();
    let default = Config::new("");
    bench.config.backoff_min = default.backoff_min;
    bench.config.backoff_max = default.backoff_max;
    bench.config.spill_durability = default.spill_durability;
    let drainer = bench.start();
    publish(&drainer, 0..100);
    until_spilled(&drainer);
    let path = format!("{}*", bench.spill().display());
    let fault = shim.begin(&Rule::fail(CHANGE, Errno::IO, path));
    publish(&drainer, 100..1_100);
    eventually("the disk's absence shows", || {
        drainer.stats().state == State::DiskAway
    });
    (bench, drainer, fault)
}

#[test]
fn a_disk_that_comes_back_before_a_shutdown_takes_everything() {
    with_shim(
        a_disk_that_comes_back_before_a_shutdown_takes_everything,
        |shim| {
            let stories = [1, 4, 12].map(|away| [(away, NONE), (away, SOME)]);
            at_once(stories.into_iter().flatten(), |(away, limit)| {
                comes_back(shim, Duration::from_secs(away), limit);
            });
        },
    );
}

fn comes_back(shim: &Shim, away: Duration, limit: Duration) {
    let (bench, drainer, fault) = without_disk(shim);
    fault.until_old(away);
    drop(fault);
    let stats = end_within(drainer, limit, 1_100);
    let abandoned = stats.in_ring + stats.in_memory;
    assert_eq!(abandoned, 0, "after {away:?}, within {limit:?}: {stats:#?}");
    assert_delivers(&bench, 1_100);
}

/// The next run has all that it must have.
fn assert_delivers(bench: &Bench, entries: usize) {
    bench.remote.set(Mode::Up);
    end_whole(bench, bench.start(), 0, 0..entries);
}

#[test]
fn a_disk_that_comes_back_during_a_shutdown_takes_everything() {
    with_shim(
        a_disk_that_comes_back_during_a_shutdown_takes_everything,
        |shim| {
            let (bench, drainer, fault) = without_disk(shim);
            let ticket = drainer.shutdown(NONE);
            let hits = fault.hits();
            eventually("a try within the shutdown", || fault.hits() > hits);
            drop(fault);
            let stats = ticket.wait(Duration::from_secs(20)).unwrap();
            assert_eq!(stats.in_ring + stats.in_memory, 0, "{stats:#?}");
            assert_delivers(&bench, 1_100);
        },
    );
}

#[test]
fn a_shutdown_ends_without_a_disk_and_accounts() {
    with_shim(a_shutdown_ends_without_a_disk_and_accounts, |shim| {
        at_once([NONE, SOME], |limit| stays_away(shim, limit));
    });
}

fn stays_away(shim: &Shim, limit: Duration) {
    let (bench, drainer, fault) = without_disk(shim);
    let begun = Instant::now();
    let stats = end_within(drainer, limit, 1_100);
    let took = begun.elapsed();
    assert_eq!(
        (stats.in_ring + stats.in_memory, stats.spilled),
        (1_000, 100)
    );
    // About a second, on a machine that may be busy.
    assert!(took < limit + Duration::from_secs(4), "{took:?}");
    drop(fault);
    assert_delivers(&bench, 100);
}

/// With a sink, all of it is delivered in the time that the shutdown has for that, whatever the disk does.
#[test]
fn a_shutdown_delivers_what_no_disk_takes() {
    with_shim(a_shutdown_delivers_what_no_disk_takes, |shim| {
        let (bench, drainer, fault) = without_disk(shim);
        bench.remote.set(Mode::Up);
        let stats = end_within(drainer, Duration::from_secs(20), 1_100);
        assert_eq!((stats.delivered, stats.in_memory), (1_100, 0), "{stats:#?}");
        drop(fault);
        // The watermark may not have been written: the sink knows better.
        assert_delivers(&bench, 1_100);
    });
}

/// Entries go to the sink from memory until the disk can be written to again.
#[test]
fn a_disk_that_becomes_read_only_serves_the_sink_from_memory() {
    with_shim(
        a_disk_that_becomes_read_only_serves_the_sink_from_memory,
        |shim| {
            let bench = Bench::down();
            let drainer = bench.start();
            publish(&drainer, 0..1_000);
            until_spilled(&drainer);
            let path = format!("{}*", bench.spill().display());
            let fault = shim.begin(&Rule::fail(CHANGE, Errno::ROFS, path));
            bench.remote.set(Mode::Up);
            publish(&drainer, 1_000..2_000);
            until_delivered(&drainer);
            assert!(fault.hits() > 0, "nothing was refused");
            drop(fault);
            bench.remote.set(Mode::Down);
            publish(&drainer, 2_000..3_000);
            until_spilled(&drainer);
            bench.remote.set(Mode::Up);
            until_delivered(&drainer);
            end_whole(&bench, drainer, 3_000, 0..3_000);
        },
    );
}
