//! Files are taken away under a publisher at work. A flush never vouches for what is gone, and segments that are gone
//! are noticed within about a second: logged, counted, announced; what is published afterwards goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use spillring::error::TicketError;
use spillring::event::LossReason;
use spillring::{Drainer, State};

use crate::child::{alone, at_once};
use crate::log;
use crate::stock::{
    assert_all_but, assert_nothing_set_aside, assert_same, blind, publish, segments, text, texts,
};
use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, announced, assert_announced, end, eventually,
    until_delivered, until_spilled,
};
use test_support::sinks::Mode;

/// Long enough for a look at the files, and for several: there is one a second.
const LOOK: Duration = Duration::from_millis(1_200);
const LOOKS: Duration = Duration::from_secs(3);

/// All of it at once: files that the publisher makes meanwhile would stop a removal one by one.
fn remove(dir: &Path) {
    let moved = dir.with_extension("removed");
    fs::rename(dir, &moved).unwrap();
    fs::remove_dir_all(&moved).unwrap();
}

/// A file takes the place of the directory.
fn replace_by_file(dir: &Path) {
    eventually("there is a file", || {
        // The publisher may have made the directory again.
        if dir.is_dir() {
            remove(dir);
        }
        fs::write(dir, "in the way").is_ok()
    });
}

#[test]
fn a_flush_does_not_vouch_for_a_directory_that_is_gone() {
    at_once([0, 100], does_not_vouch);
}

/// So many entries are published after the directory has gone.
fn does_not_vouch(more: usize) {
    let bench = blind();
    let drainer = bench.start();
    publish(&drainer, 0..1_000);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    replace_by_file(&bench.spill());
    publish(&drainer, 1_000..1_000 + more);
    let flush = drainer.publisher().flush();
    assert_eq!(flush.wait(LOOKS), Err(TicketError::Elapsed), "{more}");
    let again = drainer.publisher().flush();
    assert_eq!(again.wait(LOOK), Err(TicketError::Elapsed), "{more}");

    fs::remove_file(bench.spill()).unwrap();
    flush.wait(LIMIT).unwrap();
    assert_accounts(&bench, drainer, 1_000 + more);
}

/// With a sink, a flush is kept without any directory.
#[test]
fn a_flush_without_a_directory_completes_through_the_sink() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer, 0..10);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    replace_by_file(&bench.spill());
    publish(&drainer, 10..1_000);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    assert_same(&bench.remote.texts(), &texts(0..1_000));
    fs::remove_file(bench.spill()).unwrap();
    end(drainer, 1_000);
}

/// What a flush vouches for after the directory is there again is on disk, but for what was counted as lost.
#[test]
fn a_flush_is_durable_once_the_directory_is_back() {
    let bench = blind();
    let drainer = bench.start();
    publish(&drainer, 0..1_000);
    until_spilled(&drainer);
    remove(&bench.spill());
    publish(&drainer, 1_000..1_100);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    let stored = after_a_kill(&bench);
    let found: Vec<_> = stored.iter().map(|stored| stored.text.clone()).collect();
    let new = found.len().checked_sub(100).expect("the new entries");
    assert_same(&found[new..], &texts(1_000..1_100));
    assert_accounts(&bench, drainer, 1_100);
}

/// Everything is delivered, or counted and announced as corrupt.
#[track_caller]
fn assert_accounts(bench: &Bench, drainer: Drainer<Note>, accepted: usize) {
    bench.remote.set(Mode::Up);
    publish(&drainer, accepted..accepted + 10);
    until_delivered(&drainer);
    let stats = end(drainer, accepted as u64 + 10);
    let found = bench.remote.texts();
    let missing = (accepted + 10 - found.len()) as u64;
    assert_eq!(stats.discarded.corrupt, missing, "{stats:#?}");
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(announced(&stored, LossReason::Corrupt), missing);
    let mut all = (0..accepted + 10).map(text);
    let in_order = found.iter().all(|text| all.any(|other| other == *text));
    assert!(in_order, "doubled, or out of order");
    assert_same(&found[found.len() - 10..], &texts(accepted..accepted + 10));
}

