//! Eviction: at the cap the oldest segment makes room, and losses take the place of its entries.
//!
//! The newest entry of each run stays: it keeps the run in the stream and announces the evicted entries. If a run ends
//! in the segment, its newest entry moves into a new segment first. That segment has the same first key, so it replaces
//! the old one as soon as it exists.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, Record};
use crate::host::log;

use super::absent::Absent;
use super::active::{Active, Write};
use super::chunk::was_never_made;
use super::files::discard_database;
use super::orders::{Evictable, SinkMayHave};
use super::row::{ACCOUNTED, Content, ENTRY, StoredRow, columns, int, reason, uint};
use super::schema::{self, database_error};
use super::segments::{Origin, Segment};
use super::tally::Tally;
use super::{Spill, runs};

/// The largest batch of an earlier run, in bytes, that the sink may already have.
const OLDEST_BATCH_BYTES: u64 = 4 << 20;

/// What a segment holds, in short.
#[derive(Debug, Default)]
struct Summary {
    /// Rows of entries, also of those that will not be delivered anyway.
    rows: u64,
    /// The deliverable entries, except those that stay.
    evicted: Tally,
    /// Numbers that will not be delivered, one after the other, and why.
    lost: Vec<(Key, Vec<Loss>)>,
    /// Numbers that are accounted for elsewhere.
    accounted: Vec<(Key, u64)>,
    /// The newest entry of each run that ends in the segment.
    newest: BTreeMap<u32, Key>,
}

impl Spill {
    /// Evicts the oldest evictable segments. Returns how many entries were evicted, 0 if none can be.
    pub(super) fn evict(&mut self, evictable: Evictable) -> Result<u64, SpillError> {
        let mut evicted = Tally::default();
        while evicted.bytes < evictable.bytes.max(1)
            && let Some(segment) = self.evictable_segment(evictable)
        {
            evicted += self.evict_segment(&segment)?;
        }
        Ok(evicted.entries)
    }

    /// The oldest segment that is not being written to, if neither memory nor the sink can have any of it. Entries of
    /// this run were sent only after the sink had reported its cursor.
    fn evictable_segment(&self, evictable: Evictable) -> Option<Segment> {
        let delivered = self.delivered.unwrap_or_default();
        let after = evictable.after.unwrap_or_default().max(delivered);
        let mut kept = match evictable.doubt {
            SinkMayHave::Nothing => 0,
            SinkMayHave::OldestBatch => OLDEST_BATCH_BYTES,
        };
        for segment in self.segments.iter() {
            let end = self.end_if_at_rest(segment)?;
            if end <= delivered.after(1) {
                continue;
            }
            if kept > 0 && segment.first <= self.inherited {
                let count = self.count_in(segment, delivered, end).unwrap_or_default();
                kept = kept.saturating_sub(count.bytes);
                continue;
            }
            let untouched = segment.first > after && segment.origin == Origin::Segment;
            if untouched && !self.evicted_already.contains(&segment.path) {
                return Some(segment.clone());
            }
        }
        None
    }

    /// The first key that the segment does not own; `None` if it is being written to.
    fn end_if_at_rest(&self, segment: &Segment) -> Option<Key> {
        let end = self.segments.end_of(segment);
        end.or_else(|| self.active.is_none().then(|| self.newest.after(1)))
    }

    fn evict_segment(&mut self, segment: &Segment) -> Result<Tally, SpillError> {
        let read = schema::open_to_read(&segment.path).and_then(|conn| {
            let summary = self.summarise(segment, &conn)?;
            Ok((conn, summary))
        });
        let (conn, summary) = match read {
            Ok((conn, summary)) if summary.rows > summary.newest.len() as u64 => (conn, summary),
            read => {
                if let Err(error) = read {
                    log::error!(%error, file = %segment.path.display(), "a segment that cannot be read is not evicted");
                }
                self.evicted_already.insert(segment.path.clone());
                return Ok(Tally::default());
            }
        };
        // After a kill at this point the file still exists, and its losses are known.
        self.note_evicted(&summary)?;
        self.keep_digests(segment)?;
        self.keep_newest(segment, &conn, &summary)?;
        drop(conn);
        if let Err(error) = self.segments.delete(segment) {
            log::warning!(%error, "an evicted segment cannot be deleted yet");
            self.segments.forget(segment);
        }
        Ok(summary.evicted)
    }

    fn note_evicted(&mut self, summary: &Summary) -> Result<(), SpillError> {
        for (first, losses) in &summary.lost {
            self.index.absent.cover_losses(*first, losses);
        }
        for &(first, count) in &summary.accounted {
            self.index.absent.cover_rest(first, count, ACCOUNTED);
        }
        self.index.taken += summary.evicted.entries;
        let saved = self.index.save(self.now);
        self.take_out(summary.evicted);
        self.evicted += summary.evicted.entries;
        self.write_watermark();
        saved
    }

