//! The spill of a publisher that is not running, for inspectors: read as a whole, and left as it is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::SpillKey;
use crate::error::SpillError;
use crate::event::{Position, Record, RunId};

use super::watermark::Watermark;
use super::{Directory, Spill, Tally, damaged, dead_letters, schema};
use crate::change::{now, pause};

/// How long a segment that cannot be read is tried again, and how often. A disk that returns nothing at all gets up to
/// the second limit.
const PATIENCE: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(50);
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// How many entries, and bytes of them, are read at once.
const PAGE_ROWS: usize = 512;
const PAGE_BYTES: u64 = 4 << 20;

/// What is in the spill, entry by entry, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Inspection {
    spill: Spill,
    page: VecDeque<Record>,
    end: bool,
    read: Tally,
    oldest_popped_ms: Option<u64>,
    expected: u64,
    level_delivered: Option<Position>,
    damage: Vec<String>,
}

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// Entries that can be read.
    pub(crate) backlog: Tally,
    pub(crate) oldest_popped_ms: Option<u64>,
    pub(crate) run: Option<RunId>,
    /// The sink had everything up to here.
    pub(crate) delivered: Option<Position>,
    pub(crate) dead_letters: Tally,
    /// Entries that are damaged or missing.
    pub(crate) missing: u64,
    /// Segments that lost rows and are kept beside the others.
    pub(crate) quarantined: Vec<PathBuf>,
    /// Sentences that say what is wrong.
    pub(crate) damage: Vec<String>,
}

impl Inspection {
    /// Opens what a start would read. Errors are those that pass, or that an operator can mend.
    pub(crate) fn of(directory: Directory, key: Option<&SpillKey>) -> Result<Self, SpillError> {
        let (spill, damage) = Spill::inspect(directory, key, PATIENCE)?;
        Ok(Self {
            expected: spill.backlog.entries,
            level_delivered: spill.delivered_position(),
            spill,
            page: VecDeque::new(),
            end: false,
            read: Tally::default(),
            oldest_popped_ms: None,
            damage,
        })
    }

    /// The next entry that a start would deliver. An error means that a publisher wants the directory, or that the disk
    /// returns nothing.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, SpillError> {
        while self.page.is_empty() && !self.end {
            self.spill.directory.give_way()?;
            self.page = self.next_page()?;
        }
        let record = self.page.pop_front();
        if let Some(record) = &record {
            self.read.add(record.size());
            self.oldest_popped_ms = self.oldest_popped_ms.or(Some(record.popped_ms));
        }
        Ok(record)
    }

    fn next_page(&mut self) -> Result<VecDeque<Record>, SpillError> {
        let deadline = now() + PATIENCE_MAX;
        loop {
            self.spill.now = now();
            let after = self.spill.reader.through();
            match self.spill.read(after, PAGE_ROWS, PAGE_BYTES) {
                Ok(reading) => {
                    let stuck = reading.records.is_empty() && reading.through == after;
                    self.end = stuck || reading.through >= Some(self.spill.newest);
                    return Ok(reading.records.into());
                }
                Err(error) if now() >= deadline => return Err(error),
                Err(_) => pause(RETRY),
            }
        }
    }

    /// Once all has been read.
    pub(crate) fn findings(mut self) -> Result<Inspected, SpillError> {
        let missing = self
            .spill
            .corrupt
            .max(self.expected.saturating_sub(self.read.entries));
        if missing > 0 {
            self.damage
                .push(format!("{missing} entries are damaged or missing"));
        }
        let dead_letters = self.dead_letters();
        let newest = self.spill.index.runs.iter().next_back();
        Ok(Inspected {
            backlog: self.read,
            oldest_popped_ms: self.oldest_popped_ms,
            run: newest.map(|known| known.run.id),
            delivered: self.level_delivered,
            dead_letters,
            missing,
            quarantined: damaged(&self.spill.directory.segments())?,
            damage: self.damage,
        })
    }

    /// The dead letters that can be read.
    fn dead_letters(&mut self) -> Tally {
        let conn = self
            .spill
            .directory
            .dead_letters()
            .map(|file| schema::open_to_read(&file));
        let Some(Ok(conn)) = conn else {
            return Tally::default();
        };
        let sound = dead_letters::count_sound(&conn, self.spill.cipher.as_ref());
        let kept = Watermark::inspect(&self.spill.directory.watermark());
        let kept = kept.map_or(0, |level| level.dead_letters);
        let known = self.spill.index.dead_letters.entries.max(kept);
        let lost = known.saturating_sub(sound.entries);
        if lost > 0 {
            self.damage
                .push(format!("{lost} dead letters are damaged or missing"));
        }
        sound
    }
}