/// So many entries of a segment may be on their way to the sink when it is deleted: two batches.
const IN_MEMORY_MAX: u64 = 200;

/// Which of the segments go.
type Choice = (&'static str, fn(&[PathBuf]) -> Vec<PathBuf>);

const CHOICES: [Choice; 5] = [
    ("the oldest", |all| all[..1].to_vec()),
    ("one in the middle", |all| vec![all[all.len() / 2].clone()]),
    ("the newest", |all| all[all.len() - 1..].to_vec()),
    ("every other", |all| {
        all.iter().step_by(2).cloned().collect()
    }),
    ("all", <[PathBuf]>::to_vec),
];

#[test]
fn segments_that_are_deleted_are_noticed() {
    alone(segments_that_are_deleted_are_noticed, || {
        for choice in CHOICES {
            deleted(choice);
        }
    });
}

fn deleted((what, choose): Choice) {
    let mut bench = blind();
    bench.config.spill_bytes_max = 16 << 20;
    let drainer = bench.start();
    publish(&drainer, 0..1);
    // Else the first segment may be open to be read, and what is in it is not lost by its deletion.
    eventually("the sink is known to be away", || {
        drainer.stats().state == State::Spilling
    });
    publish(&drainer, 1..8_000);
    until_spilled(&drainer);
    let gone = choose(&databases(&bench.spill()));
    let lost: BTreeSet<_> = gone.iter().flat_map(|segment| entries(segment)).collect();
    assert!(!lost.is_empty(), "{what}");
    for segment in &gone {
        fs::remove_file(segment).unwrap();
        fs::remove_file(log_of(segment)).unwrap_or_default();
    }
    let noticed = |segment: &PathBuf| {
        let name = segment.file_name().unwrap().to_string_lossy().into_owned();
        log::count(|line| line.contains("ERROR") && line.contains(&name)) > 0
    };
    eventually("each is logged", || gone.iter().all(noticed));
    publish(&drainer, 8_000..9_000);
    bench.remote.set(Mode::Up);
    eventually("they are counted", || {
        drainer.stats().discarded.corrupt + IN_MEMORY_MAX >= lost.len() as u64
    });
    until_delivered(&drainer);
    publish(&drainer, 9_000..9_001);
    let stats = end(drainer, 9_001);
    let found: BTreeSet<_> = bench.remote.texts().into_iter().collect();
    let missing: BTreeSet<_> = (0..9_001).filter(|&n| !found.contains(&text(n))).collect();
    assert!(
        missing.is_subset(&lost),
        "{what}: more is missing than was deleted"
    );
    assert!(
        missing.len() as u64 + IN_MEMORY_MAX >= lost.len() as u64,
        "{what}"
    );
    assert_all_but(&bench, &stats, &missing, 0..9_001);
    assert_nothing_set_aside(&bench.spill());
}

fn databases(spill: &Path) -> Vec<PathBuf> {
    let all = segments(spill).into_iter();
    all.filter(|path| path.extension().is_some_and(|kind| kind == "sqlite3"))
        .collect()
}

fn log_of(segment: &Path) -> PathBuf {
    let mut log = segment.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The entries of a segment, read from a copy.
fn entries(segment: &Path) -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    fs::copy(segment, &copy).unwrap();
    if log_of(segment).exists() {
        fs::copy(log_of(segment), log_of(&copy)).unwrap();
    }
    let conn = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let sql = "SELECT key & ((1 << 40) - 1) FROM rows WHERE kind = 0";
    let mut statement = conn.prepare(sql).unwrap();
    let numbers = statement.query_map((), |row| row.get::<_, i64>(0)).unwrap();
    numbers
        .map(|number| usize::try_from(number.unwrap() - 1).unwrap())
        .collect()
}