    /// The record with this key, if it is sound.
    fn record_at(&self, conn: &Connection, key: Key) -> Result<Option<Record>, SpillError> {
        let sql = format!("SELECT {} FROM rows WHERE key = ?1", columns(conn));
        let found = conn
            .query_row(&sql, [key.row()], StoredRow::read)
            .map_err(database_error("read"))?;
        let Content::Entry(entry) = found.content else {
            return Ok(None);
        };
        let local = key.local_run();
        let known = self.index.runs.get(local).map(|known| known.run.clone());
        let run = known.or_else(|| {
            let mut runs = runs::read_all(conn, self.publisher).0.into_iter();
            Some(runs.find(|known| known.run.local == local)?.run)
        });
        Ok(run.and_then(|run| {
            let entry = entry.decrypted(key, run.id, self.cipher.as_ref())?;
            Some(entry.record(key, &run, Vec::new()))
        }))
    }

    /// Writes the newest entries of runs that end in the segment into another one.
    fn keep_newest(
        &mut self,
        segment: &Segment,
        conn: &Connection,
        summary: &Summary,
    ) -> Result<(), SpillError> {
        let mut records = Vec::new();
        for &key in summary.newest.values() {
            records.extend(self.record_at(conn, key)?);
        }
        if records.is_empty() {
            return Ok(());
        }
        let name = self.segments.name(segment.first);
        let mut active = Active::create(name, self.durability, self.cipher.as_ref())?;
        let kept = active.segment.clone();
        let written = active.write(&Write {
            accounted: None,
            records: &records,
            digests: &[],
        });
        if let Err(error) = written {
            active.abandon();
            discard_database(&kept.path);
            return Err(error);
        }
        active.seal();
        self.evicted_already.insert(kept.path.clone());
        self.segments.add(kept);
        Ok(())
    }

    fn summarise(&self, segment: &Segment, conn: &Connection) -> rusqlite::Result<Summary> {
        let end = self.end_if_at_rest(segment).unwrap_or_default();
        let absent = &self.index.absent;
        let mut summary = Summary::default();
        each_row(conn, end, |row| {
            if row.kind == ENTRY && absent.at(row.key).is_none() {
                summary.newest.insert(row.key.local_run(), row.key);
            }
        })?;
        if let Some(last) = summary.newest.last_entry()
            && self.goes_on(segment, *last.key())
        {
            last.remove();
        }
        each_row(conn, end, |row| summary.count(&row, absent))?;
        Ok(summary)
    }

    /// Whether the next segment has an entry of this run, as far as that can be read.
    fn goes_on(&self, segment: &Segment, run: u32) -> bool {
        let Some(next) = self.segments.after(segment) else {
            return false;
        };
        let end = self.segments.end_of(next);
        let below = Key::new(run + 1, 0).min(end.unwrap_or(Key::new(run + 1, 0)));
        let look = |conn: &Connection| {
            let mut found = false;
            each_row(conn, below, |row| {
                let own = row.kind == ENTRY && row.key.local_run() == run;
                found |= own && self.index.absent.at(row.key).is_none();
            })?;
            Ok(found)
        };
        self.look_into(next, look).unwrap_or(false)
    }
}

/// The head of a row.
struct Head {
    key: Key,
    kind: i64,
    count: u64,
    bytes: u64,
}

impl Summary {
    fn count(&mut self, row: &Head, absent: &Absent) {
        self.rows += u64::from(row.kind == ENTRY);
        let absent = absent.at(row.key).filter(|_| row.kind == ENTRY);
        match (row.kind, absent) {
            (ENTRY, None) if self.newest.get(&row.key.local_run()) == Some(&row.key) => {}
            (ENTRY, None) => {
                self.evicted.add(row.bytes);
                self.lose(row.key, 1, LossReason::SpillEvicted);
            }
            (ACCOUNTED, _) => self.accounted.push((row.key, row.count)),
            (kind, absent) => {
                if let Some(reason) = reason(absent.unwrap_or(kind)) {
                    self.lose(row.key, row.count, reason);
                }
            }
        }
    }

    /// Losses of one reason are joined once there are many stretches, as those before an entry are.
    fn lose(&mut self, first: Key, count: u64, reason: LossReason) {
        let loss = Loss { count, reason };
        if let Some((at, losses)) = self.lost.last_mut() {
            let end = at.after(losses.iter().map(|loss| loss.count).sum());
            if end == first && at.local_run() == first.local_run() {
                return loss.join(losses);
            }
        }
        self.lost.push((first, vec![loss]));
    }
}

fn each_row(conn: &Connection, below: Key, mut look: impl FnMut(Head)) -> rusqlite::Result<()> {
    if was_never_made(conn) {
        return Ok(());
    }
    let mut statement = conn.prepare(
        "SELECT key, kind, count, octet_length(subject) + length(bytes) + ?2 FROM rows WHERE key < ?1 ORDER BY key",
    )?;
    let mut rows = statement.query((below.row(), int(Record::OVERHEAD)))?;
    while let Some(row) = rows.next()? {
        look(Head {
            key: Key::from_row(row.get(0)?).unwrap_or_default(),
            kind: row.get(1)?,
            count: uint(row.get(2)?),
            bytes: uint(row.get(3)?),
        });
    }
    Ok(())
}
