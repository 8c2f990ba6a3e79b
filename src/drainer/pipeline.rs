//! What is out of the ring and not yet settled: the batch at the sink, and what is staged behind it.
//!
//! In order of the keys stand: settled | in flight | staged | rows of the spill that are not in memory | drawn | the
//! ring. The spill holds a contiguous stretch of that order, up to `spilled_through`: what lies beyond is in memory
//! only. Reading goes on behind the last staged record, and only when nothing is left to read may what was drawn, and
//! then the ring, be staged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Batch, Key, Loss, PublisherId, Record};

/// How many encoded bytes a batch has at the most (a single larger entry makes one alone).
pub(crate) const BATCH_BYTES_MAX: u64 = 4 << 20;

/// Records in memory, in order.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    flight: Option<Flight>,
    staged: VecDeque<Record>,
    staged_bytes: u64,
    /// Out of the ring, for the disk: in memory only.
    drawn: VecDeque<Record>,
    drawn_bytes: u64,
    /// The last record that the sink is known to have.
    settled: Option<Key>,
    /// The last record that the spill has ever had.
    spilled_through: Option<Key>,
}

#[derive(Debug)]
struct Flight {
    batch: Arc<Batch>,
    since: Instant,
}

/// How many records of a batch the sink has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) records: u64,
    /// Those that it has not.
    pub(crate) left: u64,
    /// Those of them that the spill holds.
    pub(crate) spilled: u64,
}

