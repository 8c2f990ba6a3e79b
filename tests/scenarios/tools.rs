//! The operator's tools around a spill at rest, over the same table of damages that starts have to cope with. `status`
//! says what is damaged and what is not, `export` writes what a start would deliver, and neither changes a byte of the
//! directory.

#[path = "../json_lines/kernel.rs"]
#[allow(dead_code, reason = "the tests of JSON lines use the rest")]
mod kernel;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use data_encoding::BASE64;
use seccompiler::SeccompCmpOp;
use serde_json::Value;
use spillring::error::SpillError;
use spillring::operate::Exported;
use spillring::stats::{Health, Status};

use test_support::bench::{
    Bench, Note, assert_announced, copy_folder, end, quick, until_delivered,
};
use test_support::damages::{
    CASES, Case, ENTRIES, Ended, Fate, LOST_RUNS, Survives, damaged, middle, overwrite, segment,
    segments, spilled, sql, texts,
};
use test_support::sinks::{Cursor, Remote};

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

/// What a start delivers.
fn delivered(dir: &Path) -> Vec<Entry> {
    let remote = Remote::in_memory(Cursor::Kept);
    let drainer = spillring::start::<Note>(quick(dir), remote.sink()).unwrap();
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    end(drainer, 1);
    let mut stored = remote.stored();
    assert_announced(&stored);
    let afterwards = stored.pop().unwrap();
    assert_eq!(afterwards.text, "afterwards");
    let entries = stored.into_iter().map(|stored| {
        let (run, lost) = (stored.run.to_string(), stored.lost());
        (run, stored.n, lost, stored.subject, stored.text)
    });
    entries.collect()
}

fn exported(dir: &Path) -> (Exported, Vec<Entry>) {
    let mut out = Vec::new();
    let exported = spillring::operate::export(dir, &mut out).unwrap();
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
    let status = spillring::operate::status(dir).unwrap();
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
    let alone = delivered(&copy(bench, "started"));
    let at = entries
        .iter()
        .zip(&alone)
        .position(|(one, other)| one != other);
    assert_eq!(
        (at, entries.len()),
        (None, alone.len()),
        "{context}: the first that export and start differ in, and how many"
    );
    (status, exported)
}

/// A start tries for ten seconds what is damaged: all cases at once.
#[test]
fn the_tools_report_any_damage_and_agree_with_a_start() {
    let in_a_thread = |case: &'static Case| {
        thread::Builder::new()
            .name(case.name.to_owned())
            .spawn(|| assert_reported_as(case))
            .unwrap()
    };
    let cases = || CASES.iter().chain(&LOST_RUNS);
    let threads: Vec<_> = cases().map(in_a_thread).collect();
    let failed: Vec<_> = threads
        .into_iter()
        .zip(cases())
        .filter_map(|(thread, case)| thread.join().is_err().then_some(case.name))
        .collect();
    assert_eq!(failed, [""; 0]);
}

fn assert_reported_as(case: &Case) {
    let context = case.name;
    let bench = spilled(case.ended);
    (case.damage)(&segment(&bench));
    let (status, exported) = assert_tools(&bench, context);
    let sound = case.survives == Survives::All && case.fate == Fate::Used;
    let healthy = status.health == Health::Healthy;
    assert_eq!(healthy, sound, "{context}: {status:?}");
    let missing = ENTRIES as u64 - exported.entries;
    assert_eq!(exported.missing, missing, "{context}");
    assert_eq!(exported.is_complete(), missing == 0, "{context}");
    let damage = status.damage.unwrap_or_default();
    let report = format!("{missing} entries are damaged or missing");
    assert_eq!(damage.contains(&report), missing > 0, "{context}: {damage}");
}

/// A damage that the table does not have, and a piece of the sentence that tells it.
#[track_caller]
fn assert_reported(ended: Ended, damage: impl FnOnce(&Bench), piece: &str) -> (Status, Exported) {
    let bench = spilled(ended);
    damage(&bench);
    let (status, exported) = assert_tools(&bench, piece);
    let report = status.damage.as_deref().unwrap_or_default();
    assert!(report.contains(piece), "no `{piece}` in {report}");
    (status, exported)
}

#[test]
fn rows_that_rot_or_vanish_are_counted() {
    for lose in [
        "UPDATE rows SET bytes = zeroblob(9) WHERE key % 1000 = 7",
        "DELETE FROM rows WHERE key % 1000 = 7",
    ] {
        let report = "4 entries are damaged or missing";
        let damage = |bench: &Bench| sql(&segment(bench), lose);
        let (_, exported) = assert_reported(Ended::Killed, damage, report);
        assert_eq!(exported.missing, 4);
    }
}

