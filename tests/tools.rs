//! The operator's tools around a spill at rest, over the same table of damages that starts have to cope with. `status`
//! says what is damaged and what is not, `export` writes what a start would deliver, and neither changes a byte of the
//! directory; after a `repair` a start delivers the same as without it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[path = "support/damages.rs"]
mod damages;

#[path = "json_lines/kernel.rs"]
#[allow(dead_code, reason = "the tests of JSON lines use the rest")]
mod kernel;

#[path = "support/core.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use data_encoding::BASE64;
use seccompiler::SeccompCmpOp;
use serde_json::Value;
use spillring::{Exported, Health, SpillError, Status};

use damages::{
    CASES, ENTRIES, Ended, Fate, LOST_RUNS, Survives, database, folders, log, middle, overwrite,
    spilled, sql, texts,
};
use support::bench::{
    Bench, Note, assert_told as assert_told_in_order, copy_folder, end, quick, until_delivered,
};
use support::sinks::{Cursor, Remote};

/// System calls by number.
#[cfg(target_arch = "x86_64")]
const LSEEK: i64 = 8;
#[cfg(target_arch = "x86_64")]
const PREAD: i64 = 17;
#[cfg(target_arch = "aarch64")]
const LSEEK: i64 = 62;
#[cfg(target_arch = "aarch64")]
const PREAD: i64 = 67;

/// What is compared of an entry: run, number, losses before it, subject, text.
type Entry = (String, u64, u64, String, String);

/// What a start delivers, and how many losses the first entry tells that is published afterwards.
fn delivered(dir: &Path) -> (Vec<Entry>, u64) {
    let remote = Remote::in_memory(Cursor::Kept);
    let drainer = spillring::start::<Note>(quick(dir), remote.sink()).unwrap();
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    end(drainer, 1);
    let mut stored = remote.stored();
    assert_told_in_order(&stored);
    let afterwards = stored.pop().unwrap();
    assert_eq!(afterwards.text, "afterwards");
    let entries = stored.into_iter().map(|stored| {
        let (run, lost) = (stored.run.to_string(), stored.lost());
        (run, stored.n, lost, stored.subject, stored.text)
    });
    (entries.collect(), afterwards.lost())
}

fn exported(dir: &Path) -> (Exported, Vec<Entry>) {
    let mut out = Vec::new();
    let exported = spillring::export(dir, &mut out).unwrap();
    let lines = std::str::from_utf8(&out).unwrap().lines();
    let entries: Vec<_> = lines.map(entry).collect();
    assert_eq!(exported.entries, entries.len() as u64);
    (exported, entries)
}

fn entry(line: &str) -> Entry {
    let line: Value = serde_json::from_str(line).unwrap();
    let string = |key: &str| line[key].as_str().unwrap().to_owned();
    let bytes = BASE64.decode(string("bytes").as_bytes()).unwrap();
    assert!(line["popped_ms"].as_u64().unwrap() > 0 && line.get("entry").is_none());
    let numbers = ["n", "lost"].map(|key| line[key].as_u64().unwrap());
    (
        string("run"),
        numbers[0],
        numbers[1],
        string("subject"),
        String::from_utf8(bytes).unwrap(),
    )
}

/// Every file with its content, every folder with nothing.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Status and export, which leave everything as it is.
#[track_caller]
fn look(dir: &Path) -> (Status, Exported, Vec<Entry>) {
    let before = contents(dir);
    let status = spillring::status(dir).unwrap();
    let (exported, entries) = exported(dir);
    assert_same(&before, &contents(dir));
    assert_eq!(status.stats.spilled, exported.entries);
    assert_eq!(status.dead_letters, exported.dead_letters);
    assert_eq!(status.damage.is_some(), status.health == Health::Damaged);
    (status, exported, entries)
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    for (path, content) in before {
        assert!(after[path] == *content, "{} has changed", path.display());
    }
}

fn copy(bench: &Bench, name: &str) -> PathBuf {
    let copy = bench.dir.path().join(name);
    copy_folder(&bench.spill(), &copy);
    copy
}

/// What holds of every spill, whatever has befallen it.
#[track_caller]
fn assert_tools(bench: &Bench, context: &str) -> (Status, Exported) {
    let (status, exported, entries) = look(&bench.spill());
    let (alone, told) = delivered(&copy(bench, "started"));
    let at = entries
        .iter()
        .zip(&alone)
        .position(|(one, other)| one != other);
    assert_eq!(
        (at, entries.len()),
        (None, alone.len()),
        "{context}: the first that export and start differ in, and how many"
    );
    let dir = copy(bench, "repaired");
    let repaired = spillring::repair(&dir).unwrap();
    assert_eq!(repaired.salvaged, alone.len() as u64, "{context}");
    let after = spillring::status(&dir).unwrap();
    assert_eq!(after.health, Health::Healthy, "{context}: {after:?}");
    assert_eq!(after.dead_letters, status.dead_letters, "{context}");
    assert!(
        repaired
            .set_aside
            .iter()
            .all(|folder| after.quarantined.contains(folder))
    );
    assert_eq!(folders(&dir, "db.salvaging."), Vec::<PathBuf>::new());
    let (afterwards, told_afterwards) = delivered(&dir);
    assert!(
        afterwards == alone,
        "{context}: repair has changed what is delivered"
    );
    assert_eq!(told_afterwards, told, "{context}");
    (status, exported)
}

