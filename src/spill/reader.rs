//! The one reader of the backlog, for replay, export, status and import: it walks the segments in order, and nothing
//! else searches for damage.
//!
//! One failed read looks like damage to `SQLite`. So the reader first retries the segment with a fresh handle, for at
//! least its `patience`, and longer if the disk returns nothing of the file. After that it seeks past what fails, and
//! the `assembler` finds what is missing.

mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{Key, PublisherId, Record, Run};

use super::absent::Absent;
use super::active::Active;
use super::assembler::{Assembler, Damage, What};
use super::chunk::ReadFrom;
use super::cipher::Cipher;
use super::orders::Reading;
use super::row::{ACCOUNTED, Content, StoredRow, reason};
use super::runs::Runs;
use super::segments::{Segment, Segments};

/// Where the reader is.
#[derive(Debug)]
pub(super) struct Reader {
    assembler: Assembler,
    /// How long a failing segment is tried again.
    patience: Duration,
    /// The segment being read; `None` before the first.
    segment: Option<Segment>,
    /// The first key of it that has not been read.
    from: Key,
    read_from: ReadFrom,
    rows: VecDeque<StoredRow>,
    open: Option<OpenSegment>,
    /// Segments that could not be read, by path.
    troubles: BTreeMap<PathBuf, Trouble>,
    /// Runs that segments name.
    runs: BTreeMap<u32, Arc<Run>>,
    /// Segments that have lost rows.
    damaged: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    conn: Connection,
}

/// A segment that could not be read.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    /// The first key that could not be read. Once a later one fails, this fault has passed.
    at: Key,
    since: Instant,
    tries: u32,
    /// It is read as far as it can be.
    damaged: bool,
}

/// What the reader reads from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'s> {
    pub(super) segments: &'s Segments,
    pub(super) active: Option<&'s Active>,
    pub(super) runs: &'s Runs,
    pub(super) absent: &'s Absent,
    /// The newest entry that was ever written.
    pub(super) newest: Key,
    pub(super) publisher: PublisherId,
    /// Of an encrypted spill.
    pub(super) cipher: Option<&'s Cipher>,
}

/// What was read, and what is missing.
#[derive(Debug, Default)]
pub(super) struct ReadOutcome {
    pub(super) reading: Reading,
    pub(super) damage: Vec<Damage>,
}

impl Reader {
    /// Reads what comes after this key; after `None` from the first row on.
    pub(super) fn new(after: Option<Key>, patience: Duration) -> Self {
        Self {
            assembler: Assembler::new(after),
            patience,
            segment: None,
            from: after.map_or(Key::default(), |key| key.after(1)),
            read_from: ReadFrom::Covering,
            rows: VecDeque::new(),
            open: None,
            troubles: BTreeMap::new(),
            runs: BTreeMap::new(),
            damaged: BTreeSet::new(),
        }
    }

    /// Everything up to here has been read.
    pub(super) fn through(&self) -> Option<Key> {
        self.assembler.next().map(Key::before)
    }

    pub(super) fn segment(&self) -> Option<&Segment> {
        self.segment.as_ref()
    }

    pub(super) fn has_lost_rows(&self, segment: &Segment) -> bool {
        self.damaged.contains(&segment.path)
    }

    /// Goes on after this key, wherever it is.
    pub(super) fn go_to(&mut self, after: Option<Key>) {
        if after == self.through() {
            return;
        }
        self.assembler = Assembler::new(after);
        self.from = after.map_or(Key::default(), |key| key.after(1));
        self.read_from = ReadFrom::Covering;
        self.segment = None;
        self.rows.clear();
    }

    /// Closes what is open, and forgets what segments say of runs.
    pub(super) fn close(&mut self) {
        self.open = None;
        self.runs.clear();
        self.rows.clear();
        self.from = self.assembler.next().unwrap_or_default();
        self.read_from = ReadFrom::Covering;
    }

