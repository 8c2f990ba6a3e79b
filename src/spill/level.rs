//! How far delivery and writing have come, and how many entries are between the two.

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{Key, Position, Record};
use crate::host::log;

use super::Spill;
use super::absent::Absent;
use super::chunk::was_never_made;
use super::index::PATIENCE;
use super::orders::{Counted, Settled};
use super::reader::Reader;
use super::row::{Content, StoredRow, columns, int, uint};
use super::schema::{self, database_error};
use super::segments::{Origin, Segment};
use super::tally::Tally;
use super::watermark::Level;

impl Spill {
    /// Finds out how far delivery and writing have come. Entries of removed segments are not delivered again, even if
    /// the watermark is lost or an older copy.
    pub(super) fn find_level(&mut self, level: Option<Level>) {
        self.note_dead_letters(level);
        let settled = self.index.settled;
        let current = level.filter(|level| level.delivered >= settled);
        self.delivered = match current {
            Some(level) => Some(level.delivered),
            None => self
                .begin_of_backlog()
                .max(Some(settled).filter(|&key| key > Key::default())),
        };
        // After a kill before the watermark was written, more may have been taken out than it says: counts everything
        // again.
        let taken = level.unwrap_or_default().taken;
        let counted = current.filter(|_| taken >= self.index.taken);
        let counted = counted.unwrap_or(Level {
            newest: self.delivered.unwrap_or_default(),
            ..Level::default()
        });
        self.index.taken = self.index.taken.max(taken);
        self.newest = level.unwrap_or_default().newest;
        self.backlog = counted.backlog;
        self.count_newer(counted.newest.max(self.delivered.unwrap_or_default()));
        if self.segments.is_empty() && self.delivered.is_none() {
            self.delivered = Some(Key::default());
        }
        // What comes before a segment that was written to was written as well, though it may be gone.
        let written = |segment: &&Segment| !is_bare(segment);
        let last = self.segments.iter().rev().find(written);
        let before = last.map(|last| last.first.before());
        self.newest = self.newest.max(before.unwrap_or_default());
        self.inherited = self.newest;
        self.reader = Reader::new(self.delivered, PATIENCE);
        self.index.prune(self.delivered.unwrap_or_default());
        self.write_watermark();
        self.find_oldest();
        self.inherited_until_ms = self.newest_popped_ms().filter(|_| self.backlog.entries > 0);
    }

    /// The watermark knows how many dead letters there were.
    fn note_dead_letters(&mut self, level: Option<Level>) {
        let known = level.map_or(0, |level| level.dead_letters);
        let found = self.index.dead_letters.entries;
        if !self.index.loaded {
            self.index.dead_letters.entries = known;
        } else if found < known {
            log::error!(found, known, "dead letters are missing");
        }
    }

    /// The key before the first that a segment may hold, or that was taken out; `None` if nobody knows.
    fn begin_of_backlog(&self) -> Option<Key> {
        let segments = self.begin_of_segments()?;
        let absent = self.index.absent.iter().next();
        Some(absent.map_or(segments, |(first, _)| segments.min(first.before())))
    }

    fn begin_of_segments(&self) -> Option<Key> {
        let first = self.segments.first()?;
        if first.origin == Origin::Segment {
            return Some(first.first.before());
        }
        let conn = schema::open_to_read(&first.path).ok()?;
        let sql = "SELECT key FROM rows ORDER BY key LIMIT 1";
        let row = conn.query_row(sql, (), |row| row.get(0)).ok()?;
        Key::from_row(row).map(Key::before)
    }

    /// Counts rows newer than the watermark, as after a power cut. Unreadable rows are counted once they can be read.
    fn count_newer(&mut self, counted: Key) {
        let known = counted.min(self.newest);
        for segment in self.segments.iter().rev() {
            let end = self.segments.end_of(segment);
            if end.is_some_and(|end| end <= known.after(1)) {
                break;
            }
            let below = end.unwrap_or(Key::from_number(i64::MAX.unsigned_abs()));
            let last = schema::open_to_read(&segment.path)
                .and_then(|conn| last_sound(&conn, known, below));
            let counted = last.and_then(|last| {
                let end = last.map_or(counted, |last| last.after(1));
                Ok((last, self.count_in(segment, counted, end)?))
            });
            match counted {
                Ok((last, count)) => {
                    self.backlog += count;
                    self.newest = self.newest.max(last.unwrap_or_default());
                }
                Err(error) => {
                    log::error!(%error, file = %segment.path.display(), "a segment of the spill cannot be read for now");
                }
            }
        }
    }

