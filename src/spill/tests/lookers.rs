//! Whoever looks at a spill disturbs nobody: neither another who looks, nor a publisher that starts. Tried with threads,
//! whose locks on files of their own are as strange to one another as those of processes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::processes::Other;
use super::*;
use crate::spill::{Directory, Look};
use crate::status::status;

/// Looks that each looker takes.
const LOOKS: usize = 100;
/// Starts of a publisher, each while somebody looks.
const STARTS: usize = 20;

/// Says what was not as it should be in a status at rest with at least so many entries.
fn look(dir: &Path, entries: u64) -> Result<(), String> {
    let status = status(dir).map_err(|error| error.to_string())?;
    match status.pid {
        None if status.stats.spilled >= entries => Ok(()),
        _ => Err(format!("{status:?}")),
    }
}

fn joined(looker: ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), String> {
    looker
        .join()
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
}

#[test]
fn a_killed_publisher_is_never_taken_for_live_however_many_look() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut other = Other::start("other_appends_for_ever", dir.path())?;
    let entries = other.hear()?.ok_or("it died")?;
    other.kill()?;
    let together = Barrier::new(3);
    thread::scope(|scope| {
        let look_on = || {
            let looks = (0..LOOKS).map(|_| {
                together.wait();
                look(dir.path(), entries)
            });
            looks.fold(Ok(()), Result::and)
        };
        let lookers: Vec<_> = (0..3).map(|_| scope.spawn(look_on)).collect();
        lookers.into_iter().try_for_each(joined)
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
                Look::at(&directory).map_err(|error| error.to_string())?;
                inside.store(false, Ordering::Relaxed);
                drop(directory);
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
fn whoever_reads_for_long_gives_way_to_a_publisher() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=5_000))?;
    drop(spill);
    let directory = Directory::take_existing(dir.path())?;
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            open(dir.path())
                .map(drop)
                .map_err(|error| error.to_string())
        });
        let gone = loop {
            let mut look = Look::at(&directory).map_err(|error| error.to_string())?;
            let read =
                std::iter::from_fn(|| look.next().transpose()).collect::<Result<Vec<_>, _>>();
            match read {
                Ok(records) => assert_eq!(records.len(), 5_000),
                Err(error) => break error,
            }
            assert!(!publisher.is_finished(), "it did not wait");
        };
        assert!(
            matches!(gone, SpillError::InUse { pid: None, .. }),
            "{gone}"
        );
        drop(directory);
        joined(publisher)
    })?;
    Ok(())
}

/// One who never leaves is no publisher: the process that was the last one is not told as the one that holds it.
#[test]
fn those_who_look_are_not_waited_for_for_ever() -> Outcome {
    let dir = tempfile::tempdir()?;
    open(dir.path())?;
    let looker = Directory::take_existing(dir.path())?;
    let asked = Instant::now();
    let refused = open(dir.path());
    assert!(
        matches!(refused, Err(SpillError::InUse { pid: None, .. })),
        "{refused:?}"
    );
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert!(asked.elapsed() < Duration::from_secs(5));
    drop(looker);
    open(dir.path())?;
    Ok(())
}
