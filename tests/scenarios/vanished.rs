//! The files of the spill are deleted, moved or damaged under a publisher at work: it notices within a second, makes
//! them again, and goes on. What was in a segment that is gone is counted and announced; what is flushed from then on
//! is on disk.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use spillring::Drainer;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, announced, assert_announced, end, eventually, name, names,
    publish, until_delivered, until_spilled,
};
use test_support::sinks::{Mode, Stored};

const ENTRIES: usize = 3_000;

/// What is taken away, and how, below the directory of the publisher; what is not there is left alone.
struct Case {
    name: &'static str,
    take_away: fn(&Path) -> io::Result<()>,
    /// Whether entries go with it.
    costs: Costs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Costs {
    Nothing,
    Entries,
}

const CASES: [Case; 11] = [
    Case {
        name: "the segment",
        take_away: |dir| segments(dir).iter().try_for_each(fs::remove_file),
        costs: Costs::Entries,
    },
    Case {
        name: "its log",
        take_away: |dir| logs(dir).iter().try_for_each(fs::remove_file),
        costs: Costs::Entries,
    },
    Case {
        name: "segment and log",
        take_away: |dir| {
            segments(dir).iter().try_for_each(fs::remove_file)?;
            logs(dir).iter().try_for_each(fs::remove_file)
        },
        costs: Costs::Entries,
    },
    Case {
        name: "the segment, replaced",
        take_away: |dir| {
            segments(dir).iter().try_for_each(|segment| {
                fs::remove_file(segment)?;
                fs::write(segment, "")
            })
        },
        costs: Costs::Entries,
    },
    Case {
        name: "the folder",
        take_away: |dir| remove(&dir.join("segments")),
        costs: Costs::Entries,
    },
    Case {
        name: "the folder, moved",
        take_away: |dir| fs::rename(dir.join("segments"), dir.join("elsewhere")),
        costs: Costs::Entries,
    },
    Case {
        name: "the directory",
        take_away: remove,
        costs: Costs::Entries,
    },
    Case {
        name: "the directory, moved",
        take_away: |dir| fs::rename(dir, dir.with_extension("moved")),
        costs: Costs::Entries,
    },
    Case {
        name: "the index",
        take_away: |dir| fs::remove_file(dir.join("index.sqlite3")),
        costs: Costs::Nothing,
    },
    Case {
        name: "the watermark",
        take_away: |dir| fs::remove_file(dir.join("watermark")),
        costs: Costs::Nothing,
    },
    Case {
        name: "identity and lock",
        take_away: |dir| {
            fs::remove_file(dir.join("identity"))?;
            fs::remove_file(dir.join("lock"))
        },
        costs: Costs::Nothing,
    },
];

/// All of it at once: files that the publisher makes meanwhile would stop a removal one by one.
fn remove(dir: &Path) -> io::Result<()> {
    let moved = dir.with_extension("removed");
    fs::rename(dir, &moved)?;
    fs::remove_dir_all(&moved)
}

/// Removing what somebody else has removed is no error.
fn take_away(case: &Case, dir: &Path) {
    if let Err(error) = (case.take_away)(dir) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", case.name);
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(dir.join("segments")) else {
        return Vec::new();
    };
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, ".sqlite3")
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    files(dir, ".sqlite3-wal")
}

/// With the sink away: what the spill held may be lost, what is flushed afterwards is not.
#[test]
fn a_deleted_spill_is_recreated_and_its_losses_are_reported() {
    let in_a_thread = |case: &'static Case| {
        thread::Builder::new()
            .name(case.name.to_owned())
            .spawn(|| assert_goes_on_without(case))
            .unwrap()
    };
    let threads: Vec<_> = CASES.iter().map(in_a_thread).collect();
    let failed: Vec<_> = threads
        .into_iter()
        .zip(&CASES)
        .filter_map(|(thread, case)| thread.join().is_err().then_some(case.name))
        .collect();
    assert_eq!(failed, [""; 0]);
}

fn assert_goes_on_without(case: &Case) {
    let what = case.name;
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..ENTRIES);
    until_spilled(&drainer);
    take_away(case, &bench.spill());
    publish(&drainer.publisher(), ENTRIES..ENTRIES + 10);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    assert_flushed(&after_a_kill(&bench), case);
    until_made_again(&bench.spill(), what);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, ENTRIES as u64 + 10);
    let stored = bench.remote.stored();
    assert_flushed(&stored, case);
    let missing = (ENTRIES + 10 - stored.len()) as u64;
    assert_eq!(stats.discarded.corrupt, missing, "{what}");
    assert_eq!(stats.discarded.total(), missing, "{what}");
    assert_eq!(announced(&stored, LossReason::Corrupt), missing, "{what}");
}

