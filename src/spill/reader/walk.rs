//! The way through the segments: opens one after the other, reads its rows in chunks, and seeks past damage.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::Key;
use crate::host::log;
use crate::spill::chunk::{
    CHUNK_ROWS, Chunk, ChunkEnd, ReadFrom, last_read, read_rows, was_never_made,
};
use crate::spill::files::{answers, is_missing};
use crate::spill::row::StoredRow;
use crate::spill::runs;
use crate::spill::salvage::seek;
use crate::spill::schema::{self, database_error};
use crate::spill::segments::Segment;

use super::{OpenSegment, Reader, Sources, Trouble};

/// How often a segment is opened, at least, before it counts as damaged.
const TRIES_MIN: u32 = 4;

impl Reader {
    /// Reads a chunk; returns whether there may be more.
    pub(super) fn fill(&mut self, sources: &Sources<'_>, now: Instant) -> Result<bool, SpillError> {
        let Some(segment) = self.enter(sources) else {
            return Ok(false);
        };
        let end = sources.segments.end_of(&segment);
        let below = end.unwrap_or(Key::from_number(i64::MAX.unsigned_abs()));
        let (from, read_from) = (self.from, self.read_from);
        let chunk = match self.connection(sources, &segment) {
            Err(error) => Chunk {
                rows: Vec::new(),
                end: ChunkEnd::Failed(error),
            },
            Ok(conn) => read_rows(conn, from, below, read_from, CHUNK_ROWS),
        };
        // The start has looked for such entries. None of them is damaged.
        if sources.cipher.is_none() && chunk.rows.iter().any(StoredRow::is_encrypted) {
            let dir = segment.path.parent().unwrap_or(&segment.path).to_owned();
            return Err(SpillError::Encrypted { dir });
        }
        if let Some(last) = last_read(&chunk.rows) {
            // A row that begins before is the one that covers the first key, or damaged.
            let least = from.after(u64::from(read_from == ReadFrom::Key));
            self.from = least.max(last.first.after(1));
            self.read_from = ReadFrom::Key;
            self.rows.extend(chunk.rows);
        }
        match chunk.end {
            ChunkEnd::Full => Ok(true),
            ChunkEnd::Last => Ok(self.leave(sources, &segment)),
            ChunkEnd::Failed(_) if !self.rows.is_empty() => Ok(true),
            ChunkEnd::Failed(_) if is_gone(&segment) || !sources.segments.contains(&segment) => {
                Ok(self.leave(sources, &segment))
            }
            ChunkEnd::Failed(error) => self.fail(sources, &segment, below, error, now),
        }
    }

    /// The segment to read from.
    fn enter(&mut self, sources: &Sources<'_>) -> Option<Segment> {
        if self.segment.is_none() {
            self.segment = sources.segments.start(self.from).cloned();
            self.read_from = ReadFrom::Covering;
        }
        self.segment.clone()
    }

    /// Moves to the next segment after the last row. Returns whether there is one.
    fn leave(&mut self, sources: &Sources<'_>, segment: &Segment) -> bool {
        let Some(next) = sources.segments.after(segment) else {
            return !self.rows.is_empty();
        };
        self.from = self.from.max(next.first);
        self.segment = Some(next.clone());
        self.read_from = ReadFrom::Covering;
        self.open = None;
        true
    }

    fn connection<'c>(
        &'c mut self,
        sources: &Sources<'c>,
        segment: &Segment,
    ) -> rusqlite::Result<&'c Connection> {
        if let Some(active) = sources.active.filter(|active| active.segment == *segment) {
            return Ok(active.connection());
        }
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.path != segment.path)
        {
            self.open = None;
            let conn = schema::open_to_read(&segment.path)?;
            for known in runs::read_all(&conn, sources.publisher).0 {
                self.runs.entry(known.run.local).or_insert(known.run);
            }
            self.open = Some(OpenSegment {
                path: segment.path.clone(),
                conn,
            });
        }
        let open = self.open.as_ref();
        open.map(|open| &open.conn)
            .ok_or(rusqlite::Error::InvalidQuery)
    }

    /// Waits, or seeks past what fails.
    fn fail(
        &mut self,
        sources: &Sources<'_>,
        segment: &Segment,
        below: Key,
        error: rusqlite::Error,
        now: Instant,
    ) -> Result<bool, SpillError> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| was_never_made(&open.conn))
        {
            return Ok(self.leave(sources, segment));
        }
        self.open = None;
        if !self.is_damaged(segment, now) {
            return Err(database_error("read")(error));
        }
        log::error!(%error, file = %segment.path.display(), "a segment of the spill is damaged: reading goes on after the damage");
        self.damaged.insert(segment.path.clone());
        let from = self.from;
        let Ok(conn) = self.connection(sources, segment) else {
            return Ok(self.leave(sources, segment));
        };
        let readable = |key| {
            !matches!(
                read_rows(conn, key, below, ReadFrom::Key, 1).end,
                ChunkEnd::Failed(_)
            )
        };
        match seek(from, below, readable) {
            Some(key) => {
                self.from = key;
                self.read_from = ReadFrom::Key;
                Ok(true)
            }
            None => Ok(self.leave(sources, segment)),
        }
    }

    /// Whether what cannot be read of a segment is lost.
    fn is_damaged(&mut self, segment: &Segment, now: Instant) -> bool {
        let new = Trouble {
            at: self.from,
            since: now,
            tries: 0,
            damaged: false,
        };
        let trouble = self.troubles.entry(segment.path.clone()).or_insert(new);
        if trouble.at < new.at && !trouble.damaged {
            *trouble = new;
        }
        trouble.tries += 1;
        let lasts = trouble.tries >= TRIES_MIN && now >= trouble.since + self.patience;
        let lost = (trouble.damaged || lasts) && answers(&segment.path);
        trouble.damaged |= lost;
        lost
    }
}

/// Whether the file is not there, although its folder is.
fn is_gone(segment: &Segment) -> bool {
    is_missing(&segment.path) && segment.path.parent().is_some_and(Path::is_dir)
}
