//! Pops entries from the ring, numbers them, and turns them into records. The generic ends here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use crate::event::{Event, Key, Loss, LossReason, Record, Run, unix_ms};
use crate::publisher::Shared;
pub(crate) use crate::ring::Inside;
use crate::stats::Stats;

/// The drainer's end of the ring, for any type of entry.
pub(crate) trait Intake: Send {
    /// Pops and encodes up to `entries_max` entries and about `bytes_max` encoded bytes, which have been in the ring
    /// since then at the most, and appends them to `out`. Answers how many were popped, those included that could not
    /// be encoded.
    fn take(
        &mut self,
        entries_max: usize,
        bytes_max: u64,
        since: Instant,
        out: &mut Vec<Record>,
    ) -> usize;

    /// What the gate says.
    fn inside(&self) -> Inside;

    /// How many entries stand in the ring; every push that happened before the call is among them.
    fn queued(&self) -> usize;

    /// Refuses new entries from now on.
    fn close(&self);

    /// Says whether a full ring is the doing of a spill at its cap.
    fn blame_spill(&self, full: bool);

    /// These losses come directly before the next entry.
    fn carry(&mut self, losses: Vec<Loss>);

    /// Whether there are losses behind the last entry.
    fn untold(&self) -> bool;

    /// After the last pop: gives numbers to losses behind the last entry.
    fn number_losses(&mut self);

    /// After the last pop: gives numbers to losses behind the last entry, and answers them with the first number.
    fn trailing_losses(&mut self) -> (u64, Vec<Loss>);

    /// The last number given, losses included.
    fn last_n(&self) -> u64;

    /// The last number given, but for losses that wait for the next entry.
    fn last_told(&self) -> u64;

    /// Entries that could not be encoded.
    fn encode_errors(&self) -> u64;

    /// So many numbers are lost before the next entry.
    fn lose(&mut self, count: u64, reason: LossReason);

    /// Numbers what follows as a new run.
    fn begin(&mut self, run: Arc<Run>);

    /// The run goes on under another publisher.
    fn rename(&mut self, run: Arc<Run>);

    /// The drainer's last stats, completed by what only the ring and its publishers know.
    fn stats(&self) -> Stats;
}

/// The one implementation, over a shared ring.
#[derive(Debug)]
pub(crate) struct RingIntake<E> {
    shared: Arc<Shared<E>>,
    run: Arc<Run>,
    last_n: u64,
    /// Losses numbered already, waiting for the entry that tells them.
    carried: Vec<Loss>,
    /// Of the ring's losses, how many have numbers, and how many of those were blamed on what.
    lost: u64,
    lost_spill_full: u64,
    lost_closed: u64,
    encode_errors: u64,
    buffer: Vec<u8>,
}

