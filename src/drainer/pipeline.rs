//! Records that are out of the ring and not yet settled, in order.
//!
//! ```text
//! settled | in flight | staged | rows of the spill that are not in memory | drawn | the ring
//! ```
//!
//! The spill holds a contiguous part of that order, up to `spilled_through`; records after it are in memory only.
//! Reading continues after the last staged record. Drawn records, and then those of the ring, may be staged only when
//! nothing is left to read.
//!
//! An append takes the oldest records that are in memory only, up to `appending`. They stay in place until its
//! outcome. Then those that are still drawn are dropped: they are read again later.
//!
//! Memory is bounded: a batch in flight and one staged, a chunk being appended and one waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Batch, Key, Loss, Record};
pub(crate) use crate::spill::{APPEND_ROWS_MAX, Tally};

/// The largest size of a batch or a chunk, in encoded bytes. A larger entry is alone in one.
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
    /// How many of the drawn records are being appended, and their bytes.
    at_disk: (usize, u64),
    /// The last record that the sink is known to have.
    settled: Option<Key>,
    /// The last record that the spill has ever had.
    spilled_through: Option<Key>,
    /// The last record of the append under way.
    appending: Option<Key>,
    /// The spill was read up to here.
    read_through: Option<Key>,
}

#[derive(Debug)]
struct Flight {
    batch: Arc<Batch>,
    since: Instant,
}

/// The result of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) records: u64,
    /// Those that the sink has not taken.
    pub(crate) left: u64,
    /// Those that the sink has taken and the spill counts.
    pub(crate) spilled: Tally,
}

impl Pipeline {
    /// The spill holds rows up to `key`.
    pub(crate) fn inherit(&mut self, key: Option<Key>) {
        self.spilled_through = self.spilled_through.max(key);
    }

    /// Adds a record after the staged ones.
    pub(crate) fn stage(&mut self, record: Record) {
        self.staged_bytes += record.size();
        self.staged.push_back(record);
    }

    /// Adds records of the spill after the staged ones. Everything up to `through` is among them, or needs no
    /// delivery. Leaves out records that the sink turned out to have.
    pub(crate) fn read(&mut self, records: Vec<Record>, through: Option<Key>) {
        let after = self.read_after();
        for record in records {
            if Some(record.key()) > after {
                self.inherit(Some(record.key()));
                self.stage(record);
            }
        }
        self.read_through = self.read_through.max(through);
    }

    /// Adds a record from the ring that must go to the disk.
    pub(crate) fn draw(&mut self, record: Record) {
        self.drawn_bytes += record.size();
        self.drawn.push_back(record);
    }

    /// Stages drawn records, within these bounds. Nothing is left in the spill to be staged before them.
    pub(crate) fn stage_drawn(&mut self, entries_max: usize, bytes_max: u64) {
        let mut bytes = 0;
        for _ in 0..entries_max {
            if bytes >= bytes_max {
                break;
            }
            let Some(record) = self.pop_drawn() else {
                break;
            };
            bytes += record.size();
            self.stage(record);
        }
    }

    /// Takes the records of the next batch from the staged ones, up to an oversize one.
    pub(crate) fn take_batch(&mut self, entries_max: usize, entry_bytes_max: u64) -> Vec<Record> {
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
        self.staged_bytes -= bytes;
        records
    }

    /// The batch goes to the sink. Nothing else is in flight.
    pub(crate) fn launch(&mut self, batch: Arc<Batch>, now: Instant) {
        self.flight = Some(Flight { batch, since: now });
    }

    /// Takes the batch back from the sink, which has stored its first `stored` records. Stages the others again.
    /// Returns what was settled, and how long it took.
    pub(crate) fn land(&mut self, stored: usize, now: Instant) -> (Landed, Duration) {
        let Some(flight) = self.flight.take() else {
            return (Landed::default(), Duration::ZERO);
        };
        let mut records = match Arc::try_unwrap(flight.batch) {
            Ok(batch) => batch.records,
            Err(shared) => shared.records.clone(),
        };
        let rest = records.split_off(stored.min(records.len()));
        let landed = Landed {
            records: records.len() as u64,
            left: rest.len() as u64,
            spilled: Tally::of(&records[..self.spilled_of(&records)]),
        };
        self.settled = self.settled.max(records.last().map(Record::key));
        for record in rest.into_iter().rev() {
            self.staged_bytes += record.size();
            self.staged.push_front(record);
        }
        (landed, now.saturating_duration_since(flight.since))
    }

