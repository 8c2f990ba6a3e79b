//! Entries that the sink has acknowledged and the spill still counts.

use std::time::Instant;

use crate::event::Key;
use crate::spill::{Counted, Order, Settled, Tally, View};

/// Entries that the spill still counts and the sink has.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// The spill knows up to here.
    known: Option<Key>,
    /// A failed append may have left rows up to here.
    doubtful: Option<Key>,
    unsettled: Tally,
    /// The spill must count: the sink was asked, and may have entries that were never in memory.
    uncounted: bool,
    /// Since when the spill lacks something.
    since: Option<Instant>,
    under_way: Option<Covered>,
}

/// What the order under way covers.
#[derive(Debug, Clone, Copy)]
struct Covered {
    through: Key,
    unsettled: Tally,
    uncounted: bool,
}

impl Settlement {
    /// The sink has acknowledged entries that the spill counts.
    pub(super) fn add(&mut self, entries: Tally) {
        self.unsettled += entries;
    }

    /// The sink was asked, and may have acknowledged entries that were not in memory.
    pub(super) fn add_unknown(&mut self) {
        self.uncounted = true;
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
        let holds = view.newest.max(self.doubtful) > self.known
            || totals.absent > 0
            || totals.backlog.entries > 0;
        let due = settled > self.known && holds;
        self.since = due.then(|| self.since.unwrap_or(now));
        self.since
    }

    pub(super) fn order(&mut self, through: Key) -> Order {
        let uncounted = std::mem::take(&mut self.uncounted);
        self.under_way = Some(Covered {
            through,
            unsettled: self.unsettled,
            uncounted,
        });
        let entries = if uncounted {
            Counted::Unknown
        } else {
            Counted::Known(self.unsettled)
        };
        Order::Settle { through, entries }
    }

    /// The spill has settled this much, perhaps only a part. Returns how many of these entries were never in memory.
    pub(super) fn done(&mut self, settled: Settled) -> u64 {
        let Some(covered) = self.under_way.take() else {
            return 0;
        };
        self.known = self.known.max(Some(settled.through));
        self.since = None;
        let mut ours = covered.unsettled;
        if settled.through < covered.through {
            // Which of them were in memory shows once all are settled; meanwhile the sums are right.
            ours.entries = ours.entries.min(settled.tally.entries);
            ours.bytes = ours.bytes.min(settled.tally.bytes);
            self.uncounted |= covered.uncounted;
        }
        self.unsettled = self.unsettled.without(ours);
        if covered.uncounted {
            settled.tally.without(ours).entries
        } else {
            0
        }
    }

    pub(super) fn failed(&mut self) {
        if let Some(covered) = self.under_way.take() {
            self.uncounted |= covered.uncounted;
        }
    }
}

#[cfg(test)]
mod tests;
