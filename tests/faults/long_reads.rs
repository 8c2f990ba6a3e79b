//! The disk fails to read for seconds, or one page of it for good. What can be read later is not lost; of what never
//! can be, only the entries of that page are, after ten seconds of trying, counted and announced.

use std::ops::Range;
use std::time::Duration;

use rustix::io::Errno;

use crate::child::{at_once, with_shim};
use crate::log;
use crate::pages::{Leaf, PAGE_BYTES, Pages};
use crate::shim::{OPEN, READ, Rule, STAT, Shim};
use crate::stock::{
    ENTRIES, assert_all_but, blind, end_whole, leave_backlog, leave_killed_backlog, publish,
    segments,
};
use test_support::bench::{Bench, end, until_delivered, until_spilled};
use test_support::sinks::Mode;

/// Where many stories run at once.
const FEWER: usize = 2_000;

const SECONDS: Duration = Duration::from_secs(3);
/// How long the spill tries to read what fails, at least.
const PATIENCE: Duration = Duration::from_secs(10);

/// How reading fails: each with the calls that do, and why.
const WAYS: [(u32, Errno); 4] = [
    (READ, Errno::IO),
    // The disk says nothing at all of these files, not even that they are there.
    (READ | OPEN | STAT, Errno::IO),
    // The host has no file descriptors left.
    (OPEN, Errno::MFILE),
    (OPEN, Errno::ACCESS),
];

fn for_seconds(bench: &Bench, files: &str, (calls, error): (u32, Errno)) -> Rule {
    let files = format!("{}{files}", bench.spill().display());
    Rule::fail(calls, error, files).lasting(SECONDS).rounds(1)
}

#[test]
fn seconds_while_a_backlog_is_replayed() {
    with_shim(seconds_while_a_backlog_is_replayed, |shim| {
        at_once(WAYS, |way| while_replayed(shim, way));
    });
}

fn while_replayed(shim: &Shim, way: (u32, Errno)) {
    let mut bench = blind();
    // Several segments, each of which must be opened.
    bench.config.spill_bytes_max = 64 << 20;
    let drainer = bench.start();
    publish(&drainer, 0..ENTRIES);
    until_spilled(&drainer);
    bench.remote.set(Mode::Slow(Duration::from_millis(1)));
    let fault = shim.begin(&for_seconds(&bench, "/segments/*", way).after(1));
    fault.until_hit();
    publish(&drainer, ENTRIES..ENTRIES + 1_000);
    end_whole(&bench, drainer, ENTRIES as u64 + 1_000, 0..ENTRIES + 1_000);
    assert!(fault.is_old(SECONDS), "all was read meanwhile");
}

/// The start succeeds at once: it needs nothing of the segments.
#[test]
fn seconds_without_segments_at_a_start() {
    with_shim(seconds_without_segments_at_a_start, |shim| {
        let killed = [false, true];
        let cases = WAYS
            .iter()
            .flat_map(|way| killed.map(|killed| (*way, killed)));
        at_once(cases, |(way, killed)| {
            let mut bench = blind();
            if killed {
                leave_killed_backlog(&mut bench, 0..FEWER);
            } else {
                leave_backlog(&bench, 0..FEWER);
            }
            let fault = shim.begin(&for_seconds(&bench, "/segments/*", way));
            bench.remote.set(Mode::Up);
            let drainer = bench.start();
            fault.until_hit();
            end_whole(&bench, drainer, 0, 0..FEWER);
        });
    });
}

/// A start may wait for the disk, or fail and change nothing: once the disk reads again, all is there.
#[test]
fn seconds_without_anything_at_a_start() {
    with_shim(seconds_without_anything_at_a_start, |shim| {
        let files = ["/index.sqlite3*", "/watermark", "/identity", "/*"];
        let cases = files.iter().flat_map(|files| WAYS.map(|way| (*files, way)));
        at_once(cases, |(files, way)| without(shim, files, way));
    });
}