#[test]
fn an_identity_or_a_watermark_that_is_gone_is_reported() {
    for file in ["identity", "watermark"] {
        let remove = |bench: &Bench| fs::remove_file(bench.spill().join(file)).unwrap();
        let (status, exported) = assert_reported(Ended::Clean, remove, "is missing");
        assert!(exported.is_complete(), "{file}");
        assert_eq!(status.publisher.is_none(), file == "identity");
    }
    let spoil = |bench: &Bench| fs::write(bench.spill().join("identity"), "\0\0").unwrap();
    assert_reported(Ended::Killed, spoil, "the publisher's id");
    let spoil = |bench: &Bench| {
        let watermark = bench.spill().join("watermark");
        overwrite(&watermark, 0, test_support::damages::length(&watermark));
    };
    assert_reported(Ended::Killed, spoil, "the watermark is missing or damaged");
}

#[test]
fn dead_letters_are_counted_and_their_damage_is_reported() {
    let bench = Bench::new();
    let refused = (0..4).map(|n| 3 * n);
    for number in refused.clone() {
        bench.remote.refuse(test_support::damages::text(number));
    }
    let drainer = bench.start();
    test_support::damages::publish(&drainer, 0..10);
    until_delivered(&drainer);
    end(drainer, 10);
    let index = bench.spill().join("index.sqlite3");
    let kept = refused.count() as u64;
    let (status, exported, _) = look(&bench.spill());
    assert_eq!(
        (status.health, status.dead_letters, status.damage),
        (Health::Healthy, kept, None)
    );
    assert_eq!(exported.dead_letters, kept);
    for damage in [
        "UPDATE dead_letters SET subject = 'x' WHERE key = (SELECT min(key) FROM dead_letters)",
        "DELETE FROM dead_letters WHERE subject = 'x'",
    ] {
        sql(&index, damage);
        let (status, exported, _) = look(&bench.spill());
        let report = "1 dead letters are damaged or missing";
        assert_eq!(status.damage.as_deref(), Some(report));
        assert_eq!(exported.dead_letters, kept - 1);
    }
}

/// A start has delivered what could be read of it.
#[test]
fn damaged_segments_that_are_kept_are_named_and_are_no_damage() {
    let bench = spilled(Ended::Clean);
    let file = segment(&bench);
    sql(
        &file,
        "UPDATE rows SET bytes = zeroblob(9) WHERE key % 1000 = 7",
    );
    assert_eq!(delivered(&bench.spill()).len(), ENTRIES - 4);
    let kept = damaged(&bench.spill());
    assert_eq!(kept, [file.with_extension("damaged")]);
    let (status, exported, _) = look(&bench.spill());
    assert_eq!(status.health, Health::Healthy, "{status:?}");
    assert_eq!(status.quarantined, kept);
    assert_eq!(exported.quarantined, kept);
    assert!(exported.is_complete());
}

/// A disk that fails to read one page. A start waits for it to come back; whoever looks gives the page up for now.
#[test]
fn what_a_failing_disk_does_not_give_is_left_out() {
    let bench = spilled(Ended::Clean);
    let (dir, page) = (bench.spill(), middle(&segment(&bench)));
    let (status, exported) = thread::scope(|scope| {
        let worked = scope.spawn(|| {
            kernel::forbid_where(LSEEK, (1, SeccompCmpOp::Eq, page), kernel::EIO);
            kernel::forbid_where(PREAD, (3, SeccompCmpOp::Eq, page), kernel::EIO);
            let status = spillring::operate::status(&dir).unwrap();
            (status, exported(&dir).0)
        });
        worked.join().unwrap()
    });
    assert_eq!(status.health, Health::Damaged);
    assert!(
        exported.missing > 0 && exported.entries > 3_000,
        "{exported:?}"
    );
    assert_eq!(exported.missing, ENTRIES as u64 - exported.entries);
    // It was the disk: nothing is lost.
    assert_eq!(delivered(&dir).len(), ENTRIES);
    assert_eq!(segments(&dir).len() + damaged(&dir).len(), 0);
}

#[test]
fn a_running_publisher_is_left_alone() {
    let mut bench = Bench::down();
    let drainer = bench.start();
    test_support::damages::publish(&drainer, 0..10);
    let dir = bench.spill();
    let own = std::process::id();
    let refused = |error: &SpillError| matches!(error, SpillError::InUse { pid: Some(pid), .. } if *pid == own);
    assert_eq!(
        spillring::operate::status(&dir).unwrap().health,
        Health::InUse
    );
    match spillring::operate::export(&dir, &mut Vec::new()) {
        Err(spillring::error::ExportError::Spill(error)) => assert!(refused(&error), "{error}"),
        exported => panic!("{exported:?}"),
    }
    test_support::bench::until_spilled(&drainer);
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
        spillring::operate::status(&spill),
        Err(SpillError::Missing { .. })
    ));
    assert!(spillring::operate::export(&spill, &mut Vec::new()).is_err());
    assert!(!spill.exists());
}