    /// This many entries are lost. Their sizes are unknown: they count as large as the others.
    pub(super) fn lose(&mut self, count: u64) {
        self.corrupt += count;
        let Tally { entries, bytes } = self.backlog;
        let known = count.min(entries);
        let left = u128::from(entries - known) * u128::from(bytes);
        let left = left.checked_div(u128::from(entries)).unwrap_or(0);
        self.index.taken += known;
        self.take_out(Tally {
            entries: count,
            bytes: bytes - u64::try_from(left).unwrap_or(bytes),
        });
    }

    /// These entries leave the backlog. Those that it did not count are a surplus.
    pub(super) fn take_out(&mut self, gone: Tally) {
        self.surplus += gone.entries.saturating_sub(self.backlog.entries);
        self.backlog = self.backlog.without(gone);
        if self.backlog.entries == 0 {
            self.backlog.bytes = 0;
        }
    }

    /// The sink has everything up to this key. What must be counted is settled in parts of at most one segment, so that
    /// no order takes long.
    pub(crate) fn settle(&mut self, through: Key, counted: Counted) -> Result<Settled, SpillError> {
        let settled = match counted {
            Counted::Known(tally) => Settled { through, tally },
            Counted::Unknown => self.count_through(through)?,
        };
        let Settled { through, tally } = settled;
        self.take_out(tally);
        self.delivered = self.delivered.max(Some(through));
        self.index.prune(through);
        if self.oldest.is_some_and(|(key, _)| key <= through) {
            self.oldest = None;
        }
        if through >= self.newest {
            // Rows of losses may have been among what was damaged.
            self.corrupt += std::mem::take(&mut self.backlog).entries;
        }
        self.write_watermark();
        Ok(settled)
    }

    /// Counts the entries after what is delivered, up to a key or to the end of the first segment that has any. What
    /// cannot be read for long counts as nothing.
    fn count_through(&mut self, through: Key) -> Result<Settled, SpillError> {
        let from = self.delivered.unwrap_or_default();
        if through >= self.newest {
            return Ok(Settled {
                through,
                tally: self.backlog,
            });
        }
        let since = *self.uncounted_since.get_or_insert(self.now);
        let mut ends = self
            .segments
            .iter()
            .map(|segment| self.segments.end_of(segment));
        let end = ends.find(|end| end.is_none_or(|end| end > from.after(1)));
        let end = end.flatten();
        let mut part = Settled::nothing(end.map_or(through, |end| end.before().min(through)));
        let mut passed_over = false;
        // More than one if they were adopted.
        let those =
            |segment: &&Segment| segment.first <= through && self.segments.end_of(segment) == end;
        for segment in self.segments.iter().filter(those) {
            match self.count_in(segment, from, part.through.after(1)) {
                Ok(count) => part.tally += count,
                Err(error) if self.now < since + PATIENCE => {
                    return Err(database_error("read")(error));
                }
                Err(error) => {
                    log::error!(%error, "delivered entries cannot be counted");
                    passed_over = true;
                }
            }
        }
        if !passed_over || part.through == through {
            self.uncounted_since = None;
        }
        // Reading does not find delivered entries that a power cut removed from the files.
        let left = self.backlog.entries.saturating_sub(part.tally.entries);
        let possible = self.numbers_after(part.through).unwrap_or(left);
        part.tally.entries += left.saturating_sub(possible);
        Ok(part)
    }

    /// The most entries that can follow this key in its run, given the numbers left. `None` if a later run may follow.
    fn numbers_after(&self, key: Key) -> Option<u64> {
        if key.local_run() != self.newest.local_run() {
            return None;
        }
        let end = self.newest.after(1);
        let absent = self.index.absent.within(key.after(1), end);
        let absent = absent.map(|(first, stretch)| {
            let stop = first.after(stretch.count).min(end);
            first.max(key.after(1)).distance(stop)
        });
        Some(key.after(1).distance(end).saturating_sub(absent.sum()))
    }

