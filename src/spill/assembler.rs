//! From rows back to records: each number is an entry, a loss, accounted for elsewhere, or missing. Pure.
//!
//! Rows come in the order of their keys, those of `absent` among them. Whatever covers a number first decides what it
//! is. A number that nothing covers is lost with the reason `corrupt`: everything between what is delivered and the
//! newest entry was written, or says why it was not.

use crate::event::{Key, Loss, LossReason};

use super::orders::Orphan;

/// What some numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Entry,
    Loss(LossReason),
    /// Delivered without being written, or announced under other numbers.
    Accounted,
}

/// Numbers that can no longer be read, of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) first: Key,
    pub(super) count: u64,
}

/// Takes rows in order.
#[derive(Debug, Clone)]
pub(super) struct Assembler {
    /// The first number that nothing has covered yet; `None` until the first row says where the backlog begins.
    next: Option<Key>,
    /// Losses that the next entry of their run announces.
    pending: Vec<PendingLoss>,
    pub(super) orphans: Vec<Orphan>,
    pub(super) damage: Vec<Damage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PendingLoss {
    first: Key,
    count: u64,
    reason: LossReason,
}

impl Assembler {
    /// Takes rows after this key; with `None`, from the first row on.
    pub(super) fn new(after: Option<Key>) -> Self {
        Self {
            next: after.map(|key| key.after(1)),
            pending: Vec::new(),
            orphans: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Everything before it has been taken.
    pub(super) fn next(&self) -> Option<Key> {
        self.next
    }

    /// Takes the next row, which covers the keys from `first` up to `end`. For an entry that is wanted, returns the
    /// losses before it. `tail` returns the last number of a run, as far as it is known.
    pub(super) fn take(
        &mut self,
        first: Key,
        end: Key,
        what: What,
        tail: impl Fn(u32) -> u64,
    ) -> Option<Vec<Loss>> {
        let next = self.next.unwrap_or(first);
        if end <= next {
            return None;
        }
        let first = first.max(next);
        self.next = Some(next);
        self.close_hole(first, tail);
        self.enter(first.local_run());
        self.next = Some(end);
        match what {
            What::Entry => return Some(self.losses()),
            What::Accounted if end.local_run() == first.local_run() => self.pending.clear(),
            // It spans the end of a run: numbers missing there are not accounted for.
            What::Accounted => self.enter(end.local_run()),
            What::Loss(reason) => self.lose(first, first.distance(end), reason),
        }
        None
    }

    /// The backlog ends here; `newest` was its newest entry. Returns the losses after it, if they are the present
    /// run's.
    pub(super) fn finish(
        &mut self,
        newest: Key,
        present: u32,
        tail: impl Fn(u32) -> u64,
    ) -> Vec<Loss> {
        if self.next.is_some_and(|next| next <= newest) {
            self.close_hole(newest.after(1), tail);
            self.enter(newest.local_run());
            self.next = Some(newest.after(1));
        }
        self.enter(present);
        self.losses()
    }

    /// Nothing covers the numbers from `next` up to `end`.
    fn close_hole(&mut self, end: Key, tail: impl Fn(u32) -> u64) {
        // Numbers begin at 1.
        let next = self
            .next
            .map(|next| next.max(Key::new(next.local_run(), 1)));
        let Some(next) = next.filter(|&next| next < end) else {
            return;
        };
        let (run, last) = (next.local_run(), end.local_run());
        if run == last {
            self.damage(next, next.distance(end));
            return;
        }
        self.miss(next, tail(run));
        for between in run + 1..last {
            self.miss(Key::new(between, 1), tail(between));
        }
        self.enter(last);
        let first = Key::new(last, 1);
        if first < end {
            self.damage(first, first.distance(end));
        }
    }

    /// The numbers of an earlier run from `first` up to `last_n` are missing.
    fn miss(&mut self, first: Key, last_n: u64) {
        self.enter(first.local_run());
        if first.n() <= last_n {
            self.damage(first, last_n - first.n() + 1);
        }
    }

    /// Losses at the end of an earlier run have no entry after them. Damage becomes orphans, which a later run
    /// announces; the other losses are covered by the run's last number, if it ended cleanly.
    fn enter(&mut self, run: u32) {
        let pending = &mut self.pending;
        let earlier = pending.extract_if(.., |stretch| stretch.first.local_run() != run);
        let corrupt = earlier.filter(|stretch| stretch.reason == LossReason::Corrupt);
        self.orphans
            .extend(corrupt.map(|PendingLoss { first, count, .. }| Orphan { first, count }));
    }

    fn damage(&mut self, first: Key, count: u64) {
        self.damage.push(Damage { first, count });
        self.lose(first, count, LossReason::Corrupt);
    }

    fn lose(&mut self, first: Key, count: u64, reason: LossReason) {
        self.pending.push(PendingLoss {
            first,
            count,
            reason,
        });
    }

    fn losses(&mut self) -> Vec<Loss> {
        let mut losses = Vec::new();
        for PendingLoss { count, reason, .. } in self.pending.drain(..) {
            Loss { count, reason }.join(&mut losses);
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LossReason::{Corrupt, QueueFull};

    fn key(run: u32, n: u64) -> Key {
        Key::new(run, n)
    }

    fn loss(count: u64, reason: LossReason) -> Loss {
        Loss { count, reason }
    }

    /// Takes a row of `count` numbers.
    fn take(assembler: &mut Assembler, first: Key, count: u64, what: What) -> Option<Vec<Loss>> {
        assembler.take(first, first.after(count), what, |run| {
            [0, 9, 0, 4][run as usize]
        })
    }

    #[test]
    fn an_entry_announces_what_is_missing_before_it() {
        let mut assembler = Assembler::new(Some(key(1, 2)));
        assert_eq!(
            take(&mut assembler, key(1, 3), 1, What::Entry),
            Some(vec![])
        );
        assert_eq!(
            take(&mut assembler, key(1, 4), 2, What::Loss(QueueFull)),
            None
        );
        let losses = vec![loss(2, QueueFull), loss(1, Corrupt)];
        assert_eq!(
            take(&mut assembler, key(1, 7), 1, What::Entry),
            Some(losses)
        );
        assert_eq!(
            assembler.damage,
            [Damage {
                first: key(1, 6),
                count: 1
            }]
        );
    }

    #[test]
    fn what_covers_a_number_first_decides() {
        let mut assembler = Assembler::new(None);
        assert_eq!(
            take(&mut assembler, key(1, 5), 3, What::Loss(QueueFull)),
            None
        );
        assert_eq!(take(&mut assembler, key(1, 6), 1, What::Entry), None);
        assert_eq!(
            take(&mut assembler, key(1, 8), 1, What::Entry),
            Some(vec![loss(3, QueueFull)])
        );
        assert_eq!(take(&mut assembler, key(1, 8), 1, What::Entry), None);
        assert!(assembler.damage.is_empty());
    }

    #[test]
    fn what_is_accounted_for_is_no_loss_and_may_span_runs() {
        let mut assembler = Assembler::new(Some(key(1, 2)));
        let count = key(1, 3).distance(key(3, 4));
        assert_eq!(
            take(&mut assembler, key(1, 3), count, What::Accounted),
            None
        );
        assert_eq!(
            take(&mut assembler, key(3, 4), 1, What::Entry),
            Some(vec![])
        );
        assert!(assembler.damage.is_empty() && assembler.orphans.is_empty());
    }

    #[test]
    fn the_end_of_a_run_that_is_missing_is_an_orphan_before_numbers_that_span_runs() {
        let mut assembler = Assembler::new(Some(key(1, 2)));
        let count = key(1, 4).distance(key(2, 1));
        assert_eq!(
            take(&mut assembler, key(1, 4), count, What::Accounted),
            None
        );
        assert_eq!(
            take(&mut assembler, key(2, 1), 1, What::Entry),
            Some(vec![])
        );
        assert_eq!(
            assembler.orphans,
            [Orphan {
                first: key(1, 3),
                count: 1
            }]
        );
    }

    #[test]
    fn the_end_of_an_earlier_run_that_is_missing_is_an_orphan() {
        let mut assembler = Assembler::new(Some(key(1, 4)));
        assert_eq!(
            take(&mut assembler, key(1, 5), 1, What::Loss(QueueFull)),
            None
        );
        // Run 1 had 9 numbers, run 2 none that is known.
        assert_eq!(
            take(&mut assembler, key(3, 3), 1, What::Entry),
            Some(vec![loss(2, Corrupt)])
        );
        let orphan = Orphan {
            first: key(1, 6),
            count: 4,
        };
        assert_eq!(assembler.orphans, [orphan]);
    }

    #[test]
    fn the_end_of_the_backlog_that_is_missing_is_lost() {
        let mut assembler = Assembler::new(Some(key(3, 1)));
        assert_eq!(
            take(&mut assembler, key(3, 2), 1, What::Entry),
            Some(vec![])
        );
        let tail = |_| 4;
        let mut later = assembler.clone();
        assert_eq!(assembler.finish(key(3, 4), 3, tail), [loss(2, Corrupt)]);
        assert_eq!(assembler.finish(key(3, 4), 3, tail), []);
        assert_eq!(later.finish(key(3, 4), 4, tail), []);
        assert_eq!(
            later.orphans,
            [Orphan {
                first: key(3, 3),
                count: 2
            }]
        );
        assert_eq!(assembler.next(), Some(key(3, 5)));
    }

    #[test]
    fn damage_at_the_start_of_an_unknown_backlog_is_not_made_up() {
        let mut assembler = Assembler::new(None);
        assert_eq!(
            take(&mut assembler, key(3, 2), 1, What::Entry),
            Some(vec![])
        );
        assert!(assembler.damage.is_empty());
    }
}