#[test]
fn whatever_is_damaged_the_tools_tell_it_and_agree_with_a_start() {
    for case in CASES.iter().chain(&LOST_RUNS) {
        let context = case.name;
        let bench = spilled(case.ended);
        (case.damage)(&database(&bench));
        let (status, exported) = assert_tools(&bench, context);
        let sound = case.survives == Survives::All && case.fate == Fate::Used;
        let healthy = status.health == Health::Healthy;
        assert_eq!(healthy, sound, "{context}: {status:?}");
        let missing = ENTRIES as u64 - exported.entries;
        assert_eq!(exported.missing + exported.damaged, missing, "{context}");
        assert_eq!(exported.is_complete(), missing == 0, "{context}");
        let damage = status.damage.unwrap_or_default();
        let told = format!("at least {} entries are missing", exported.missing);
        let some = exported.missing > 0;
        assert_eq!(damage.contains(&told), some, "{context}: {damage}");
    }
}

/// A damage that the table does not have, and a piece of the sentence that tells it.
#[track_caller]
fn assert_told(ended: Ended, damage: impl FnOnce(&Bench), piece: &str) -> (Status, Exported) {
    let bench = spilled(ended);
    damage(&bench);
    let (status, exported) = assert_tools(&bench, piece);
    let told = status.damage.as_deref().unwrap_or_default();
    assert!(told.contains(piece), "no `{piece}` in {told}");
    (status, exported)
}

#[test]
fn rows_that_rot_are_counted() {
    let rot = "UPDATE rows SET bytes = zeroblob(9) WHERE key % 1000 = 7";
    let (_, exported) = assert_told(
        Ended::Clean,
        |bench| sql(&database(bench), rot),
        "4 rows are damaged",
    );
    assert_eq!((exported.damaged, exported.missing), (4, 0));
    let vanish = "DELETE FROM rows WHERE key % 1000 = 7";
    let (_, exported) = assert_told(
        Ended::Killed,
        |bench| sql(&database(bench), vanish),
        "at least 4 entries are missing",
    );
    assert_eq!((exported.damaged, exported.missing), (0, 4));
}

#[test]
fn totals_that_do_not_fit_are_told() {
    let bench = spilled(Ended::Clean);
    let bend = "UPDATE meta SET value = value + 5 WHERE name = 'entries'";
    sql(&database(&bench), bend);
    let (status, ..) = look(&bench.spill());
    let told = "the totals tell of 4005 entries, there are 4000";
    assert_eq!(status.damage.as_deref(), Some(told));
}

#[test]
fn an_identity_or_a_mark_that_is_gone_is_told() {
    for file in ["identity", "mark"] {
        let remove = |bench: &Bench| fs::remove_file(bench.spill().join(file)).unwrap();
        let (status, exported) = assert_told(Ended::Clean, remove, "is missing");
        assert!(exported.is_complete(), "{file}");
        assert_eq!(status.publisher.is_none(), file == "identity");
    }
    let spoil = |bench: &Bench| fs::write(bench.spill().join("identity"), "\0\0").unwrap();
    assert_told(Ended::Killed, spoil, "the publisher's id");
    let spoil = |bench: &Bench| {
        let mark = bench.spill().join("mark");
        overwrite(&mark, 0, damages::length(&mark));
    };
    assert_told(Ended::Killed, spoil, "the mark is damaged");
}

/// One was set aside, and the process killed before it was carried over.
#[test]
fn a_database_that_waits_to_be_salvaged_is_told_and_exported() {
    for ended in [Ended::Clean, Ended::Killed] {
        let set_aside = |bench: &Bench| {
            let dir = bench.spill();
            fs::rename(dir.join("db"), dir.join("db.salvaging.7")).unwrap();
        };
        let (_, exported) = assert_told(ended, set_aside, "db.salvaging.7 waits to be salvaged");
        assert!(exported.is_complete());
        let and_damage = |bench: &Bench| {
            let file = database(bench);
            if ended == Ended::Clean {
                overwrite(&file, middle(&file), damages::PAGE);
            } else {
                damages::cut(&log(&file), damages::length(&log(&file)) / 2);
            }
            set_aside(bench);
        };
        let (_, exported) = assert_told(ended, and_damage, "entries are missing");
        assert!(!exported.is_complete());
    }
}