    pub(super) fn count_in(
        &self,
        segment: &Segment,
        after: Key,
        below: Key,
    ) -> rusqlite::Result<Tally> {
        let absent = &self.index.absent;
        self.look_into(segment, |conn| count_present(conn, absent, after, below))
    }

    /// Up to where the sink has everything, if that is a number of a run that is known.
    pub(super) fn delivered_position(&self) -> Option<Position> {
        let key = self.delivered.filter(|key| key.n() > 0)?;
        let known = self.index.runs.get(key.local_run())?;
        Some(Position {
            run: known.run.id,
            n: key.n(),
        })
    }

    /// When the newest entry was popped, if that can be read.
    fn newest_popped_ms(&self) -> Option<u64> {
        let sql = "SELECT popped_ms FROM rows WHERE kind = 0 ORDER BY key DESC LIMIT 1";
        self.segments.iter().rev().find_map(|segment| {
            let conn = schema::open_to_read(&segment.path).ok()?;
            conn.query_row(sql, (), |row| row.get(0).map(uint)).ok()
        })
    }

    /// When the oldest entry was popped, if that is easily known.
    pub(super) fn find_oldest(&mut self) {
        if self.backlog.entries == 0 || self.oldest.is_some() {
            return;
        }
        let from = self.delivered.map_or(Key::default(), |key| key.after(1));
        let read = |conn: &Connection| {
            let sql =
                "SELECT key, popped_ms FROM rows WHERE kind = 0 AND key >= ?1 ORDER BY key LIMIT 1";
            conn.query_row(sql, [from.row()], |row| {
                Ok((row.get(0)?, uint(row.get(1)?)))
            })
        };
        let segment = self
            .segments
            .start(from)
            .filter(|segment| segment.origin == Origin::Segment);
        let segment = segment.or(self.segments.first());
        let found = segment.and_then(|segment| self.look_into(segment, read).ok());
        self.oldest = found.and_then(|(key, ms)| Some((Key::from_row(key)?, ms)));
    }
}

/// Whether the segment is empty because its process was killed: it proves nothing about what comes before it.
fn is_bare(segment: &Segment) -> bool {
    let empty = |conn: &Connection| {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM rows)";
        conn.query_row(sql, (), |row| row.get(0)).unwrap_or(false)
    };
    schema::open_to_read(&segment.path).is_ok_and(|conn| was_never_made(&conn) || empty(&conn))
}

/// The last entry between two keys. The key of a damaged one may be wrong.
fn last_sound(conn: &Connection, after: Key, below: Key) -> rusqlite::Result<Option<Key>> {
    if was_never_made(conn) {
        return Ok(None);
    }
    let columns = columns(conn);
    let sql = format!("SELECT {columns} FROM rows WHERE key > ?1 AND key < ?2 ORDER BY key DESC");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query((after.row(), below.row()))?;
    while let Some(row) = rows.next()? {
        let found = StoredRow::read(row)?;
        if matches!(found.content, Content::Entry(_)) {
            return Ok(Some(found.first));
        }
    }
    Ok(None)
}

/// Counts entries after one key and before another, but for those that will not be delivered.
fn count_present(
    conn: &Connection,
    absent: &Absent,
    after: Key,
    below: Key,
) -> rusqlite::Result<Tally> {
    if was_never_made(conn) {
        return Ok(Tally::default());
    }
    let mut count = count_between(conn, after, below)?;
    for (first, stretch) in absent.within(after.after(1), below) {
        let end = first.after(stretch.count).min(below);
        let gone = count_between(conn, first.before().max(after), end)?;
        count = count.without(gone);
    }
    Ok(count)
}

fn count_between(conn: &Connection, after: Key, below: Key) -> rusqlite::Result<Tally> {
    let sql = "SELECT count(*), coalesce(sum(octet_length(subject) + length(bytes) + ?3), 0) \
         FROM rows WHERE kind = 0 AND key > ?1 AND key < ?2";
    let params = (after.row(), below.row(), int(Record::OVERHEAD));
    conn.query_row(sql, params, |row| {
        Ok(Tally {
            entries: uint(row.get(0)?),
            bytes: uint(row.get(1)?),
        })
    })
}
