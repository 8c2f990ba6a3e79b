//! The spill against its promises: nothing committed is forgotten, doubled or overtaken, whatever is repeated, damaged
//! or killed in between.

mod backlog;
mod damage;
mod evict;
mod folder;
mod full;
mod imports;
mod letters;
mod letters_astray;
mod lookers;
mod measure;
mod model;
mod processes;
mod reopening;
mod run_chain;
mod salvage;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{DeadLetterReason, Spill};
use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Loss, LossReason, Record, Run};

type Outcome = Result<(), Box<dyn Error>>;

/// What is compared of a record: local run, number, losses, content.
type Gist = (u32, u64, Vec<Loss>, String);

fn open(dir: &Path) -> Result<Spill, SpillError> {
    Spill::open(dir, 1 << 30, SpillDurability::ProcessCrash)
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
        since: std::time::Instant::now(),
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
    records
        .iter()
        .map(|record| {
            (
                record.run.local,
                record.n,
                record.losses.clone(),
                String::from_utf8_lossy(&record.bytes).into_owned(),
            )
        })
        .collect()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.n).collect()
}

fn all(spill: &mut Spill) -> Result<Vec<Record>, SpillError> {
    spill.oldest(None, usize::MAX, u64::MAX)
}

/// The totals are what a scan finds, in memory and on disk.
fn audit(spill: &Spill) -> Outcome {
    let conn = spill.store.connection();
    let scanned = conn.query_row(
        "SELECT count(*) FILTER (WHERE kind = 0), \
         coalesce(sum(octet_length(subject) + length(bytes) + 32) FILTER (WHERE kind = 0), 0), \
         (SELECT count(*) FROM dead_letters), \
         (SELECT coalesce(sum(octet_length(subject) + length(bytes) + 32), 0) FROM dead_letters), \
         count(*) FILTER (WHERE kind <> 0) FROM rows",
        (),
        |row| <(i64, i64, i64, i64, i64)>::try_from(row),
    )?;
    let totals = spill.totals();
    let kept = [
        totals.entries,
        totals.bytes,
        totals.dead_letters,
        totals.dead_letter_bytes,
        totals.losses,
    ];
    let meta = |name: &str| {
        conn.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            row.get::<_, i64>(0)
        })
    };
    let (entries, bytes, dead_letters, dead_letter_bytes, losses) = scanned;
    let scanned = [entries, bytes, dead_letters, dead_letter_bytes, losses];
    assert_eq!(
        kept.map(|total| i64::try_from(total).ok()),
        scanned.map(Some)
    );
    let stored = [
        meta("entries")?,
        meta("bytes")?,
        meta("dead_letters")?,
        meta("dead_letter_bytes")?,
        meta("losses")?,
    ];
    assert_eq!(stored, scanned);
    Ok(())
}
