//! Numbers entries and losses.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::event::{Key, Loss, LossReason, PreviousRun, PublisherId, Record, Run};
use crate::host::log;
use crate::stats::Lost;

/// The run, its numbers, and the losses that wait for an entry to announce them.
#[derive(Debug)]
pub(crate) struct Sequencer {
    run: Arc<Run>,
    /// The last assigned number, of an entry or a loss.
    last_n: u64,
    /// Numbered losses that the next entry announces.
    carried: Vec<Loss>,
    /// How many of the ring's losses have numbers, and how many of those have which reason.
    numbered: Lost,
    encode_errors: u64,
}

/// An encoded entry, or why it cannot be encoded.
pub(crate) type Encoded = Result<(Arc<str>, Bytes), String>;

impl Sequencer {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            last_n: 0,
            carried: Vec::new(),
            numbered: Lost::default(),
            encode_errors: 0,
        }
    }

    /// Continues a run that has reached this number. Its last `losses` numbers are losses not announced yet;
    /// `numbered` of the ring's losses are among its numbers.
    pub(crate) fn resume(&mut self, last_n: u64, losses: u64, numbered: u64) {
        self.last_n = last_n;
        self.numbered.queue_full = numbered;
        let reason = LossReason::QueueFull;
        Loss {
            count: losses,
            reason,
        }
        .join(&mut self.carried);
    }

    /// An entry of the run has this number, and the ring's losses up to its count `lost` have theirs before it.
    pub(crate) fn has_reached(&mut self, n: u64, lost: u64) {
        self.numbered.queue_full = self.numbered.queue_full.max(lost);
        if n > self.last_n {
            self.last_n = n;
            self.carried.clear();
        }
    }

    /// Numbers the ring's losses up to its count `lost`; `by_reason` may be ahead of it. The sums are exact in the
    /// end, only the order of the reasons may differ.
    ///
    /// Losses past the run's last number get theirs in the next run.
    pub(crate) fn number_losses(&mut self, lost: u64, by_reason: impl FnOnce() -> Lost) {
        // The entry itself needs one.
        let numbers = (Key::N_MAX - 1).saturating_sub(self.last_n);
        let new = lost.saturating_sub(self.numbered.total()).min(numbers);
        if new == 0 {
            return;
        }
        let so_far = by_reason();
        let numbered = &mut self.numbered;
        let spill_full = new.min(so_far.spill_full.saturating_sub(numbered.spill_full));
        let closed = (new - spill_full).min(
            so_far
                .already_shutdown
                .saturating_sub(numbered.already_shutdown),
        );
        let queue_full = new - spill_full - closed;
        numbered.spill_full += spill_full;
        numbered.already_shutdown += closed;
        numbered.queue_full += queue_full;
        self.lose(spill_full, LossReason::SpillFull);
        self.lose(queue_full, LossReason::QueueFull);
        self.lose(closed, LossReason::AlreadyShutdown);
    }

    /// Numbers an entry. One that cannot be encoded becomes a loss.
    pub(crate) fn number(
        &mut self,
        encoded: Encoded,
        popped_ms: u64,
        since: Instant,
    ) -> Option<Record> {
        match encoded {
            Ok((subject, bytes)) => {
                self.last_n += 1;
                Some(Record {
                    run: Arc::clone(&self.run),
                    n: self.last_n,
                    losses: std::mem::take(&mut self.carried),
                    popped_ms,
                    requeued: None,
                    since,
                    subject,
                    bytes,
                })
            }
            Err(problem) => {
                self.encode_errors += 1;
                let n = self.lose(1, LossReason::EncodeError);
                log::warning!(n, problem, "entry dropped: it cannot be encoded");
                None
            }
        }
    }

    /// Numbers losses before the next entry; returns the first of the numbers.
    pub(crate) fn lose(&mut self, count: u64, reason: LossReason) -> u64 {
        let first = self.last_n + 1;
        let count = count.min(Key::N_MAX.saturating_sub(self.last_n));
        self.last_n += count;
        Loss { count, reason }.join(&mut self.carried);
        first
    }

    /// Adds losses that already have numbers, directly before those that are waiting.
    pub(crate) fn carry(&mut self, mut losses: Vec<Loss>) {
        for loss in self.carried.drain(..) {
            loss.join(&mut losses);
        }
        self.carried = losses;
    }

    /// Whether there are losses after the last entry, if the ring has counted this many.
    pub(crate) fn has_unannounced(&self, lost: u64) -> bool {
        !self.carried.is_empty() || lost > self.numbered.total()
    }

    /// The losses after the last entry, and the number of the first.
    pub(crate) fn trailing(&self) -> (u64, Vec<Loss>) {
        let count: u64 = self.carried.iter().map(|loss| loss.count).sum();
        (self.last_n + 1 - count, self.carried.clone())
    }

    /// Whether the run has fewer than this many numbers left.
    pub(crate) fn lacks(&self, numbers: usize) -> bool {
        self.last_n + numbers as u64 > Key::N_MAX
    }

    /// How many numbers are left.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(Key::N_MAX - self.last_n).unwrap_or(usize::MAX)
    }

    /// Continues in another run. The last number of the old run covers the carried losses.
    pub(crate) fn begin(&mut self, run: Arc<Run>) {
        self.run = run;
        self.last_n = 0;
        self.carried.clear();
    }

    /// The run continues under another publisher.
    pub(crate) fn rename(&mut self, publisher: PublisherId) {
        Arc::make_mut(&mut self.run).publisher = publisher;
    }

    /// The run turns out to follow another one.
    pub(crate) fn follow(&mut self, previous: PreviousRun) {
        let run = Arc::make_mut(&mut self.run);
        (run.previous, run.killed_starts) = (Some(previous), 0);
    }

    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// The last assigned number, losses included.
    pub(crate) fn last_n(&self) -> u64 {
        self.last_n
    }

    /// The place of the last assigned number.
    pub(crate) fn last_key(&self) -> Key {
        Key::new(self.run.local, self.last_n)
    }

    /// How many of the ring's losses have numbers.
    pub(crate) fn numbered(&self) -> u64 {
        self.numbered.total()
    }

    /// Entries that could not be encoded.
    pub(crate) fn encode_errors(&self) -> u64 {
        self.encode_errors
    }
}

#[cfg(test)]
mod tests;
