//! A range of the output: its bytes, and the numbers that they cover.

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use crate::event::{LossReason, Position, PublisherId, RunId};
use crate::seal::Seal;

/// Contiguous ranges are merged up to this size. The last one is read to check that the output is the right file,
/// which must take milliseconds only.
pub(super) const RANGE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of the output, and the numbers that they cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) publisher: PublisherId,
    pub(super) run: RunId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audit_run: Option<String>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) entries: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) losses: Vec<Missing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) requeued: Vec<Requeued>,
    pub(super) crc32: u32,
    /// The tree of the entries up to the end of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seal>,
}

/// Numbers that are not in the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missing {
    pub(super) first: u64,
    pub(super) count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<LossReason>,
}

/// Entries that had been dead letters: the numbers `first` to `first + count - 1` are those of `run` from `was` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Requeued {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) run: RunId,
    pub(super) was: u64,
}

impl Range {
    /// An empty range that begins at byte `start` and number `first`.
    pub(super) fn begin(publisher: PublisherId, run: RunId, start: u64, first: u64) -> Self {
        Self {
            publisher,
            run,
            audit_run: None,
            start,
            end: start,
            entries: 0,
            first,
            last: first - 1,
            losses: Vec::new(),
            requeued: Vec::new(),
            crc32: 0,
            seal: None,
        }
    }

    /// Records `count` numbers after `last` as missing.
    pub(super) fn lose(&mut self, count: u64, reason: Option<LossReason>) {
        let first = self.last + 1;
        self.last += count;
        match self.losses.last_mut() {
            Some(before) if before.reason == reason && before.first + before.count == first => {
                before.count += count;
            }
            _ => self.losses.push(Missing {
                first,
                count,
                reason,
            }),
        }
    }

    /// Records the old numbers of the next requeued entries.
    pub(super) fn requeue(&mut self, next: Requeued) {
        match self.requeued.last_mut() {
            Some(before)
                if before.run == next.run
                    && before.first + before.count == next.first
                    && before.was + before.count == next.was =>
            {
                before.count += next.count;
            }
            _ => self.requeued.push(next),
        }
    }

    pub(super) fn cursor(&self) -> Position {
        Position::new(self.run, self.last)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.start <= self.end
            && 1 <= self.first
            && self.first <= self.last
            && self
                .losses
                .iter()
                .all(|missing| self.first <= missing.first)
    }

    pub(super) fn is_continued_by(&self, next: &Self) -> bool {
        self.publisher == next.publisher
            && self.run == next.run
            && self.last + 1 == next.first
            && self.seal.is_some() == next.seal.is_some()
            && next.end - self.start <= RANGE_BYTES_MAX
    }

    pub(super) fn absorb(&mut self, next: Self) {
        let mut crc = Hasher::new_with_initial_len(self.crc32, self.end - self.start);
        crc.combine(&Hasher::new_with_initial_len(
            next.crc32,
            next.end - next.start,
        ));
        self.crc32 = crc.finalize();
        for missing in next.losses {
            // `lose` continues from `last`: move it to the loss, past the entries before it.
            self.last = missing.first - 1;
            self.lose(missing.count, missing.reason);
        }
        for requeued in next.requeued {
            self.requeue(requeued);
        }
        let before = self.seal.take();
        self.seal = next.seal.map(|seal| seal.following(before));
        self.audit_run = self.audit_run.take().or(next.audit_run);
        self.entries += next.entries;
        self.end = next.end;
        self.last = next.last;
    }

    /// Undoes the losses from number `n` on.
    pub(super) fn end_before(&mut self, n: u64) {
        self.losses.retain(|missing| missing.first < n);
        if let Some(last) = self.losses.last_mut() {
            last.count = last.count.min(n - last.first);
        }
        self.last = n - 1;
    }
}