fn without(shim: &Shim, files: &str, way: (u32, Errno)) {
    let bench = blind();
    leave_backlog(&bench, 0..FEWER);
    let fault = shim.begin(&for_seconds(&bench, files, way));
    let early = spillring::start(bench.config.clone(), bench.remote.sink());
    fault.until_hit();
    let drainer = early.unwrap_or_else(|error| {
        log::note(&format!("{files}: {error}"));
        fault.until_old(SECONDS);
        drop(fault);
        bench.start()
    });
    bench.remote.set(Mode::Up);
    end_whole(&bench, drainer, 0, 0..FEWER);
}

/// What can never be read.
#[derive(Debug, Clone)]
enum Never {
    /// Two pages of a segment, from this moment on.
    Pages(When),
    /// These bytes of another file of the spill; if there are none, all of it.
    File(&'static str, Range<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeTheStart,
    Running,
}

#[test]
fn unreadable_pages_lose_only_their_own_entries() {
    with_shim(unreadable_pages_lose_only_their_own_entries, |shim| {
        let page = |page| page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        let cases = [
            Never::Pages(When::BeforeTheStart),
            Never::Pages(When::Running),
            Never::File("index.sqlite3", page(0)),
            Never::File("index.sqlite3", page(1)),
            Never::File("index.sqlite3", page(2)),
            Never::File("watermark", 0..0),
        ];
        at_once(cases, |never| match never {
            Never::Pages(when) => never_read(shim, when),
            Never::File(file, bytes) => never_read_file(shim, file, bytes),
        });
    });
}

fn never_read(shim: &Shim, when: When) {
    let bench = blind();
    leave_backlog(&bench, 0..ENTRIES);
    let segment = segments(&bench.spill()).remove(0);
    let pages = Pages::of(&segment);
    let bad = [pages.leaf_at(10), pages.leaf_at(90)];
    let begin = || {
        bad.each_ref().map(|page| {
            let at = page.number as u64 * PAGE_BYTES;
            shim.begin(
                &Rule::fail(READ, Errno::IO, segment.to_string_lossy()).bytes(at..at + PAGE_BYTES),
            )
        })
    };
    let mut faults = (when == When::BeforeTheStart).then(begin);
    let drainer = bench.start();
    let faults = faults.take().unwrap_or_else(begin);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    for fault in &faults {
        assert!(fault.is_old(PATIENCE), "given up too soon");
        assert!(fault.hits() > 1, "given up at once");
    }
    publish(&drainer, ENTRIES..=ENTRIES);
    let stats = end(drainer, 1);
    let missing = bad.iter().flat_map(Leaf::entries);
    assert_all_but(&bench, &stats, &missing.collect(), 0..ENTRIES + 1);
}

/// The index is made again of what can be read and of what the segments know; the watermark of what was delivered.
fn never_read_file(shim: &Shim, file: &str, bytes: Range<u64>) {
    let bench = Bench::down();
    leave_backlog(&bench, 0..1_000);
    let path = bench.spill().join(file);
    let rule = Rule::fail(READ, Errno::IO, path.to_string_lossy()).bytes(bytes);
    let fault = shim.begin(&rule);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    fault.until_hit();
    until_delivered(&drainer);
    publish(&drainer, 1_000..1_010);
    until_delivered(&drainer);
    drop(fault);
    let stats = end(drainer, 10);
    assert_all_but(&bench, &stats, &[].into(), 0..1_010);
}

/// The segment is still being written to, and most of what must be read is only in its log.
#[test]
fn a_log_that_fails_for_seconds() {
    with_shim(a_log_that_fails_for_seconds, |shim| {
        let bench = blind();
        let drainer = bench.start();
        publish(&drainer, 0..12_000);
        until_spilled(&drainer);
        let fault = shim.begin(&for_seconds(&bench, "/segments/*-wal", WAYS[0]));
        bench.remote.set(Mode::Up);
        fault.until_hit();
        publish(&drainer, 12_000..14_000);
        end_whole(&bench, drainer, 14_000, 0..14_000);
        assert!(fault.is_old(SECONDS), "the log was read all the same");
    });
}
