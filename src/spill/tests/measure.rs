//! How fast the spill takes, gives and forgets a backlog: a measurement, to be run with optimisation.
//!
//! ```text
//! cargo test --release --lib spill::tests::measure -- --ignored --nocapture
//! ```
//!
//! `bytes_on_disk` says what a backlog of `tests/data/sessions.jsonl`, over and over, takes of the disk.
//!
//! `SPILLRING_ROWS` (200000) of 850 bytes, `SPILLRING_BATCH` ([`APPEND_ROWS_MAX`]) a transaction, in
//! `SPILLRING_MEASURE_DIR` (the system's folder for temporary files); `SPILLRING_DURABILITY=crash` for the weaker one.

use std::io::Write;
use std::time::{Duration, Instant};

use super::*;
use crate::entry::AuditEntry;
use crate::event::Event;
use crate::spill::APPEND_ROWS_MAX;

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn large(run: &Arc<Run>, n: u64) -> Record {
    Record {
        subject: "default.0191f3c2-0000-7000-8000-000000000000".into(),
        bytes: Bytes::from(vec![u8::try_from(n % 251).unwrap_or(0); 850]),
        ..record(run, n)
    }
}

fn tell(what: &str, rows: u64, taken: Duration, mut each: Vec<Duration>) -> Outcome {
    each.sort();
    let at = |part: usize| each[(each.len() - 1) * part / 100];
    writeln!(
        std::io::stdout(),
        "{what:8} {:7.0} rows/s, a transaction p50 {:?}, p99 {:?}, max {:?}",
        f64::from(u32::try_from(rows)?) / taken.as_secs_f64(),
        at(50),
        at(99),
        at(100),
    )?;
    Ok(())
}

#[test]
#[ignore = "a measurement"]
fn append_read_remove() -> Outcome {
    let parent =
        std::env::var_os("SPILLRING_MEASURE_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let dir = tempfile::tempdir_in(parent)?;
    let durability = match std::env::var("SPILLRING_DURABILITY").as_deref() {
        Ok("crash") => SpillDurability::ProcessCrash,
        _ => SpillDurability::PowerLoss,
    };
    let (rows, batch) = (
        setting("SPILLRING_ROWS", 200_000),
        setting("SPILLRING_BATCH", APPEND_ROWS_MAX as u64),
    );
    let mut spill = Spill::open(dir.path(), u64::MAX, durability)?;
    let run = spill.begin_run()?;
    let mut batches = (1..=rows).step_by(usize::try_from(batch)?).peekable();
    while batches.peek().is_some() {
        let (mut each, mut appended) = (Vec::new(), 0);
        for first in batches
            .by_ref()
            .take(usize::try_from(rows / batch / 4 + 1)?)
        {
            let records: Vec<_> = (first..first + batch).map(|n| large(&run, n)).collect();
            let begun = Instant::now();
            appended += spill.append(&records)?;
            each.push(begun.elapsed());
        }
        tell("append", appended, each.iter().sum(), each)?;
    }
    let (mut reads, mut removals, mut read) = (Vec::new(), Vec::new(), 0);
    loop {
        let begun = Instant::now();
        let page = spill.oldest(None, 1_000, 4 << 20)?;
        reads.push(begun.elapsed());
        let Some(last) = page.last() else { break };
        read += page.len() as u64;
        let begun = Instant::now();
        spill.remove_through(last.key())?;
        removals.push(begun.elapsed());
    }
    tell("oldest", read, reads.iter().sum(), reads)?;
    tell("remove", read, removals.iter().sum(), removals)
}

#[test]
#[ignore = "a measurement"]
fn bytes_on_disk() -> Outcome {
    let sessions = std::fs::read_to_string("tests/data/sessions.jsonl")?;
    let mut entries = Vec::new();
    for line in sessions.lines() {
        let entry: AuditEntry = serde_json::from_str(line)?;
        let mut bytes = Vec::new();
        entry.encode(&mut bytes)?;
        entries.push((entry.subject(), Bytes::from(bytes)));
    }
    let dir = tempfile::tempdir()?;
    let mut spill = Spill::open(dir.path(), u64::MAX, SpillDurability::ProcessCrash)?;
    let run = spill.begin_run()?;
    let rows = setting("SPILLRING_ROWS", 200_000);
    let mut source = (1..=rows).zip(entries.iter().cycle()).peekable();
    while source.peek().is_some() {
        let chunk = source.by_ref().take(APPEND_ROWS_MAX);
        let records: Vec<_> = chunk
            .map(|(n, (subject, bytes))| Record {
                subject: subject.as_str().into(),
                bytes: bytes.clone(),
                ..record(&run, n)
            })
            .collect();
        spill.append(&records)?;
    }
    let counted = spill.totals().bytes;
    let encoded: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
    // Without the reserve, which is not the entries'.
    let database = dir.path().join("db");
    let running = on_disk(&database)?;
    drop(spill);
    let closed = on_disk(&database)?;
    let each = |bytes: u64| {
        f64::from(u32::try_from(bytes / 1_000).unwrap_or(u32::MAX)) * 1e3
            / f64::from(u32::try_from(rows).unwrap_or(1))
    };
    writeln!(
        std::io::stdout(),
        "{rows} entries of {} bytes on the average; each {:.0} in spill_bytes, {:.0} on disk while running, {:.0} closed",
        encoded / entries.len(),
        each(counted),
        each(running),
        each(closed),
    )?;
    Ok(())
}

/// The database with its log.
fn on_disk(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for found in std::fs::read_dir(dir)? {
        let found = found?;
        bytes += if found.file_type()?.is_dir() {
            on_disk(&found.path())?
        } else {
            found.metadata()?.len()
        };
    }
    Ok(bytes)
}
