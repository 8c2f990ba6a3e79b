//! The depths of the pipeline.

use super::{APPEND_ROWS_MAX, BATCH_BYTES_MAX, Pipeline};
use crate::event::{Key, Record};

impl Pipeline {
    pub(crate) fn front(&self) -> Option<&Record> {
        self.staged.front()
    }

    /// The staged records, oldest first.
    pub(crate) fn staged_records(&self) -> impl Iterator<Item = &Record> {
        self.staged.iter()
    }

    /// The first record that is in flight or staged.
    pub(crate) fn first_staged(&self) -> Option<&Record> {
        let (flight, staged, _) = self.parts();
        flight.first().or(staged.front())
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    pub(crate) fn staged_bytes(&self) -> u64 {
        self.staged_bytes
    }

    /// The newest run among the staged records.
    pub(crate) fn newest_staged_run(&self) -> Option<u32> {
        self.staged.back().map(|record| record.run.local)
    }

    /// How many drawn records wait for an append.
    pub(crate) fn drawn_waiting(&self) -> usize {
        self.drawn.len() - self.at_disk.0
    }

    /// How many more records, and bytes, may be drawn.
    pub(crate) fn chunk_room(&self) -> (usize, u64) {
        (
            APPEND_ROWS_MAX.saturating_sub(self.drawn_waiting()),
            BATCH_BYTES_MAX.saturating_sub(self.drawn_bytes - self.at_disk.1),
        )
    }

    pub(crate) fn drawn_bytes(&self) -> u64 {
        self.drawn_bytes
    }

    /// How many records are drawn, including those being appended.
    pub(crate) fn drawn(&self) -> usize {
        self.drawn.len()
    }

    /// The last record that the sink is known to have.
    pub(crate) fn settled(&self) -> Option<Key> {
        self.settled
    }

    /// Where reading the spill continues.
    pub(crate) fn read_after(&self) -> Option<Key> {
        self.last_staged().max(self.settled).max(self.read_through)
    }

    /// When the oldest record after the spill's was popped from the ring.
    pub(crate) fn oldest_drawn_ms(&self) -> Option<u64> {
        self.drawn.front().map(|record| record.popped_ms)
    }

    pub(super) fn last_staged(&self) -> Option<Key> {
        let (flight, staged, _) = self.parts();
        staged.back().or(flight.last()).map(Record::key)
    }
}