/// In order and once, the newest among them.
#[track_caller]
fn assert_flushed(stored: &[Stored], case: &Case) {
    assert_announced(stored);
    let mut all = (0..ENTRIES + 10).map(name);
    let in_order = |stored: &Stored| all.any(|expected| expected == stored.text);
    let what = case.name;
    assert!(
        stored.iter().all(in_order),
        "{what}: doubled, or out of order"
    );
    let newest: Vec<_> = stored.iter().rev().take(10).rev().collect();
    let newest: Vec<_> = newest.iter().map(|stored| stored.text.clone()).collect();
    assert_eq!(newest, names(ENTRIES..ENTRIES + 10), "{what}");
    if case.costs == Costs::Nothing {
        assert_eq!(stored.len(), ENTRIES + 10, "{what}");
    }
}

/// With the sink up, and again and again: what is on its way through memory does not notice.
#[test]
fn with_the_sink_up_entries_go_on_meanwhile() {
    let bench = Bench::new();
    let drainer = bench.start();
    let mut next = 0;
    for case in &CASES {
        take_away(case, &bench.spill());
        for moved in [
            bench.spill().join("elsewhere"),
            bench.spill().with_extension("moved"),
        ] {
            if moved.exists() {
                fs::remove_dir_all(moved).unwrap();
            }
        }
        publish(&drainer.publisher(), next..next + 500);
        next += 500;
        until_delivered(&drainer);
        until_made_again(&bench.spill(), case.name);
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
    assert_announced(&bench.remote.stored());
}

/// The directory cannot be made again, because a file is in its place: the sink is served from memory, and what the
/// directory held is not forgotten.
#[test]
fn while_the_directory_cannot_be_made_again_the_sink_is_served_from_memory() {
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
    assert_announced(&bench.remote.stored());
}

/// Pages are damaged while the publisher is at work; it finds out when it reads them.
#[test]
fn damage_under_a_publisher_costs_what_cannot_be_read() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish_large(&drainer);
    damage(&segments(&bench.spill())[0], 500 * 16_384);
    drainer.publisher().publish(Note::new("afterwards"));
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let missing = end_of_damage(&bench, drainer);
    assert!((1..100).contains(&missing), "{missing}");
}

/// The newest entries go with the log, and what comes next never sees the disk.
#[test]
fn losses_at_the_end_of_the_present_run_are_reported_by_its_next_entry() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish_large(&drainer);
    damage(&segments(&bench.spill())[0], 500 * 16_384);
    damage(&logs(&bench.spill())[0], 1_000_000);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    until_delivered(&drainer);
    assert!(end_of_damage(&bench, drainer) > 0);
}

const LARGE: usize = 8_000;

/// About five kilobytes.
fn large(number: usize) -> String {
    format!("{} {}", name(number), "x".repeat(5_000))
}

/// More than a segment holds: the first is sealed, and the second is being written to.
fn publish_large(drainer: &Drainer<Note>) {
    for number in 0..LARGE {
        let note = Note::new(large(number));
        drainer.publisher().publish_timeout(note, LIMIT).unwrap();
    }
    until_spilled(drainer);
}

/// Spoils three pages.
fn damage(file: &Path, at: u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&vec![0xff; 3 * 16_384], at).unwrap();
}

/// Answers how many are missing, which are counted and announced.
#[track_caller]
fn end_of_damage(bench: &Bench, drainer: Drainer<Note>) -> u64 {
    let stats = end(drainer, LARGE as u64 + 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let mut texts = bench.remote.texts();
    assert_eq!(texts.pop().as_deref(), Some("afterwards"));
    let mut all = (0..LARGE).map(large);
    let in_order = |text: &String| all.any(|expected| expected == *text);
    assert!(texts.iter().all(in_order), "doubled, or out of order");
    let missing = (LARGE - texts.len()) as u64;
    assert_eq!(stats.discarded.corrupt, missing);
    assert_eq!(announced(&stored, LossReason::Corrupt), missing);
    missing
}

/// All is in its place again but for the segments, which are made when they are needed.
fn until_made_again(dir: &Path, what: &str) {
    eventually(what, || {
        let set = ["index.sqlite3", "lock", "identity", "watermark"];
        set.into_iter().all(|file| dir.join(file).exists())
    });
}