    /// Reads at most so many records and bytes, and at least one record if there is one. After an error the same is
    /// tried again.
    pub(super) fn read(
        &mut self,
        sources: &Sources<'_>,
        entries_max: usize,
        bytes_max: u64,
        now: Instant,
    ) -> Result<ReadOutcome, SpillError> {
        let mut found = ReadOutcome::default();
        let records = &mut found.reading.records;
        let (mut bytes, mut end) = (0, false);
        while records.len() < entries_max {
            if self.rows.is_empty() {
                match self.fill(sources, now) {
                    Ok(true) => continue,
                    Ok(false) => {
                        end = true;
                        break;
                    }
                    // What has been read so far is good.
                    Err(_) if !records.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            let size = self.rows.front().map_or(0, StoredRow::size);
            if bytes + size > bytes_max && !records.is_empty() {
                break;
            }
            bytes += size;
            if let Some(row) = self.rows.pop_front() {
                records.extend(self.take(sources, row));
            }
        }
        if end {
            self.take_absent(sources, sources.newest);
            let tail = |run| sources.runs.tail(run);
            let present = sources.runs.iter().next_back();
            let present = present.map_or(0, |known| known.run.local);
            found.reading.trailing = self.assembler.finish(sources.newest, present, tail);
        }
        found.reading.through = self.through();
        found.reading.orphans = std::mem::take(&mut self.assembler.orphans);
        found.damage = std::mem::take(&mut self.assembler.damage);
        // A hole is noticed at the next row, perhaps of another segment.
        for damage in &found.damage {
            let owner = sources.segments.start(damage.first);
            let owner = owner.filter(|owner| {
                owner.first <= damage.first && !sources.segments.has_lost(damage.first)
            });
            self.damaged.extend(owner.map(|owner| owner.path.clone()));
        }
        Ok(found)
    }

    /// Turns a row into a record, if it is an entry that is wanted. A damaged row, whose key may be wrong too, counts
    /// as missing; so does an entry of an unknown run, or one that does not decrypt.
    fn take(&mut self, sources: &Sources<'_>, mut row: StoredRow) -> Option<Record> {
        if matches!(row.content, Content::Damaged) {
            return None;
        }
        self.take_absent(sources, row.first);
        let local = row.first.local_run();
        let known = sources.runs.get(local).map(|known| &known.run);
        let run = known.or(self.runs.get(&local)).cloned();
        if let Content::Entry(entry) = row.content {
            let run = run.as_ref()?.id;
            row.content = Content::Entry(entry.decrypted(row.first, run, sources.cipher)?);
        }
        let what = match &row.content {
            Content::Entry(_) => What::Entry,
            Content::Damaged => return None,
            Content::Loss(reason) => What::Loss(*reason),
            Content::Accounted => {
                self.account(sources, row.first, row.end);
                return None;
            }
        };
        let tail = |run| sources.runs.tail(run);
        let losses = self.assembler.take(row.first, row.end, what, tail)?;
        let Content::Entry(entry) = row.content else {
            return None;
        };
        Some(entry.record(row.first, &run?, losses))
    }

    /// Takes numbers that were delivered without being written, except absent ones of the run that continues after
    /// them.
    fn account(&mut self, sources: &Sources<'_>, first: Key, end: Key) {
        let tail = |run| sources.runs.tail(run);
        let next = self.assembler.next().unwrap_or(first);
        let own = next.max(Key::new(end.local_run(), 1));
        if let Some((absent, _)) = sources.absent.from(own)
            && absent < end
        {
            self.assembler.take(first, absent, What::Accounted, tail);
            self.take_absent(sources, end.before());
        }
        self.assembler.take(first, end, What::Accounted, tail);
    }

    /// Absent numbers up to this key come first: what covers a number first decides.
    fn take_absent(&mut self, sources: &Sources<'_>, through: Key) {
        let next = |assembler: &Assembler| assembler.next().unwrap_or_default();
        while let Some((first, stretch)) = sources.absent.from(next(&self.assembler))
            && first <= through
        {
            let what = reason(stretch.kind).map_or(What::Accounted, What::Loss);
            debug_assert!(what != What::Accounted || stretch.kind == ACCOUNTED);
            let tail = |run| sources.runs.tail(run);
            self.assembler
                .take(first, first.after(stretch.count), what, tail);
        }
    }
}
