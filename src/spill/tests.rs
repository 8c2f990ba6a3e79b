//! The spill against its promises: what was appended comes out once, in order, or is a loss that says why; whatever is
//! repeated, damaged, deleted or killed in between.

mod adoption;
mod backlog;
mod damage;
mod dead_letters;
#[cfg(feature = "encryption")]
mod encryption;
mod evict;
mod files;
mod flips;
mod imports;
mod inspections;
mod model;
#[cfg(not(feature = "encryption"))]
mod no_encryption;
mod orphans;
mod passing;
mod run_chain;
mod unspilled;
mod watermarks;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Counted, Done, Order, Reading, Spill};
use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Record, Run};
use crate::stats::{Health, Stats, Status};

type Outcome = Result<(), Box<dyn Error>>;

/// What is compared of a record: local run, number, losses, content.
type Gist = (u32, u64, Vec<Loss>, String);

fn open(dir: &Path) -> Result<Spill, SpillError> {
    Spill::open(dir, None, 1 << 30, SpillDurability::ProcessCrash)
}

/// One whose segments are sealed at this size.
fn open_small(dir: &Path, segment_bytes: u64) -> Result<Spill, SpillError> {
    let mut spill = open(dir)?;
    spill.segment_bytes = segment_bytes;
    Ok(spill)
}

/// Opens it, and begins a run.
fn begun(dir: &Path) -> Result<(Spill, Arc<Run>), SpillError> {
    let mut spill = open(dir)?;
    let run = spill.begin()?.run;
    Ok((spill, run))
}

fn record(run: &Arc<Run>, n: u64) -> Record {
    record_after(run, n, &[])
}

fn record_after(run: &Arc<Run>, n: u64, losses: &[Loss]) -> Record {
    Record {
        run: Arc::clone(run),
        n,
        losses: losses.to_vec(),
        popped_ms: 1_000 + n,
        requeued: None,
        since: Instant::now(),
        subject: format!("acme.{n}").into(),
        bytes: Bytes::from(content(run.local, n)),
    }
}

fn records(run: &Arc<Run>, numbers: impl IntoIterator<Item = u64>) -> Vec<Record> {
    numbers.into_iter().map(|n| record(run, n)).collect()
}

fn content(local: u32, n: u64) -> String {
    format!("entry {n} of {local} né")
}

fn loss(count: u64, reason: LossReason) -> Loss {
    Loss { count, reason }
}

fn gist(records: &[Record]) -> Vec<Gist> {
    let gist = |record: &Record| {
        let content = String::from_utf8_lossy(&record.bytes).into_owned();
        (record.run.local, record.n, record.losses.clone(), content)
    };
    records.iter().map(gist).collect()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.n).collect()
}

/// All that a reader finds after a key.
fn read_after(spill: &mut Spill, after: Option<Key>) -> Result<Reading, SpillError> {
    let mut all = Reading {
        through: after.max(spill.delivered),
        ..Reading::default()
    };
    loop {
        let page = spill.read(all.through, 100, u64::MAX)?;
        let end = page.records.is_empty() && page.through == all.through;
        all.through = page.through;
        all.records.extend(page.records);
        all.trailing.extend(page.trailing);
        all.orphans.extend(page.orphans);
        if end {
            return Ok(all);
        }
    }
}

fn all(spill: &mut Spill) -> Result<Vec<Record>, SpillError> {
    Ok(read_after(spill, None)?.records)
}

/// Reads all, and tries again for longer than the patience with what cannot be read.
fn all_patiently(spill: &mut Spill) -> Result<Reading, SpillError> {
    let start = spill.now;
    for second in 0..120 {
        spill.now = start + Duration::from_secs(second);
        if let Ok(reading) = read_after(spill, None) {
            return Ok(reading);
        }
    }
    read_after(spill, None)
}

/// Everything up to this entry is delivered. Answers how many the spill has counted.
fn settle(spill: &mut Spill, through: Key) -> Result<u64, SpillError> {
    let mut entries = 0;
    loop {
        let settled = spill.settle(through, Counted::Unknown)?;
        entries += settled.tally.entries;
        if settled.through == through {
            return Ok(entries);
        }
    }
}

fn status() -> Box<Status> {
    Box::new(Status {
        publisher: None,
        health: Health::InUse,
        damage: None,
        run: None,
        pid: None,
        at_ms: 0,
        dead_letters: 0,
        dead_letter_bytes: 0,
        quarantined: Vec::new(),
        delivered: None,
        ring: None,
        orphans: Vec::new(),
        stats: Stats::default(),
    })
}

fn tick(spill: &mut Spill) -> Outcome {
    let outcome = spill.carry_out(Order::Tick(status()), spill.now);
    assert!(matches!(outcome.done?, Done::Ticked));
    Ok(())
}

/// As a clean shutdown does, with everything accounted for.
fn end(spill: &mut Spill, last_n: u64) -> Outcome {
    let order = Order::End {
        last_n,
        first_n: last_n + 1,
        losses: Vec::new(),
    };
    assert!(matches!(
        spill.carry_out(order, spill.now).done?,
        Done::Ended
    ));
    Ok(())
}

/// The directory as a kill would leave it now: nothing is closed, nothing carried over.
fn killed(dir: &Path) -> Result<tempfile::TempDir, Box<dyn Error>> {
    let copy = tempfile::tempdir()?;
    copy_folder(dir, copy.path())?;
    Ok(copy)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The files of the segments, oldest first, without their logs.
fn segment_files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.join("segments"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "sqlite3"));
    files.sort();
    Ok(files)
}

/// Entries and bytes are what reading finds; of entries that are lost nobody knows how large they were.
fn audit(spill: &mut Spill) -> Outcome {
    let read = all(spill)?;
    let view = spill.view();
    let bytes: u64 = read.iter().map(Record::size).sum();
    assert_eq!(view.totals.backlog.entries, read.len() as u64);
    let off = view.totals.backlog.bytes.abs_diff(bytes);
    assert!(
        off == 0 || off < 10 + bytes / 10 && view.corrupt > 0,
        "{off} of {bytes}"
    );
    Ok(())
}
