//! Entries that the sink has acknowledged and the spill still counts.

use std::time::Instant;

use super::pipeline::Tally;
use crate::event::Key;
use crate::spill::{Counted, Order, Settled, View};

/// Entries that the spill still counts and the sink has.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// The spill knows up to here.
    known: Option<Key>,
    /// A failed append may have left rows up to here.
    doubtful: Option<Key>,
    unsettled: Tally,
    counting: Counting,
    /// Since when the spill lacks something.
    since: Option<Instant>,
    sent: Option<Sent>,
}

/// What the order under way covers.
#[derive(Debug, Clone, Copy)]
struct Sent {
    through: Key,
    unsettled: Tally,
    counting: Counting,
}

/// Who knows how many entries a settlement covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Counting {
    #[default]
    Ours,
    /// The sink was asked: it may have entries that were never in memory.
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
        let sent = Sent {
            through,
            unsettled: self.unsettled,
            counting: std::mem::take(&mut self.counting),
        };
        self.sent = Some(sent);
        let Tally { entries, bytes } = self.unsettled;
        let entries = match sent.counting {
            Counting::Ours => Counted::Known { entries, bytes },
            Counting::TheSpills => Counted::Unknown,
        };
        Order::Settle { through, entries }
    }

    /// The spill has settled this much, perhaps only a part. Returns how many of these entries were never in memory.
    pub(super) fn done(&mut self, settled: Settled) -> u64 {
        let Some(sent) = self.sent.take() else {
            return 0;
        };
        self.known = self.known.max(Some(settled.through));
        self.since = None;
        let mut ours = sent.unsettled;
        if settled.through < sent.through {
            // Which of them were in memory shows once all are settled; meanwhile the sums are right.
            ours.entries = ours.entries.min(settled.entries);
            ours.bytes = ours.bytes.min(settled.bytes);
            self.counting = sent.counting;
        }
        self.unsettled.entries -= ours.entries;
        self.unsettled.bytes -= ours.bytes;
        match sent.counting {
            Counting::Ours => 0,
            Counting::TheSpills => settled.entries.saturating_sub(ours.entries),
        }
    }

    pub(super) fn failed(&mut self) {
        if let Some(sent) = self.sent.take()
            && sent.counting == Counting::TheSpills
        {
            self.counting = sent.counting;
        }
    }
}

#[cfg(test)]
mod tests;
