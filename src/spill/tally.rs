//! Counting entries.

use std::ops::AddAssign;

use crate::event::Record;

/// Some entries, and their bytes, as [`Record::size`] counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut tally = Self::default();
        for record in records {
            tally.add(record.size());
        }
        tally
    }

    /// One more entry, of so many bytes.
    pub(crate) fn add(&mut self, bytes: u64) {
        *self += Self { entries: 1, bytes };
    }

    /// What is left without these; not below nothing.
    pub(crate) fn without(self, gone: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(gone.entries),
            bytes: self.bytes.saturating_sub(gone.bytes),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}