impl<E: Event> RingIntake<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, run: Arc<Run>) -> Self {
        Self {
            shared,
            run,
            last_n: 0,
            carried: Vec::new(),
            lost: 0,
            lost_spill_full: 0,
            lost_closed: 0,
            encode_errors: 0,
            buffer: Vec::new(),
        }
    }

    /// Gives numbers to the ring's losses up to its count `lost`. The counts by reason may run ahead of `lost`: the
    /// sums are exact in the end, only their order among one another is not.
    fn number_losses_to(&mut self, lost: u64) {
        let new = lost.saturating_sub(self.lost);
        if new == 0 {
            return;
        }
        let counts = self.shared.refusals.lost(self.shared.ring.lost());
        let spill_full = new.min(counts.spill_full.saturating_sub(self.lost_spill_full));
        let closed =
            (new - spill_full).min(counts.already_shutdown.saturating_sub(self.lost_closed));
        self.lost_spill_full += spill_full;
        self.lost_closed += closed;
        self.lost = lost;
        self.last_n += new;
        self.carry_loss(spill_full, LossReason::SpillFull);
        self.carry_loss(new - spill_full - closed, LossReason::QueueFull);
        self.carry_loss(closed, LossReason::AlreadyShutdown);
    }

    fn carry_loss(&mut self, count: u64, reason: LossReason) {
        Loss { count, reason }.join(&mut self.carried);
    }

    fn encode(&mut self, entry: &E) -> Result<(Box<str>, Bytes), String> {
        self.buffer.clear();
        let buffer = &mut self.buffer;
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            entry
                .encode(buffer)
                .map(|()| entry.subject().into_boxed_str())
                .map_err(|error| error.to_string())
        }));
        match encoded {
            Ok(Ok(_)) if self.buffer.len() > Record::BYTES_MAX => {
                let bytes = std::mem::take(&mut self.buffer).len();
                Err(format!("its {bytes} bytes are more than can be stored"))
            }
            Ok(Ok(subject)) => Ok((subject, Bytes::copy_from_slice(&self.buffer))),
            Ok(Err(problem)) => Err(problem),
            Err(_panic) => Err("encoding it panicked".to_owned()),
        }
    }

    fn record(&mut self, entry: E, popped_ms: u64, since: Instant) -> Option<Record> {
        self.last_n += 1;
        let encoded = self.encode(&entry);
        // Dropping is the user's code as well.
        drop(catch_unwind(AssertUnwindSafe(|| drop(entry))));
        match encoded {
            Ok((subject, bytes)) => Some(Record {
                run: Arc::clone(&self.run),
                n: self.last_n,
                losses: std::mem::take(&mut self.carried),
                popped_ms,
                requeued: None,
                since,
                subject,
                bytes,
            }),
            Err(problem) => {
                self.encode_errors += 1;
                self.carry_loss(1, LossReason::EncodeError);
                tracing::warn!(target: "spillring", n = self.last_n, problem, "an entry is discarded: it cannot be encoded");
                None
            }
        }
    }
}

impl<E: Event> Intake for RingIntake<E> {
    fn take(
        &mut self,
        entries_max: usize,
        bytes_max: u64,
        since: Instant,
        out: &mut Vec<Record>,
    ) -> usize {
        let entries_max =
            entries_max.min(usize::try_from(Key::N_MAX - self.last_n).unwrap_or(usize::MAX));
        let popped_ms = unix_ms();
        let shared = Arc::clone(&self.shared);
        let mut drain = shared.ring.drain();
        let (mut popped, mut bytes) = (0, 0);
        while popped < entries_max && bytes < bytes_max {
            let Some(slot) = drain.next() else { break };
            popped += 1;
            self.number_losses_to(slot.lost);
            if let Some(record) = self.record(slot.value, popped_ms, since) {
                bytes += record.size();
                out.push(record);
            }
        }
        shared.popped.fetch_add(popped as u64, Ordering::Relaxed);
        popped
    }

    fn inside(&self) -> Inside {
        self.shared.ring.inside()
    }

    fn queued(&self) -> usize {
        self.shared.ring.queued()
    }

    fn close(&self) {
        self.shared.ring.close();
    }

    fn blame_spill(&self, full: bool) {
        self.shared.refusals.blame_spill(full);
    }

    fn carry(&mut self, mut losses: Vec<Loss>) {
        for loss in self.carried.drain(..) {
            loss.join(&mut losses);
        }
        self.carried = losses;
    }

    fn untold(&self) -> bool {
        !self.carried.is_empty() || self.shared.ring.lost() > self.lost
    }

    fn number_losses(&mut self) {
        self.number_losses_to(self.shared.ring.lost());
    }

    fn trailing_losses(&mut self) -> (u64, Vec<Loss>) {
        self.number_losses();
        let losses = std::mem::take(&mut self.carried);
        let count: u64 = losses.iter().map(|loss| loss.count).sum();
        (self.last_n + 1 - count, losses)
    }

    fn last_n(&self) -> u64 {
        self.last_n
    }

    fn last_told(&self) -> u64 {
        let carried: u64 = self.carried.iter().map(|loss| loss.count).sum();
        self.last_n.saturating_sub(carried)
    }

    fn encode_errors(&self) -> u64 {
        self.encode_errors
    }

    fn lose(&mut self, count: u64, reason: LossReason) {
        self.last_n += count;
        self.carry_loss(count, reason);
    }

    fn begin(&mut self, run: Arc<Run>) {
        self.run = run;
        self.last_n = 0;
        self.carried.clear();
    }

    fn rename(&mut self, run: Arc<Run>) {
        self.run = run;
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }
}
