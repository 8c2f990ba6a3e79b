//! Entries that fill pages, and what is asserted of all of them at the end.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spillring::event::LossReason;
use spillring::{Drainer, Stats};

use test_support::bench::{
    Bench, LIMIT, Note, announced, assert_announced, copy_folder, end, end_within, eventually,
    name, until_delivered, until_spilled,
};
use test_support::sinks::{Cursor, Mode};

/// How many entries most stories are about.
pub(crate) const ENTRIES: usize = 20_000;

/// About 1,000 bytes: some sixteen of them fill a page.
pub(crate) fn text(number: usize) -> String {
    format!("{} {}", name(number), "x".repeat(1_000))
}

pub(crate) fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

/// Publishes, and waits for room where there is none.
#[track_caller]
pub(crate) fn publish(drainer: &Drainer<Note>, numbers: impl IntoIterator<Item = usize>) {
    let publisher = drainer.publisher();
    for number in numbers {
        let note = Note::new(text(number));
        publisher.publish_timeout(note, LIMIT).unwrap();
    }
}

/// A sink that is away, and cannot say how far it has come: what is sent twice is stored twice.
pub(crate) fn blind() -> Bench {
    let bench = Bench::with_cursor(Cursor::None);
    bench.remote.set(Mode::Down);
    bench
}

/// Leaves a backlog at rest that ended clean.
pub(crate) fn leave_backlog(bench: &Bench, numbers: Range<usize>) {
    let drainer = bench.start();
    let count = numbers.len() as u64;
    publish(&drainer, numbers);
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, count);
}

/// Leaves a backlog of a run that was killed: its last segment still has its log.
pub(crate) fn leave_killed_backlog(bench: &mut Bench, numbers: Range<usize>) {
    let drainer = bench.start();
    publish(&drainer, numbers);
    until_spilled(&drainer);
    bench.kill(drainer);
}

/// Everything is delivered, once and in order; nothing is lost or set aside.
#[track_caller]
pub(crate) fn end_whole(bench: &Bench, drainer: Drainer<Note>, attempted: u64, all: Range<usize>) {
    until_delivered(&drainer);
    let stats = end(drainer, attempted);
    assert_eq!(
        stats.discarded.total() + stats.lost.total(),
        0,
        "{stats:#?}"
    );
    assert_same(&bench.remote.texts(), &texts(all.clone()));
    // What came before went to another sink.
    if all.start == 0 {
        assert_announced(&bench.remote.stored());
    }
    assert_nothing_set_aside(&bench.spill());
}

/// All but `missing` of `all` is delivered, once and in order, and what is missing is counted and announced as corrupt.
#[track_caller]
pub(crate) fn assert_all_but(
    bench: &Bench,
    stats: &Stats,
    missing: &BTreeSet<usize>,
    all: Range<usize>,
) {
    let there = all.filter(|number| !missing.contains(number));
    assert_same(&bench.remote.texts(), &texts(there));
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let count = missing.len() as u64;
    assert_eq!(announced(&stored, LossReason::Corrupt), count, "announced");
    assert_eq!(stats.discarded.corrupt, count, "counted");
}

/// Fails without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(found: &[String], expected: &[String]) {
    let head = |text: Option<&String>| text.map(|text| text.chars().take(24).collect::<String>());
    let pairs = found.iter().zip(expected);
    let at = pairs
        .take_while(|(found, expected)| found == expected)
        .count();
    assert_eq!(
        (at, head(found.get(at)), found.len()),
        (expected.len(), None, expected.len()),
        "the first that differs, what was found there, and how many there are; expected there: {:?}",
        head(expected.get(at))
    );
}

/// Every file has one of the names that files have while all is well.
#[track_caller]
pub(crate) fn assert_nothing_set_aside(dir: &Path) {
    let usual = [
        "lock",
        "identity",
        "watermark",
        "status.json",
        "status.json.new",
        "signing-keys.json",
        "sealed.json",
        "index.sqlite3",
        "index.sqlite3-wal",
        "segments",
    ];
    let odd = |path: &PathBuf| !usual.iter().any(|name| path.ends_with(name));
    let odd: Vec<_> = files(dir).into_iter().filter(odd).collect();
    assert_eq!(odd, Vec::<PathBuf>::new(), "set aside");
    let segment = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".sqlite3") || name.ends_with(".sqlite3-wal")
    };
    let odd: Vec<_> = segments(dir)
        .into_iter()
        .filter(|path| !segment(path))
        .collect();
    assert_eq!(odd, Vec::<PathBuf>::new(), "set aside");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What lies in the folder of the segments, in the order of its names.
pub(crate) fn segments(spill: &Path) -> Vec<PathBuf> {
    let folder = spill.join("segments");
    let mut found = if folder.exists() {
        files(&folder)
    } else {
        Vec::new()
    };
    found.sort();
    found
}

/// What lies in the directory now, elsewhere, with the sink away again.
pub(crate) fn copied(bench: &Bench) -> Bench {
    let mut copy = Bench::down();
    copy.config = bench.config.clone();
    copy.config.spill_dir = copy.dir.path().join("spill");
    copy_folder(&bench.spill(), &copy.spill());
    copy
}

/// Publishes, and has some of it delivered, to the last acknowledgement; answers how many.
pub(crate) fn deliver_some(bench: &Bench, drainer: &Drainer<Note>, numbers: Range<usize>) -> usize {
    publish(drainer, numbers.clone());
    until_spilled(drainer);
    bench.remote.set(Mode::Slow(Duration::from_millis(10)));
    eventually("some is delivered", || !bench.remote.stored().is_empty());
    bench.remote.set(Mode::Down);
    // One that fails now was begun after all others were acknowledged.
    let begun = bench.remote.deliveries();
    eventually("the sink is away", || bench.remote.deliveries() > begun + 1);
    let delivered = bench.remote.stored().len();
    assert!(delivered < numbers.len(), "all was delivered");
    delivered
}