#[test]
fn dead_letters_are_counted_and_their_damage_is_told() {
    let bench = spilled(Ended::Clean);
    let bury = "INSERT INTO dead_letters SELECT key, (SELECT id FROM runs), 'rejected', '', \
         popped_ms, 0, checksum, requeued, subject, bytes FROM rows WHERE key & 0xff = 1; \
         UPDATE meta SET value = (SELECT count(*) FROM dead_letters) WHERE name = 'dead_letters'";
    sql(&database(&bench), bury);
    let kept = ENTRIES.div_ceil(256) as u64;
    let (status, exported, _) = look(&bench.spill());
    assert_eq!(
        (status.health, status.dead_letters),
        (Health::Healthy, kept)
    );
    assert_eq!(exported.dead_letters, kept);
    sql(
        &database(&bench),
        "UPDATE dead_letters SET subject = 'x' WHERE key & 0xffff = 1",
    );
    let (status, ..) = look(&bench.spill());
    assert_eq!(status.damage.as_deref(), Some("1 dead letters are damaged"));
    sql(
        &database(&bench),
        "DELETE FROM dead_letters WHERE key & 0xffff = 1",
    );
    let (status, ..) = look(&bench.spill());
    assert_eq!(status.damage.as_deref(), Some("1 dead letters are missing"));
}

#[test]
fn quarantined_databases_are_named_and_are_no_damage() {
    let bench = spilled(Ended::Clean);
    let repaired = spillring::repair(&bench.spill()).unwrap();
    assert_eq!((repaired.salvaged, repaired.missing), (ENTRIES as u64, 0));
    assert_eq!(repaired.set_aside.len(), 1);
    let (status, exported, _) = look(&bench.spill());
    assert_eq!(status.health, Health::Healthy);
    assert_eq!(status.quarantined, repaired.set_aside);
    assert_eq!(exported.quarantined, repaired.set_aside);
}

/// A disk that fails to read one page. A start waits for it to come back; whoever repairs gives the page up.
#[test]
fn what_a_failing_disk_does_not_give_is_left_out() {
    let bench = spilled(Ended::Clean);
    let (dir, page) = (bench.spill(), middle(&database(&bench)));
    let (status, (exported, entries), repaired) = thread::scope(|scope| {
        let worked = scope.spawn(|| {
            kernel::forbid_where(LSEEK, (1, SeccompCmpOp::Eq, page), kernel::EIO);
            kernel::forbid_where(PREAD, (3, SeccompCmpOp::Eq, page), kernel::EIO);
            let status = spillring::status(&dir).unwrap();
            (status, exported(&dir), spillring::repair(&dir).unwrap())
        });
        worked.join().unwrap()
    });
    assert_eq!(status.health, Health::Damaged);
    assert!(
        exported.missing > 0 && exported.entries > 3_000,
        "{exported:?}"
    );
    assert_eq!(repaired.salvaged, exported.entries);
    assert_eq!(repaired.missing, exported.missing);
    assert!(delivered(&dir).0 == entries);
}

#[test]
fn a_running_publisher_is_left_alone() {
    let mut bench = Bench::down();
    let drainer = bench.start();
    damages::publish(&drainer, 0..10);
    let dir = bench.spill();
    let own = std::process::id();
    let refused = |error: &SpillError| matches!(error, SpillError::InUse { pid: Some(pid), .. } if *pid == own);
    assert_eq!(spillring::status(&dir).unwrap().health, Health::InUse);
    let error = spillring::repair(&dir).unwrap_err();
    assert!(refused(&error), "{error}");
    match spillring::export(&dir, &mut Vec::new()) {
        Err(spillring::ExportError::Spill(error)) => assert!(refused(&error), "{error}"),
        exported => panic!("{exported:?}"),
    }
    support::bench::until_spilled(&drainer);
    bench.kill(drainer);
    let texts_left: Vec<_> = exported(&bench.spill())
        .1
        .into_iter()
        .map(|entry| entry.4)
        .collect();
    assert_eq!(texts_left, texts(0..10));
}

/// `SQLite` is given the database's name as part of a URI.
#[test]
fn a_directory_may_have_any_name() {
    let bench = spilled(Ended::Clean);
    let odd = bench.dir.path().join("a b?mode=rwc#c%41d\u{e9}&");
    fs::rename(bench.spill(), &odd).unwrap();
    let (status, exported, _) = look(&odd);
    assert_eq!(status.health, Health::Healthy, "{status:?}");
    assert_eq!(exported.entries, ENTRIES as u64);
}

#[test]
fn nothing_is_made_where_there_is_no_spill() {
    let dir = tempfile::tempdir().unwrap();
    let spill = dir.path().join("spill");
    assert!(matches!(
        spillring::status(&spill),
        Err(SpillError::Missing { .. })
    ));
    assert!(matches!(
        spillring::repair(&spill),
        Err(SpillError::Missing { .. })
    ));
    assert!(spillring::export(&spill, &mut Vec::new()).is_err());
    assert!(!spill.exists());
}
