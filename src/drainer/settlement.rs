//! What the sink has acknowledged and the spill does not know yet.

use std::time::Instant;

use super::pipeline::Tally;
use crate::event::Key;
use crate::spill::{Counted, Order, View};

/// Entries that the spill still counts and the sink has.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// Up to here the spill knows.
    known: Option<Key>,
    /// A failed append may have left rows up to here.
    doubtful: Option<Key>,
    unsettled: Tally,
    counting: Counting,
    /// Since when the spill lacks something.
    since: Option<Instant>,
    /// What the order under way is about.
    sent: Option<(Key, Tally)>,
}

/// Who knows how many entries a settlement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Counting {
    #[default]
    Ours,
    /// The sink was asked: it may have entries that never were in memory.
    TheSpills,
}

impl Settlement {
    /// The sink has acknowledged entries that the spill counts.
    pub(super) fn add(&mut self, entries: Tally) {
        self.unsettled.entries += entries.entries;
        self.unsettled.bytes += entries.bytes;
    }

    /// The sink was asked, and may have acknowledged entries that were not in memory.
    pub(super) fn add_unknown(&mut self) {
        self.counting = Counting::TheSpills;
    }

    /// An append up to here failed: nobody knows whether its rows are on disk.
    pub(super) fn doubt(&mut self, through: Option<Key>) {
        self.doubtful = self.doubtful.max(through);
    }

    /// Delivered entries that the spill still counts.
    pub(super) fn unsettled(&self) -> Tally {
        self.unsettled
    }

    /// Since when a settlement is due, if one is: everything up to `settled` is delivered.
    pub(super) fn due(
        &mut self,
        settled: Option<Key>,
        view: &View,
        now: Instant,
    ) -> Option<Instant> {
        let totals = view.totals;
        let holds =
            view.newest.max(self.doubtful) > self.known || totals.absent > 0 || totals.entries > 0;
        let due = settled > self.known && holds;
        self.since = due.then(|| self.since.unwrap_or(now));
        self.since
    }

    pub(super) fn order(&mut self, through: Key) -> Order {
        self.sent = Some((through, self.unsettled));
        let Tally { entries, bytes } = self.unsettled;
        let entries = match self.counting {
            Counting::Ours => Counted::Known { entries, bytes },
            Counting::TheSpills => Counted::Unknown,
        };
        Order::Settle { through, entries }
    }

    /// The spill has settled so many entries. Answers how many of them never were in memory.
    pub(super) fn done(&mut self, entries: u64) -> u64 {
        let Some((through, sent)) = self.sent.take() else {
            return 0;
        };
        self.known = self.known.max(Some(through));
        self.since = None;
        self.unsettled.entries -= sent.entries;
        self.unsettled.bytes -= sent.bytes;
        match std::mem::take(&mut self.counting) {
            Counting::Ours => 0,
            Counting::TheSpills => entries.saturating_sub(sent.entries),
        }
    }

    pub(super) fn failed(&mut self) {
        self.sent = None;
    }
}

#[cfg(test)]
mod tests;
