//! From rows back to records: losses go to the entry behind them, and what is missing is noticed. Pure.

use crate::event::{Key, Loss, LossReason};

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Entry,
    Loss(Loss),
    Damaged,
}

/// A stretch of numbers that can no longer be read: a damaged row, or a hole where rows must have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) first: Key,
    pub(super) count: u64,
}

/// Takes rows in order.
///
/// Within a run the rows behind an entry are gapless, because an entry is spilled only when every older undelivered one
/// is: a hole there is damage. A hole behind losses that have no entry before them is none: these losses were told by
/// an entry that was delivered without being spilled, and nobody has removed them yet.
#[derive(Debug)]
pub(super) struct Fold {
    after: Option<Key>,
    run: u32,
    /// The number that must come next in the run, once one has been seen.
    next: Option<u64>,
    ground: Ground,
    losses: Vec<Loss>,
    pub(super) damage: Vec<Damage>,
}

/// What stands before the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// An undelivered entry: a hole is damage.
    Firm,
    /// Losses at most.
    Loose,
}

impl Fold {
    /// Only what lies behind `after` comes out; the row that holds it may be the first to go in.
    pub(super) fn new(after: Option<Key>) -> Self {
        Self {
            after,
            run: 0,
            next: None,
            ground: Ground::Loose,
            losses: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Takes the next row. For an entry that is wanted, its losses come back.
    pub(super) fn take(&mut self, key: Key, content: Content) -> Option<Vec<Loss>> {
        let count = match content {
            Content::Loss(loss) => loss.count,
            Content::Entry | Content::Damaged => 1,
        };
        let end = key.n().saturating_add(count);
        self.enter(key, end);
        let first = self.next.map_or(key.n(), |next| next.max(key.n()));
        if end <= first {
            return None;
        }
        self.close_hole(key);
        self.next = Some(end);
        match content {
            Content::Loss(loss) => self.lose(end - first, loss.reason),
            Content::Damaged => self.damage(key, 1),
            Content::Entry => {
                self.ground = Ground::Firm;
                return Some(std::mem::take(&mut self.losses));
            }
        }
        None
    }

    /// Begins a new run, or behind `after`.
    fn enter(&mut self, key: Key, end: u64) {
        if key.local_run() != self.run {
            self.run = key.local_run();
            self.next = None;
            self.ground = Ground::Loose;
            self.losses.clear();
        }
        let Some(after) = self.after.filter(|&after| key <= after) else {
            return;
        };
        let holds_it = key.local_run() == after.local_run() && end > after.n();
        if holds_it {
            self.next = Some(after.n() + 1);
            self.ground = Ground::Firm;
        } else {
            self.next = Some(end);
        }
    }

    fn close_hole(&mut self, key: Key) {
        let Some(next) = self.next.filter(|&next| next < key.n()) else {
            return;
        };
        match self.ground {
            Ground::Firm => {
                let first = Key::new(self.run, next);
                self.damage(first, key.n() - next);
            }
            Ground::Loose => self.losses.clear(),
        }
    }

    fn damage(&mut self, first: Key, count: u64) {
        self.ground = Ground::Firm;
        self.lose(count, LossReason::Corrupt);
        self.damage.push(Damage { first, count });
    }

    fn lose(&mut self, count: u64, reason: LossReason) {
        Loss { count, reason }.join(&mut self.losses);
    }
}
