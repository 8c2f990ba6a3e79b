//! Writing to the backlog.

use crate::error::SpillError;
use crate::event::{Key, Record, unix_ms};
use crate::host::log;

use super::Spill;
use super::active::{Active, Write, first_key};
use super::orders::Room;
use super::tally::Tally;

impl Spill {
    /// Writes records after all that the spill has; returns how many are new. Skips those that an earlier append wrote
    /// before it failed.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<u64, SpillError> {
        let written = records.partition_point(|record| record.key() <= self.newest);
        let mut rest = &records[written..];
        let mut entries = 0;
        while !rest.is_empty() {
            let records;
            (records, rest) = rest.split_at(within(rest, self.segment_bytes));
            entries += self.append_together(records, &[])?;
        }
        Ok(entries)
    }

    /// Writes records, and the digests of rows that came from elsewhere, in one transaction; returns how
    /// many are new.
    pub(super) fn append_together(
        &mut self,
        records: &[Record],
        digests: &[[u8; 16]],
    ) -> Result<u64, SpillError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(0);
        };
        let write = Write {
            accounted: self.accounted_before(first),
            records,
            digests,
        };
        let added = self.write(&write, first_key(first))?;
        self.backlog += added;
        self.newest = self.newest.max(last.key());
        self.inherited_until_ms = self.inherited_until_ms.max(Some(unix_ms()));
        if self.oldest.is_none() {
            self.oldest = Some((first.key(), first.popped_ms));
        }
        self.write_watermark();
        Ok(added.entries)
    }

    /// Writes to the active segment, or into a new one. After an error nobody knows what was written, and the segment
    /// is abandoned.
    fn write(&mut self, write: &Write<'_>, first: Key) -> Result<Tally, SpillError> {
        if self.room == Room::Absent {
            return Err(SpillError::Absent);
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin_segment(write, first)?,
        };
        let added = if write.digests.is_empty() {
            active.write(write)
        } else {
            active.write_synced(write, self.durability)
        };
        match added {
            Ok(added) => {
                if active.bytes() >= self.segment_bytes {
                    active.seal();
                } else {
                    self.active = Some(active);
                }
                Ok(added)
            }
            Err(error) => {
                self.note_room(&error);
                // Nobody knows what it holds beyond the newest entry.
                self.segments.cut(&active.segment, self.newest.after(1));
                active.abandon();
                Err(error)
            }
        }
    }

    fn begin_segment(&mut self, write: &Write<'_>, first: Key) -> Result<Active, SpillError> {
        // Files that have vanished are made again first: without them nobody would know what is missing.
        if let Err(error) = self.check() {
            log::debug!(%error, "the check of the spill's files failed");
        }
        // Not before an older one, which would own its rows: a power cut may have set `newest` back.
        let floor = self
            .segments
            .last()
            .map_or(first, |last| last.first.min(first));
        // The numbers of losses before the first record may have been written, and taken out since.
        let first = first.max(self.newest.after(1));
        let first = write.accounted.map_or(first, |(first, _)| first.max(floor));
        let segment = self.segments.name(first);
        let active = Active::create(segment, self.durability, self.cipher.as_ref());
        let active = active.inspect_err(|error| self.note_room(error))?;
        self.segments.add(active.segment.clone());
        Ok(active)
    }

    /// Numbers between the newest entry and this record were delivered without being written, or are announced
    /// elsewhere.
    fn accounted_before(&self, record: &Record) -> Option<(Key, u64)> {
        let is_new = self.newest == Key::default();
        let newest = if is_new {
            self.delivered.unwrap_or_default()
        } else {
            self.newest
        };
        let (next, first) = (newest.after(1).max(Key::new(1, 1)), first_key(record));
        (next < first).then(|| (next, next.distance(first)))
    }
}

/// How many of the records make up so many bytes: at least one.
fn within(records: &[Record], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += record.size();
        bytes <= bytes_max
    };
    records.iter().take_while(fits).count().max(1)
}
