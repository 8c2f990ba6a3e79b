//! An inspector changes nothing of a spill, and disturbs nobody: neither another inspector, nor a publisher that
//! starts. Tried with threads, whose locks on files of their own are as strange to one another as those of processes.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::*;
use crate::spill::status_file::write_status;
use crate::spill::{Directory, Inspection};
use crate::stats::State;
use crate::status::status as status_of;

/// Looks that each looker takes.
const LOOKS: usize = 30;
/// Starts of a publisher, each while somebody looks.
const STARTS: usize = 20;

/// What a directory holds, byte by byte.
fn bytes_of(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(bytes_of(&path)?);
        } else {
            files.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(files)
}

fn joined(looker: ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), String> {
    looker
        .join()
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Killed with an open segment and its log, one that is sealed, one that is damaged, and a dead letter.
fn killed_spill() -> Result<tempfile::TempDir, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 2_000)?;
    let run = spill.begin()?.run;
    for chunk in records(&run, 1..=105).chunks(5) {
        spill.append(chunk)?;
    }
    assert!(spill.active.is_some());
    killed(dir.path())
}

#[test]
fn looking_changes_no_byte() -> Outcome {
    let dir = killed_spill()?;
    for damaged in [false, true] {
        if damaged {
            let file = &segment_files(dir.path())?[1];
            let length = std::fs::metadata(file)?.len();
            std::fs::write(file, vec![3; usize::try_from(length)?])?;
        }
        let before = bytes_of(dir.path())?;
        let status = status_of(dir.path())?;
        assert_eq!((status.pid, status.stats.state), (None, State::Stopped));
        assert_eq!(status.damage.is_some(), damaged, "{:?}", status.damage);
        assert_eq!(status.stats.spilled == 105, !damaged);
        let mut inspection = Inspection::of(Directory::take_existing(dir.path())?, None)?;
        let mut found = 0;
        while inspection.next()?.is_some() {
            found += 1;
        }
        assert_eq!(found, status.stats.spilled);
        let findings = inspection.findings()?;
        assert_eq!(
            (findings.backlog.entries, findings.missing),
            (found, 105 - found)
        );
        assert!(bytes_of(dir.path())? == before, "looking changed something");
    }
    Ok(())
}

/// Killed after its first rows were committed, and before the watermark knew of them.
#[test]
fn a_spill_that_was_killed_at_its_first_append_is_whole() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let watermark = dir.path().join("watermark");
    let before = std::fs::read(&watermark)?;
    spill.append(&records(&run, 1..=3))?;
    std::fs::write(&watermark, before)?;
    let dir = killed(dir.path())?;
    let status = status_of(dir.path())?;
    assert_eq!((status.stats.spilled, status.damage), (3, None));
    Ok(())
}

#[test]
fn inspectors_never_take_a_killed_publisher_for_a_live_one() -> Outcome {
    let dir = killed_spill()?;
    let together = Barrier::new(3);
    thread::scope(|scope| {
        let inspect_all = || {
            let mut done = Ok(());
            for _ in 0..LOOKS {
                together.wait();
                let status = status_of(dir.path()).map_err(|error| error.to_string());
                let as_it_is =
                    |status: &Status| status.pid.is_none() && status.stats.spilled == 105;
                done = done.and(match status {
                    Ok(status) if as_it_is(&status) => Ok(()),
                    other => Err(format!("{other:?}")),
                });
            }
            done
        };
        let inspectors: Vec<_> = (0..3).map(|_| scope.spawn(inspect_all)).collect();
        inspectors.into_iter().try_for_each(joined)
    })?;
    Ok(())
}

#[test]
fn a_publisher_that_starts_waits_for_those_who_look() -> Outcome {
    let dir = tempfile::tempdir()?;
    open(dir.path())?;
    let (inside, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Ok(directory) = Directory::take_existing(dir.path()) else {
                    continue;
                };
                inside.store(true, Ordering::Relaxed);
                let inspection =
                    Inspection::of(directory, None).map_err(|error| error.to_string())?;
                inside.store(false, Ordering::Relaxed);
                drop(inspection);
                thread::yield_now();
            }
            Ok(())
        });
        let started = (0..STARTS).try_for_each(|_| {
            while !inside.load(Ordering::Relaxed) && !looker.is_finished() {
                thread::yield_now();
            }
            open(dir.path()).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        started.map_err(|error| error.to_string())?;
        joined(looker)
    })?;
    Ok(())
}

