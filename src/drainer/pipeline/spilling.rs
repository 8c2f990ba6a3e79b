//! The pipeline and the disk: the records of an append, and its outcome.

use std::sync::Arc;

use super::{APPEND_ROWS_MAX, BATCH_BYTES_MAX, Pipeline, Tally};
use crate::event::{Key, Record};

impl Pipeline {
    /// The records of the next append: all that are in memory only; of the drawn ones up to a chunk.
    pub(crate) fn append(&mut self) -> Arc<[Record]> {
        let (mut chunk, mut bytes) = (0, 0);
        for record in &self.drawn {
            if chunk == APPEND_ROWS_MAX || (chunk > 0 && bytes + record.size() > BATCH_BYTES_MAX) {
                break;
            }
            chunk += 1;
            bytes += record.size();
        }
        self.append_with(chunk, bytes)
    }

    /// All records that are in memory only, for the last append.
    pub(crate) fn append_all(&mut self) -> Arc<[Record]> {
        self.append_with(self.drawn.len(), self.drawn_bytes)
    }

    fn append_with(&mut self, chunk: usize, bytes: u64) -> Arc<[Record]> {
        let (flight, staged, drawn) = self.parts();
        let records: Vec<_> = flight
            .iter()
            .chain(staged)
            .filter(|record| self.in_memory_only(record))
            .chain(drawn.iter().take(chunk))
            .cloned()
            .collect();
        self.at_disk = (chunk, bytes);
        self.appending = records.last().map(Record::key);
        records.into()
    }

    /// The append has succeeded. Drops the records that were drawn for it. Returns those that have been settled since:
    /// the spill counts them, and the sink has them.
    pub(crate) fn appended(&mut self, records: &[Record]) -> Tally {
        let last = records.last().map(Record::key);
        self.inherit(last);
        while self.drawn.front().map(Record::key) <= last && self.pop_drawn().is_some() {}
        self.end_append();
        let settled = records.partition_point(|record| Some(record.key()) <= self.settled);
        Tally::of(&records[..settled])
    }

    /// The append under way has ended, whatever its outcome.
    pub(crate) fn end_append(&mut self) {
        self.appending = None;
        self.at_disk = (0, 0);
    }

    /// Whether any record is in memory only and not being appended.
    pub(crate) fn waits(&self) -> bool {
        let last = self.records_last();
        last > self.spilled_through && last > self.appending
    }

    /// The oldest record that is in memory only and not being appended.
    pub(crate) fn first_waiting(&self) -> Option<&Record> {
        self.first_after(self.spilled_through.max(self.appending))
    }

    /// The oldest record that is in memory only.
    pub(crate) fn first_unspilled(&self) -> Option<&Record> {
        self.first_after(self.spilled_through)
    }

    /// How many records are in memory only.
    pub(crate) fn unspilled(&self) -> usize {
        let (flight, staged, drawn) = self.parts();
        flight.len() + staged.len() + drawn.len() - self.spilled_in_memory()
    }

    /// How many records in memory are also in the spill.
    pub(crate) fn spilled_in_memory(&self) -> usize {
        let (flight, staged, drawn) = self.parts();
        let spilled = |record: &Record| !self.in_memory_only(record);
        self.spilled_of(flight) + staged.partition_point(spilled) + drawn.partition_point(spilled)
    }

    fn first_after(&self, key: Option<Key>) -> Option<&Record> {
        let (flight, staged, drawn) = self.parts();
        let passed = |record: &Record| Some(record.key()) <= key;
        flight
            .get(flight.partition_point(passed))
            .or_else(|| staged.get(staged.partition_point(passed)))
            .or_else(|| drawn.get(drawn.partition_point(passed)))
    }

    fn records_last(&self) -> Option<Key> {
        let drawn = self.drawn.back().map(Record::key);
        drawn.or_else(|| self.last_staged())
    }
}
