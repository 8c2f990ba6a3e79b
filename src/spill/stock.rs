//! What ought to be in the database, beside what is.

use std::io;
use std::path::Path;

use crate::event::Key;

use super::database::{Summary, Work};
use super::mark::{Level, Mark};
use super::reconcile::tell_gaps;

/// The mark, and what comes of comparing the database with it.
#[derive(Debug)]
pub(super) struct Stock {
    mark: Mark,
    /// The mark knows more than the database, which is older than the mark or had to be set aside.
    holds: bool,
    /// Everything up to here was removed.
    removed: Key,
    /// How many entries there should be more than there are; negative if there are more.
    missing: i64,
    /// How many there ought to have been in a database that was given up while another was carried over into it.
    owed: Option<i64>,
    /// Entries that were missing in the end.
    corrupt: u64,
    /// Entries that nobody had known of.
    surplus: u64,
}

impl Stock {
    pub(super) fn new(mark: Mark) -> Self {
        Self {
            mark,
            holds: false,
            removed: Key::default(),
            missing: 0,
            owed: None,
            corrupt: 0,
            surplus: 0,
        }
    }

    pub(super) fn corrupt(&self) -> u64 {
        self.corrupt
    }

    pub(super) fn surplus(&self) -> u64 {
        self.surplus
    }

    /// The newest entry that the mark has ever heard of.
    pub(super) fn newest(&self) -> Key {
        self.mark.level().high
    }

    /// How many entries there were before damage took some, as far as that is known.
    pub(super) fn expected(&self, known: &Summary) -> u64 {
        known.totals.entries + self.corrupt + self.missing.max(0).unsigned_abs()
    }

    /// Everything up to the key was removed.
    pub(super) fn removed(&mut self, key: Key) {
        self.removed = self.removed.max(key);
    }

    /// Up to here everything is delivered.
    pub(super) fn floor(&self) -> Key {
        let level = self.level().map_or(Key::default(), |level| level.low);
        self.removed.max(level)
    }

    /// Compares the mark with a database that was just opened, and has seen so many commits.
    pub(super) fn compare(&mut self, opened: u64) {
        self.holds = opened < self.mark.level().commits;
    }

    /// Compares the mark with a database that is to be salvaged, and has seen so many commits, if that can be read.
    /// One that has seen more knows itself how many entries it had.
    pub(super) fn compare_salvaged(&mut self, seen: Option<u64>, entries: Option<u64>) {
        let commits = self.mark.level().commits;
        self.holds = seen.is_none_or(|seen| seen <= commits);
        if !self.holds {
            self.owed = self.owed.or(entries.map(signed));
        }
    }

    /// What the mark says, if it knows more than the database.
    pub(super) fn level(&self) -> Option<Level> {
        self.holds.then(|| self.mark.level())
    }

    /// Counts what is missing. `adjustment` is how many entries more there must be than the mark says.
    pub(super) fn count(&mut self, known: &Summary, adjustment: i64) {
        let level = self.level().map(|level| signed(level.entries));
        self.missing = self.owed.take().or(level).map_or(0, |entries| {
            entries + adjustment - signed(known.totals.entries)
        });
    }

    /// A database is given up that not all has been carried over into yet: the mark does not know what it holds.
    pub(super) fn owe(&mut self, known: &Summary) {
        let owed = signed(known.totals.entries) + self.missing;
        self.owed = self.owed.or(Some(owed));
    }

    /// Some of what was missing has been carried over.
    pub(super) fn found(&mut self, entries: u64) {
        self.missing -= signed(entries);
    }

    /// All that can be found has been. Answers how many entries are missing.
    pub(super) fn close(&mut self) -> u64 {
        let missing = std::mem::take(&mut self.missing);
        let gone = missing.max(0).unsigned_abs();
        self.corrupt += gone;
        self.surplus += missing.min(0).unsigned_abs();
        self.holds = false;
        gone
    }

    /// Says what the database holds, after a commit; while the mark holds, it stays.
    pub(super) fn note(&mut self, known: &Summary) {
        if self.holds {
            return;
        }
        let before = self.mark.level().high;
        let high = known.newest.map_or(before, |newest| newest.max(before));
        self.mark.note(Level {
            commits: known.commits,
            entries: known.totals.entries,
            low: known.first.map_or(high, Key::before),
            high,
        });
    }

    pub(super) fn sync(&mut self) {
        if let Err(error) = self.mark.sync() {
            tracing::debug!(target: "spillring", %error, "the high-water mark could not be synced");
        }
    }

    /// Whether the disk takes anything.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.mark.probe()
    }

    /// The directory may be another one.
    pub(super) fn reopen(&mut self, mark: &Path) -> io::Result<()> {
        self.mark.reopen(mark)
    }
}

/// Turns what is missing into losses.
pub(super) fn tell_missing(
    work: &mut Work<'_>,
    level: Option<Level>,
    holes: &[(Key, Key)],
) -> rusqlite::Result<()> {
    for &(low, high) in holes {
        tell_gaps(work, low, high)?;
    }
    if let Some(level) = level {
        if level.entries > 0 {
            tell_gaps(work, level.low, level.high)?;
        }
        // From here on the database knows more than the mark.
        work.commits = work.commits.max(level.commits + 1);
    }
    Ok(())
}

/// Counts stay below by far.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
