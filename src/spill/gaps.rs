//! Which numbers no row stands for, told while rows go by; what `reconcile` does in a database that can be written. Pure.

use std::collections::VecDeque;

use crate::event::{Key, Loss, LossReason};

use super::fold::Content;
use super::read::Found;

/// Takes rows in order.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    stretches: Vec<Stretch>,
    /// The last number that something has stood for.
    end: Key,
    /// How many numbers were missing.
    pub(super) missing: u64,
}

/// Behind `low` and up to `high` something must stand for each number at both ends; what lies between two rows is the
/// fold's to notice.
#[derive(Debug)]
struct Stretch {
    low: Key,
    high: Key,
    /// A row of it has gone by.
    begun: bool,
}

impl Gaps {
    pub(super) fn expect(&mut self, low: Key, high: Key) {
        let begun = false;
        if low < high {
            self.stretches.push(Stretch { low, high, begun });
        }
    }

    /// What is missing before the next row, or before the end.
    pub(super) fn before(&mut self, next: Option<Key>, out: &mut VecDeque<Found>) {
        let mut stretches = std::mem::take(&mut self.stretches);
        stretches.retain_mut(|stretch| {
            if next.is_some_and(|next| next <= stretch.low) {
                return true;
            }
            let low = if stretch.begun {
                self.end
            } else {
                stretch.low.max(self.end)
            };
            let Some(next) = next.filter(|&next| next <= stretch.high) else {
                self.tell(low, stretch.high, 1, out);
                return false;
            };
            if !stretch.begun {
                self.tell(low, next, 0, out);
            }
            stretch.begun = true;
            true
        });
        self.stretches = stretches;
    }

    pub(super) fn pass(&mut self, found: &Found) {
        let count = match found.content {
            Content::Loss(loss) => loss.count,
            Content::Entry | Content::Damaged => 1,
        };
        let n = found.key.n().saturating_add(count.max(1) - 1);
        let end = Key::new(found.key.local_run(), n.min(Key::N_MAX));
        self.end = self.end.max(end);
    }

    /// Between two keys: of the run of the second one, since nothing is known of the end of another one. `through` is 1
    /// if the second is missing as well.
    fn tell(&mut self, from: Key, to: Key, through: u64, out: &mut VecDeque<Found>) {
        let first = if from.local_run() == to.local_run() {
            from.n() + 1
        } else {
            1
        };
        let end = to.n() + through;
        if from >= to || first >= end {
            return;
        }
        let loss = Loss {
            count: end - first,
            reason: LossReason::Corrupt,
        };
        self.missing += loss.count;
        let found = Found::without_entry(Key::new(to.local_run(), first), Content::Loss(loss));
        self.pass(&found);
        out.push_back(found);
    }
}
