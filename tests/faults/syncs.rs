//! Syncs fail now and then: of a log, while a segment is sealed, of the watermark, of the index, of a folder. The
//! kernel may have dropped what it could not write, so the unsynced rows are written again; nothing is lost, and
//! nothing doubled, although the sink cannot say how far it has come.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use spillring::Drainer;
use spillring::config::SpillDurability;

use crate::child::{at_once, with_shim};
use crate::log;
use crate::shim::{RENAME, Rule, SYNC, Shim, WRITE};
use crate::stock::{blind, end_whole, publish};
use test_support::bench::{Bench, Note, end_within, eventually, until_delivered, until_spilled};
use test_support::sinks::Mode;

/// Which calls fail on which files, how many succeed before one that fails, and how often that comes to pass in a run,
/// if not always. Fewer successes than an attempt needs would be a disk that takes nothing.
type Case = (&'static str, u32, &'static str, u32, u32);

const CASES: [Case; 8] = [
    ("a log", SYNC, "/segments/*-wal", 6, 0),
    (
        "a segment as it is sealed",
        SYNC,
        "/segments/*.sqlite3",
        2,
        0,
    ),
    ("the folder of the segments", SYNC, "/segments", 3, 0),
    ("the watermark", SYNC, "/watermark", 0, 0),
    ("the index", SYNC, "/index.sqlite3*", 0, 1),
    ("the directory", SYNC, "", 0, 1),
    ("any", SYNC, "*", 17, 0),
    (
        "syncs, writes and renames",
        SYNC | WRITE | RENAME,
        "*",
        199,
        0,
    ),
];

#[test]
fn syncs_that_fail_now_and_then_lose_and_double_nothing() {
    with_shim(
        syncs_that_fail_now_and_then_lose_and_double_nothing,
        |shim| {
            at_once(CASES, |case| fail_now_and_then(shim, case));
        },
    );
}

/// Through several runs: the sink is away, then takes the backlog while more comes.
fn fail_now_and_then(shim: &Shim, (what, calls, files, between, rounds): Case) {
    let mut bench = blind();
    bench.config.spill_durability = SpillDurability::PowerLoss;
    // A segment is sealed every few hundred entries.
    bench.config.spill_bytes_max = 6 << 20;
    let path = format!("{}{files}", bench.spill().display());
    let mut hits = 0;
    for run in 0..3 {
        let first = run as usize * 2_000;
        bench.remote.set(Mode::Down);
        let rule = Rule::fail(calls, Errno::IO, path.as_str());
        let fault = shim.begin(&rule.after(between + run).hitting(1).rounds(rounds));
        let drainer = start(&bench, what);
        publish(&drainer, first..first + 1_000);
        until_spilled(&drainer);
        until_ticked(&bench);
        bench.remote.set(Mode::Up);
        publish(&drainer, first + 1_000..first + 2_000);
        until_delivered(&drainer);
        hits += fault.lift();
        let stats = end_within(drainer, Duration::from_secs(20), 2_000);
        assert_eq!(stats.discarded.total(), 0, "{what}: {stats:#?}");
    }
    assert!(hits > 0, "{what}: nothing failed");
    let drainer = bench.start();
    publish(&drainer, 6_000..6_001);
    end_whole(&bench, drainer, 1, 0..6_001);
}

/// A start that meets a fault may fail, with a sentence, and the next one succeeds.
fn start(bench: &Bench, what: &str) -> Drainer<Note> {
    let mut starts = (0..3).map(|_| spillring::start(bench.config.clone(), bench.remote.sink()));
    let started = starts.find_map(|start| {
        start
            .inspect_err(|error| log::note(&format!("{what}: {error}")))
            .ok()
    });
    started.unwrap_or_else(|| panic!("{what}: three starts failed"))
}

/// The spill has done what it does once a second.
fn until_ticked(bench: &Bench) {
    let said = || {
        fs::metadata(bench.spill().join("status.json"))
            .and_then(|file| file.modified())
            .ok()
    };
    let before = said();
    eventually("another second", || said() != before);
}
