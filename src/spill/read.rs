//! Reading the backlog: rows become records.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::event::{Key, Record};

use super::database::Database;
use super::fold::{Content, Fold};
use super::rows::{self, Row};
use super::runs::Runs;

/// Reads the oldest records behind `after`; see [`Spill::oldest`](super::Spill::oldest).
pub(super) fn read(
    database: &Database,
    runs: &Runs,
    fold: &mut Fold,
    after: Option<Key>,
    rows_max: usize,
    bytes_max: u64,
) -> rusqlite::Result<Vec<Record>> {
    let mut statement = database.connection().prepare_cached(rows::SELECT_FROM)?;
    let mut rows = statement.query([after.unwrap_or_default().row()])?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let Some(record) = record(runs, fold, &Row::read(row)?) else {
            continue;
        };
        bytes += record.size();
        if bytes > bytes_max && !records.is_empty() {
            break;
        }
        records.push(record);
        if records.len() >= rows_max {
            break;
        }
    }
    Ok(records)
}

/// What a row makes of the fold: a record, if it is an entry that is wanted.
pub(super) fn record(runs: &Runs, fold: &mut Fold, row: &Result<Row<'_>, Key>) -> Option<Record> {
    let known = row
        .as_ref()
        .map_err(|&key| key)
        .and_then(|row| Ok((row, runs.get(row.key.local_run()).ok_or(row.key)?)));
    let (row, run) = match known {
        Ok(known) => known,
        Err(key) => {
            fold.take(key, Content::Damaged);
            return None;
        }
    };
    let losses = fold.take(row.key, row.content())?;
    Some(Record {
        since: Instant::now(),
        run: Arc::clone(run),
        n: row.key.n(),
        losses,
        popped_ms: row.popped_ms,
        requeued: row.requeued,
        subject: row.subject.into(),
        bytes: Bytes::copy_from_slice(row.bytes),
    })
}