impl Pipeline {
    /// Adds records behind what is staged. Those from the spill are known to be there.
    pub(crate) fn stage(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.staged_bytes += record.size();
            self.staged.push_back(record);
        }
    }

    /// Adds records from the ring that are to go to the disk.
    pub(crate) fn draw(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.drawn_bytes += record.size();
            self.drawn.push_back(record);
        }
    }

    /// Stages records that were drawn, within these bounds; the disk has not taken them, and nothing stands between any
    /// more.
    pub(crate) fn stage_drawn(&mut self, entries_max: usize, bytes_max: u64) {
        let mut bytes = 0;
        for _ in 0..entries_max {
            if bytes >= bytes_max {
                break;
            }
            let Some(record) = self.drawn.pop_front() else {
                break;
            };
            bytes += record.size();
            self.drawn_bytes -= record.size();
            self.stage([record]);
        }
    }

    /// Takes the next batch from what is staged, up to an oversize record.
    pub(crate) fn launch(
        &mut self,
        publisher: PublisherId,
        entries_max: usize,
        entry_bytes_max: u64,
        limit: Duration,
        now: Instant,
    ) -> Option<Arc<Batch>> {
        let mut records = Vec::with_capacity(self.staged.len().min(entries_max));
        let mut bytes = 0;
        while let Some(record) = self.staged.front() {
            let full = records.len() == entries_max || bytes + record.size() > BATCH_BYTES_MAX;
            let oversize = record.bytes.len() as u64 > entry_bytes_max;
            if bytes > 0 && (full || oversize) {
                break;
            }
            bytes += record.size();
            records.extend(self.staged.pop_front());
        }
        let through = records.last()?.id();
        self.staged_bytes -= bytes;
        let batch = Arc::new(Batch {
            publisher,
            records,
            through,
            limit,
        });
        self.flight = Some(Flight {
            batch: Arc::clone(&batch),
            since: now,
        });
        Some(batch)
    }

    /// Makes a batch of no records, which only says how far the run has come. Nothing else is in flight.
    pub(crate) fn launch_closing(&mut self, batch: Batch, now: Instant) -> Arc<Batch> {
        let batch = Arc::new(batch);
        self.flight = Some(Flight {
            batch: Arc::clone(&batch),
            since: now,
        });
        batch
    }

    /// Takes the batch back from the sink, which has stored its first `stored` records. The others are staged again.
    /// Answers what was settled, and how long it took.
    pub(crate) fn land(&mut self, stored: usize, now: Instant) -> (Settled, Duration) {
        let Some(flight) = self.flight.take() else {
            return (Settled::default(), Duration::ZERO);
        };
        let mut records = match Arc::try_unwrap(flight.batch) {
            Ok(batch) => batch.records,
            Err(shared) => shared.records.clone(),
        };
        let rest = records.split_off(stored.min(records.len()));
        let mut settled = Settled {
            left: rest.len() as u64,
            ..Settled::default()
        };
        for record in &records {
            settled.records += 1;
            settled.spilled += u64::from(!self.in_memory_only(record));
        }
        self.settled = self.settled.max(records.last().map(Record::key));
        for record in rest.into_iter().rev() {
            self.staged_bytes += record.size();
            self.staged.push_front(record);
        }
        (settled, now - flight.since)
    }

    /// Drops the staged records up to `key`: the sink has them. Answers how many of them were in memory only.
    pub(crate) fn settle_through(&mut self, key: Key) -> u64 {
        let mut unspilled = 0;
        while self
            .staged
            .front()
            .is_some_and(|record| record.key() <= key)
        {
            let Some(record) = self.pop_front() else {
                break;
            };
            unspilled += u64::from(self.in_memory_only(&record));
        }
        self.trim_losses(key);
        self.settled = self.settled.max(Some(key));
        unspilled
    }

    /// What the sink has is not told as lost: entries may have been evicted before it said that it has them.
    fn trim_losses(&mut self, key: Key) {
        let front = self.staged.front_mut();
        let Some(record) = front.filter(|record| record.run.local == key.local_run()) else {
            return;
        };
        let first = record.n.saturating_sub(record.lost_before());
        let mut had = (key.n() + 1).saturating_sub(first);
        for loss in &mut record.losses {
            let of_these = had.min(loss.count);
            loss.count -= of_these;
            had -= of_these;
        }
        record.losses.retain(|loss| loss.count > 0);
    }

    /// Takes the oldest staged record out, to be buried.
    pub(crate) fn pop_front(&mut self) -> Option<Record> {
        let record = self.staged.pop_front()?;
        self.staged_bytes -= record.size();
        Some(record)
    }

    /// Puts a record back that could not be buried.
    pub(crate) fn push_front(&mut self, record: Record) {
        self.staged_bytes += record.size();
        self.staged.push_front(record);
    }

    pub(crate) fn front(&self) -> Option<&Record> {
        self.staged.front()
    }

    /// Whether the spill holds the oldest staged record as well.
    pub(crate) fn front_is_spilled(&self) -> bool {
        self.front()
            .is_some_and(|record| !self.in_memory_only(record))
    }

    /// The first staged record, or else the first drawn one, tells these losses too, if it is of the same run. Hands
    /// them back if there is none.
    pub(crate) fn carry(&mut self, after: &Record, mut losses: Vec<Loss>) -> Option<Vec<Loss>> {
        let Some(front) = self.staged.front_mut().or(self.drawn.front_mut()) else {
            return Some(losses);
        };
        if front.run.id == after.run.id {
            for loss in front.losses.drain(..) {
                loss.join(&mut losses);
            }
            front.losses = losses;
        }
        None
    }

    /// The records that are in memory only, in order.
    pub(crate) fn unspilled(&self) -> impl Iterator<Item = &Record> {
        self.records().filter(|record| self.in_memory_only(record))
    }

    /// All records in memory, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        let flight = self.flight.iter().flat_map(|flight| flight.batch.records());
        flight.chain(&self.staged).chain(&self.drawn)
    }

    /// All that is in memory has been written to the spill. What was drawn will be read again.
    pub(crate) fn spilled(&mut self) {
        let last = self.drawn.back().map(Record::key).or(self.last_staged());
        self.spilled_through = self.spilled_through.max(last);
        self.drawn.clear();
        self.drawn_bytes = 0;
    }

    /// How many records in memory the spill holds as well.
    pub(crate) fn spilled_in_memory(&self) -> usize {
        let flight = self.flight.iter().flat_map(|flight| flight.batch.records());
        flight
            .chain(&self.staged)
            .take_while(|record| !self.in_memory_only(record))
            .count()
    }

    /// The spill holds rows up to `key`.
    pub(crate) fn inherit(&mut self, key: Option<Key>) {
        self.spilled_through = self.spilled_through.max(key);
    }

    /// The last record that the spill has ever had.
    pub(crate) fn spilled_through(&self) -> Option<Key> {
        self.spilled_through
    }

    /// Where reading the spill goes on.
    pub(crate) fn read_after(&self) -> Option<Key> {
        self.last_staged().or(self.settled)
    }

    /// Since when something out of the ring has been in memory only, at the most.
    pub(crate) fn memory_since(&self) -> Option<Instant> {
        self.unspilled().next().map(|record| record.since)
    }

    /// When the oldest record that is in flight or staged was popped from the ring.
    pub(crate) fn oldest_popped_ms(&self) -> Option<u64> {
        let flight = self
            .flight
            .as_ref()
            .and_then(|flight| flight.batch.records().first());
        flight
            .or(self.staged.front())
            .map(|record| record.popped_ms)
    }

    /// When the oldest record behind the spill was popped from the ring.
    pub(crate) fn oldest_drawn_ms(&self) -> Option<u64> {
        self.drawn.front().map(|record| record.popped_ms)
    }

    /// The last record that the sink is known to have.
    pub(crate) fn settled(&self) -> Option<Key> {
        self.settled
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    pub(crate) fn drawn(&self) -> usize {
        self.drawn.len()
    }

    pub(crate) fn staged_bytes(&self) -> u64 {
        self.staged_bytes
    }

    pub(crate) fn drawn_bytes(&self) -> u64 {
        self.drawn_bytes
    }

    pub(crate) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.staged.iter_mut().chain(&mut self.drawn)
    }

    fn last_staged(&self) -> Option<Key> {
        let flight = || {
            self.flight
                .as_ref()
                .and_then(|flight| flight.batch.records().last())
        };
        self.staged.back().or_else(flight).map(Record::key)
    }

    fn in_memory_only(&self, record: &Record) -> bool {
        Some(record.key()) > self.spilled_through
    }
}

#[cfg(test)]
mod tests;