    /// Drops the records up to `key`: the sink has them. Returns those that the spill counts, and how many others
    /// there were. Nothing is in flight.
    pub(crate) fn settle_through(&mut self, key: Key) -> (Tally, u64) {
        let (mut spilled, mut unspilled) = (Tally::default(), 0);
        while let Some(record) = self.pop_through(key) {
            if self.in_memory_only(&record) {
                unspilled += 1;
            } else {
                spilled.add(record.size());
            }
        }
        self.trim_losses(key);
        self.settled = self.settled.max(Some(key));
        (spilled, unspilled)
    }

    fn pop_through(&mut self, key: Key) -> Option<Record> {
        let is_settled = |record: Option<&Record>| record.is_some_and(|record| record.key() <= key);
        if is_settled(self.staged.front()) {
            self.pop_front()
        } else if self.staged.is_empty() && is_settled(self.drawn.front()) {
            self.pop_drawn()
        } else {
            None
        }
    }

    /// Records that the sink has are not announced as lost: they may have been evicted before it reported them.
    fn trim_losses(&mut self, key: Key) {
        let front = self.staged.front_mut().or(self.drawn.front_mut());
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

    /// Takes the oldest staged record out.
    pub(crate) fn pop_front(&mut self) -> Option<Record> {
        let record = self.staged.pop_front()?;
        self.staged_bytes -= record.size();
        Some(record)
    }

    fn pop_drawn(&mut self) -> Option<Record> {
        let record = self.drawn.pop_front()?;
        self.drawn_bytes -= record.size();
        if self.at_disk.0 > 0 {
            self.at_disk.0 -= 1;
            self.at_disk.1 -= record.size();
        }
        Some(record)
    }

    /// The first staged record, or else the first drawn one, also announces these losses, if it is of the run `local`.
    /// Hands them back if there is none.
    pub(crate) fn carry(&mut self, local: u32, losses: Vec<Loss>) -> Option<Vec<Loss>> {
        let front = self.staged.front_mut().or(self.drawn.front_mut());
        announce(front, local, losses)
    }

    /// The same for losses that come after all rows of the spill.
    pub(crate) fn carry_after_rows(&mut self, local: u32, losses: Vec<Loss>) -> Option<Vec<Loss>> {
        announce(self.drawn.front_mut(), local, losses)
    }

    /// Everything up to `key` no longer needs reading.
    pub(crate) fn passed(&mut self, key: Key) {
        self.read_through = self.read_through.max(Some(key));
    }

    /// Reading continues after `key` again: the next rows announce what happened to the records in between.
    pub(crate) fn reread_after(&mut self, key: Key) {
        self.read_through = Some(key);
    }

    /// The records in order, in three parts.
    fn parts(&self) -> (&[Record], &VecDeque<Record>, &VecDeque<Record>) {
        let flight = self.flight.as_ref();
        let flight = flight.map_or(&[][..], |flight| flight.batch.records());
        (flight, &self.staged, &self.drawn)
    }

    /// All records in memory, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        let (flight, staged, drawn) = self.parts();
        flight.iter().chain(staged).chain(drawn)
    }

    /// The records that are not in flight.
    pub(crate) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.staged.iter_mut().chain(&mut self.drawn)
    }

    /// Whether the spill does not have this record.
    pub(crate) fn in_memory_only(&self, record: &Record) -> bool {
        Some(record.key()) > self.spilled_through
    }

    /// How many of these ordered records the spill holds.
    fn spilled_of(&self, records: &[Record]) -> usize {
        records.partition_point(|record| !self.in_memory_only(record))
    }
}

fn announce(record: Option<&mut Record>, local: u32, mut losses: Vec<Loss>) -> Option<Vec<Loss>> {
    let Some(record) = record else {
        return Some(losses);
    };
    if record.run.local == local {
        for loss in record.losses.drain(..) {
            loss.join(&mut losses);
        }
        record.losses = losses;
    }
    None
}

mod depths;
mod spilling;

#[cfg(test)]
mod tests;
