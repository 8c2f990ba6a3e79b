//! Putting dead letters back into the backlog, under new numbers.
//!
//! The row is written first, and the letter removed after that. Killed in between, the letter is still there, and its
//! old number is in the backlog: the next opening of the directory for such work removes it.

use std::sync::Arc;

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{Key, Position, Record, Run, RunEnd};

use super::dead_letters::{self, StoredDeadLetter};
use super::{Spill, active, schema};

/// How many bytes one transaction moves at most; a single larger letter has its own.
const PAGE_BYTES: u64 = 16 << 20;

/// What a transaction has come to.
#[derive(Debug, Default)]
pub(crate) struct RequeuedPage {
    /// How many of the keys it has dealt with.
    pub(crate) taken: usize,
    /// Old numbers with their new ones.
    pub(crate) moved: Vec<(Position, Position)>,
    /// These stay where they are.
    pub(crate) damaged: Vec<Position>,
}

impl Spill {
    /// The keys of these dead letters, oldest first; an error lists those that do not exist.
    pub(crate) fn dead_letter_keys(&mut self, ids: &[Position]) -> Result<Vec<Key>, SpillError> {
        let (keys, unknown) = self.index.read(|conn| dead_letters::keys(conn, ids))?;
        if unknown.is_empty() {
            Ok(keys.into_iter().collect())
        } else {
            Err(SpillError::NoSuchDeadLetters { ids: unknown })
        }
    }

    /// The keys of a page of dead letters after `after`.
    pub(crate) fn next_dead_letters(&mut self, after: Option<Key>) -> Result<Vec<Key>, SpillError> {
        let page = |conn: &Connection| dead_letters::list(conn, after, dead_letters::PAGE_ROWS);
        let letters = self.index.read(page)?;
        Ok(letters.into_iter().map(|(key, _)| key).collect())
    }

    /// Deletes dead letters in one transaction; returns those that were there.
    pub(crate) fn remove_dead_letters(
        &mut self,
        keys: &[Key],
    ) -> Result<Vec<Position>, SpillError> {
        let remove = |conn: &Connection| dead_letters::remove(conn, keys);
        let gone = self
            .index
            .change_dead_letters("remove from", self.now, remove)?;
        self.write_watermark();
        Ok(gone)
    }

    /// Removes dead letters that are in the backlog already: a process was killed while requeueing.
    pub(crate) fn finish_requeueing(&mut self) -> Result<(), SpillError> {
        if self.index.dead_letters.entries == 0 {
            return Ok(());
        }
        let mut ids = Vec::new();
        for segment in self.segments.iter() {
            let found =
                schema::open_to_read(&segment.path).and_then(|conn| active::requeued(&conn));
            ids.extend(found.unwrap_or_default());
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.index
            .change_dead_letters("remove from", self.now, |conn| {
                let (keys, _) = dead_letters::keys(conn, &ids)?;
                dead_letters::remove(conn, &keys.into_iter().collect::<Vec<_>>())
            })
            .map(drop)
    }

    /// Puts dead letters back into the backlog after number `last_n` of the run: at the most a page of them.
    pub(crate) fn requeue(
        &mut self,
        keys: &[Key],
        run: &Arc<Run>,
        last_n: u64,
    ) -> Result<RequeuedPage, SpillError> {
        let mut done = RequeuedPage::default();
        let (mut records, mut moved, mut bytes) = (Vec::new(), Vec::new(), 0);
        for &key in keys.iter().take(dead_letters::PAGE_ROWS) {
            done.taken += 1;
            let cipher = self.cipher.as_ref();
            match self
                .index
                .read(|conn| dead_letters::load(conn, key, cipher))?
            {
                None => {}
                Some(StoredDeadLetter::Unfit(id)) => done.damaged.push(id),
                Some(StoredDeadLetter::Entry(old, entry)) => {
                    let to = Key::new(run.local, last_n + 1 + records.len() as u64);
                    let record = Record {
                        requeued: Some(old),
                        ..entry.record(to, run, Vec::new())
                    };
                    bytes += record.size();
                    done.moved.push((old, record.id()));
                    moved.push(key);
                    records.push(record);
                }
            }
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        self.append_requeued(&records, run)?;
        self.remove_dead_letters(&moved)?;
        Ok(done)
    }

    /// Survives a power cut before the letters are removed.
    fn append_requeued(&mut self, records: &[Record], run: &Run) -> Result<(), SpillError> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        self.append_together(records, &[])?;
        self.index
            .runs
            .change(run.local, |known| known.end_at(last.n, RunEnd::Clean));
        self.index.save(self.now)
    }
}
