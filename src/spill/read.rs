//! Reading the backlog: rows become records.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::event::{Key, Position, Record};

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
        let found = Found::new(Row::read(row)?.as_ref().map_err(|&key| key));
        let Some(record) = record(runs, fold, found) else {
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

/// A row as it was found, out of the database.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) content: Content,
    popped_ms: u64,
    requeued: Option<Position>,
    subject: Box<str>,
    bytes: Bytes,
}

impl Found {
    pub(super) fn new(row: Result<&Row<'_>, Key>) -> Self {
        match row {
            Ok(row) => Self {
                key: row.key,
                content: row.content(),
                popped_ms: row.popped_ms,
                requeued: row.requeued,
                subject: row.subject.into(),
                bytes: Bytes::copy_from_slice(row.bytes),
            },
            Err(key) => Self::without_entry(key, Content::Damaged),
        }
    }

    pub(super) fn without_entry(key: Key, content: Content) -> Self {
        Self {
            key,
            content,
            popped_ms: 0,
            requeued: None,
            subject: Box::default(),
            bytes: Bytes::new(),
        }
    }
}

/// What a row makes of the fold: a record, if it is an entry that is wanted. An entry of an unknown run is damage.
pub(super) fn record(runs: &Runs, fold: &mut Fold, found: Found) -> Option<Record> {
    let run = runs.get(found.key.local_run());
    let content = match found.content {
        Content::Entry if run.is_none() => Content::Damaged,
        content => content,
    };
    let losses = fold.take(found.key, content)?;
    Some(Record {
        since: Instant::now(),
        run: Arc::clone(run?),
        n: found.key.n(),
        losses,
        popped_ms: found.popped_ms,
        requeued: found.requeued,
        subject: found.subject,
        bytes: found.bytes,
    })
}
