//! The files of the spill are deleted, moved or damaged under a publisher at work: it notices within seconds, makes them
//! anew, and nothing is lost that could still be read; what goes on from memory is not held up by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[path = "support/core.rs"]
mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use support::bench::{
    Bench, LIMIT, Note, after_a_kill, assert_told, end, eventually, name, names, publish,
    until_delivered, until_spilled,
};
use support::sinks::Mode;

const ENTRIES: usize = 3_000;

/// What is taken away, and how, below the directory of the publisher.
type Case = (&'static str, fn(&Path));

const CASES: [Case; 8] = [
    ("the database", |dir| {
        fs::remove_file(dir.join("db/spill.sqlite3")).unwrap();
    }),
    ("the log", |dir| {
        fs::remove_file(dir.join("db/spill.sqlite3-wal")).unwrap();
    }),
    ("database and log", |dir| {
        fs::remove_file(dir.join("db/spill.sqlite3")).unwrap();
        fs::remove_file(dir.join("db/spill.sqlite3-wal")).unwrap();
    }),
    ("the folder", |dir| {
        fs::remove_dir_all(dir.join("db")).unwrap();
    }),
    ("the folder, moved", |dir| {
        fs::rename(dir.join("db"), dir.join("elsewhere")).unwrap();
    }),
    ("the directory", |dir| fs::remove_dir_all(dir).unwrap()),
    ("the directory, moved", |dir| {
        fs::rename(dir, dir.with_extension("moved")).unwrap();
    }),
    ("the database, replaced", |dir| {
        fs::remove_file(dir.join("db/spill.sqlite3")).unwrap();
        fs::write(dir.join("db/spill.sqlite3"), "").unwrap();
    }),
];

/// With the sink away: all that had been spilled is read through the files that are still open.
#[test]
fn a_spill_that_vanishes_is_made_anew_with_all_that_was_in_it() {
    for (what, take_away) in CASES {
        let bench = Bench::down();
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..ENTRIES);
        until_spilled(&drainer);
        take_away(&bench.spill());
        until_made_anew(&bench.spill(), what);
        publish(&drainer.publisher(), ENTRIES..ENTRIES + 10);
        drainer.publisher().flush().wait(LIMIT).unwrap();
        // On disk, where a start would find it.
        eventually(what, || drainer.stats().spilled == ENTRIES as u64 + 10);
        let texts: Vec<_> = after_a_kill(&bench)
            .into_iter()
            .map(|stored| stored.text)
            .collect();
        assert_eq!(texts, names(0..ENTRIES + 10), "{what}");
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        let stats = end(drainer, ENTRIES as u64 + 10);
        assert_eq!(stats.discarded.total(), 0, "{what}");
        assert_eq!(bench.remote.texts(), names(0..ENTRIES + 10), "{what}");
        assert_told(&bench.remote.stored());
    }
}

/// With the sink up, and again and again: what is on its way through memory does not notice.
#[test]
fn with_the_sink_up_entries_go_on_meanwhile() {
    let bench = Bench::new();
    let drainer = bench.start();
    let mut next = 0;
    for (what, take_away) in CASES {
        take_away_if_there(&bench.spill(), take_away);
        publish(&drainer.publisher(), next..next + 500);
        next += 500;
        until_delivered(&drainer);
        until_made_anew(&bench.spill(), what);
        bench.remote.set(Mode::Down);
        publish(&drainer.publisher(), next..next + 500);
        next += 500;
        until_spilled(&drainer);
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
    }
    let stats = end(drainer, next as u64);
    assert_eq!(stats.discarded.total(), 0);
    assert_eq!(bench.remote.texts(), names(0..next));
    assert_told(&bench.remote.stored());
}

/// The directory cannot be made anew, because a file stands in its place: the sink is served from memory, and what the
/// directory held is not forgotten.
#[test]
fn while_the_directory_cannot_be_made_anew_the_sink_is_served_from_memory() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    until_delivered(&drainer);
    let dir = bench.spill();
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "in the way").unwrap();
    publish(&drainer.publisher(), 10..2_000);
    until_delivered(&drainer);
    bench.remote.set(Mode::Down);
    publish(&drainer.publisher(), 2_000..2_100);
    eventually("it is in memory", || {
        drainer.stats().in_ring + drainer.stats().in_memory == 100
    });
    fs::remove_file(&dir).unwrap();
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 2_100);
    assert_eq!(bench.remote.texts(), names(0..2_100));
    assert_told(&bench.remote.stored());
}

/// Pages are damaged while the publisher is at work; it finds out when it reads them.
#[test]
fn damage_under_a_publisher_costs_what_cannot_be_read() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let text = |n| format!("{} {}", name(n), "x".repeat(5_000));
    // Enough that the log has been carried into the database, and memory holds only some of its pages.
    for n in 0..8_000 {
        publisher
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    let file = OpenOptions::new()
        .write(true)
        .open(bench.spill().join("db/spill.sqlite3"))
        .unwrap();
    file.write_all_at(&vec![0xff; 3 * 16_384], 500 * 16_384)
        .unwrap();
    publisher.publish(Note::new("afterwards"));
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, 8_001);
    let mut texts = bench.remote.texts();
    assert_eq!(texts.pop().as_deref(), Some("afterwards"));
    let mut all = (0..8_000).map(text);
    assert!(
        texts
            .iter()
            .all(|text| all.any(|expected| expected == *text)),
        "doubled, or out of order"
    );
    let missing = 8_000 - texts.len() as u64;
    assert!((1..100).contains(&missing), "{missing}");
    assert_eq!(stats.discarded.corrupt, missing);
    assert_told(&bench.remote.stored());
}

/// The newest entries go with the log, and what comes next never sees the disk.
#[test]
fn losses_at_the_end_of_the_present_run_are_told_by_its_next_entry() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    for n in 0..8_000 {
        let text = format!("{} {}", name(n), "x".repeat(5_000));
        publisher.publish_timeout(Note::new(text), LIMIT).unwrap();
    }
    until_spilled(&drainer);
    let file = |name: &str| {
        let path = bench.spill().join("db").join(name);
        OpenOptions::new().write(true).open(path).unwrap()
    };
    file("spill.sqlite3")
        .write_all_at(&vec![0xff; 3 * 16_384], 500 * 16_384)
        .unwrap();
    file("spill.sqlite3-wal")
        .write_all_at(&vec![0xff; 3 * 16_384], 1_000_000)
        .unwrap();
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publisher.publish(Note::new("afterwards"));
    until_delivered(&drainer);
    end(drainer, 8_001);
    assert_eq!(bench.remote.texts().pop().as_deref(), Some("afterwards"));
    assert_told(&bench.remote.stored());
}

fn take_away_if_there(dir: &Path, take_away: fn(&Path)) {
    eventually("the log is there", || {
        dir.join("db/spill.sqlite3-wal").exists()
    });
    take_away(dir);
    for moved in [dir.join("elsewhere"), dir.with_extension("moved")] {
        if moved.exists() {
            fs::remove_dir_all(moved).unwrap();
        }
    }
}

/// The database stands in its place again, and so does its log.
fn until_made_anew(dir: &Path, what: &str) {
    eventually(what, || {
        let set = [
            "db/spill.sqlite3",
            "db/spill.sqlite3-wal",
            "lock",
            "identity",
            "mark",
        ];
        let full = |file| fs::metadata(dir.join(file)).is_ok_and(|file| file.len() > 0);
        set.into_iter().all(full)
    });
}