/// A backlog may take longer to read than a publisher waits.
#[test]
fn an_inspector_that_reads_for_long_gives_way_to_a_publisher() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=2_000))?;
    drop(spill);
    let mut inspection = Inspection::of(Directory::take_existing(dir.path())?, None)?;
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let opened = open(dir.path()).map(drop);
            opened.map_err(|error| error.to_string())
        });
        let start = Instant::now();
        let waits = || Directory::take_existing(dir.path()).and_then(|other| other.give_way());
        while waits().is_ok() && start.elapsed() < Duration::from_secs(5) {
            thread::yield_now();
        }
        let read = std::iter::from_fn(|| inspection.next().transpose()).find_map(Result::err);
        let gone = read.ok_or("it read on")?;
        assert!(
            matches!(gone, SpillError::InUse { pid: None, .. }),
            "{gone}"
        );
        drop(inspection);
        joined(publisher)
    })?;
    Ok(())
}

/// An inspector that never leaves is no publisher: the last publisher's process is not named as the lock's holder.
#[test]
fn a_publisher_does_not_wait_for_ever_for_inspectors() -> Outcome {
    let dir = tempfile::tempdir()?;
    open(dir.path())?;
    let looker = Directory::take_existing(dir.path())?;
    let asked = Instant::now();
    let refused = open(dir.path());
    assert!(
        matches!(refused, Err(SpillError::InUse { pid: None, .. })),
        "{refused:?}"
    );
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(5));
    drop(looker);
    open(dir.path())?;
    Ok(())
}

#[test]
fn the_status_of_a_running_publisher_is_what_it_said() -> Outcome {
    let dir = tempfile::tempdir()?;
    let missing = status_of(dir.path());
    assert!(matches!(missing, Err(SpillError::Missing { .. })));
    assert_eq!(
        std::fs::read_dir(dir.path())?.count(),
        0,
        "looking made something"
    );
    let (spill, run) = begun(dir.path())?;
    let pid = Some(std::process::id());
    let before = status_of(dir.path())?;
    assert_eq!(
        (before.run, before.pid),
        (None, pid),
        "it has not said anything yet"
    );
    let mut said = Status {
        publisher: Some(spill.publisher()),
        run: Some(run.id),
        pid,
        ..*status()
    };
    write_status(dir.path(), &said)?;
    assert_eq!(status_of(dir.path())?, said);
    said.pid = Some(1);
    write_status(dir.path(), &said)?;
    assert_eq!(
        status_of(dir.path())?.run,
        None,
        "the word of an earlier process"
    );
    Ok(())
}

/// Nothing can be read, and nobody knows where the backlog begins: the look ends all the same.
#[test]
fn a_spill_of_which_nothing_can_be_read_is_damaged() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=9))?;
    drop(spill);
    std::fs::write(&segment_files(dir.path())?[0], vec![7; 9_000])?;
    for gone in [None, Some("watermark"), Some("index.sqlite3")] {
        if let Some(file) = gone {
            std::fs::remove_file(dir.path().join(file))?;
        }
        let status = status_of(dir.path())?;
        assert_eq!(status.stats.spilled, 0);
        assert_eq!(status.health, Health::Damaged, "{gone:?}");
    }
    Ok(())
}

/// One of the first versions, which says even less.
#[test]
fn an_old_database_of_which_nothing_can_be_read_is_looked_at_to_its_end() -> Outcome {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("db");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("spill.sqlite3"), vec![7; 9_000])?;
    std::fs::write(dir.path().join("lock"), b"")?;
    let status = status_of(dir.path())?;
    assert_eq!((status.stats.spilled, status.health), (0, Health::Damaged));
    Ok(())
}
