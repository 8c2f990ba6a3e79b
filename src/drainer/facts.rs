//! What the decision rests on, gathered anew at each turn.

use std::time::Instant;

use super::watch::Seen;
use super::{BATCH_BYTES_MAX, Closing, Drainer};
use crate::policy::{Facts, Flush, Hand, RingFacts, Staged, Unread, Untold};
use crate::spill::APPEND_ROWS_MAX;

impl Drainer {
    pub(super) fn facts(&mut self, now: Instant) -> Facts {
        let ring = self.ring_facts(now);
        let staged = match self.pipeline.staged() {
            0 => Staged::Nothing,
            n if n >= self.config.batch_max || self.pipeline.staged_bytes() >= BATCH_BYTES_MAX => {
                Staged::Full
            }
            _ => Staged::Some,
        };
        Facts {
            now,
            sink: self.sink_hand(),
            doubt: self.sink.doubt,
            staged,
            unread: self.unread_facts(now),
            ring,
            memory_since: self
                .pipeline
                .memory_since()
                .into_iter()
                .chain(self.watch.since())
                .min(),
            disk: self.disk_hand(),
            reliefs: self.reliefs,
            flush: if self.requests.flushing() {
                Flush::Wanted
            } else {
                Flush::None
            },
            untold: match self.closing {
                Closing::Due if self.intake.untold() => Untold::Losses,
                Closing::Due | Closing::Done => Untold::Nothing,
            },
            stopping: self.requests.stopping(now),
            pending_max: self.config.pending_max,
            poll: self.poll,
        }
    }

    fn unread_facts(&mut self, now: Instant) -> Unread {
        if !self.unread() {
            return Unread::None;
        }
        let failed = self.backlog.rests_until.is_some_and(|at| now < at);
        if failed || self.replay_room(now) == 0 {
            Unread::Resting
        } else if self.spill.is_salvaging() {
            Unread::Salvaging
        } else {
            Unread::Rows
        }
    }

    /// How many entries of the backlog may be staged now.
    pub(super) fn replay_room(&mut self, now: Instant) -> usize {
        let Some(pace) = &mut self.pace else {
            return usize::MAX;
        };
        let entries = self.spill.totals().entries;
        // What is evicted does not use up the pace.
        let left = entries.saturating_sub(self.counts.unremoved) + self.spill.evicted();
        let staged = self.pipeline.spilled_in_memory();
        pace.allows(left, now).saturating_sub(staged)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of a bound needs no 53 bits"
    )]
    fn ring_facts(&mut self, now: Instant) -> RingFacts {
        let may_gather = !self.requests.pending() && self.pipeline.drawn() == 0;
        let look = || self.intake.inside();
        let inside = match self.watch.look(may_gather, self.counts.popped, now, look) {
            Seen::Gathering(until) => return RingFacts::Gathering(until),
            Seen::Inside(inside) => inside,
        };
        if inside.entries == 0 {
            return if self.pipeline.drawn() == 0 {
                RingFacts::Empty
            } else {
                RingFacts::Some
            };
        }
        let entries = inside.entries as f64 / self.config.ring_capacity as f64;
        let bytes = inside.bytes as f64 / self.config.ring_bytes_max as f64;
        if entries.max(bytes) >= self.config.ring_high_water {
            RingFacts::High
        } else if inside.entries >= APPEND_ROWS_MAX as u64 {
            RingFacts::Chunk
        } else {
            RingFacts::Some
        }
    }

    fn sink_hand(&self) -> Hand {
        if self.sink.asked || self.pipeline.in_flight() {
            return Hand::Busy;
        }
        // A record to be buried needs the disk before it needs the sink.
        let keeps = !self.spill.is_absent();
        let burial = self
            .disk
            .rests_until
            .filter(|_| keeps && self.sentence().is_some());
        burial
            .max(self.sink.rests_until)
            .map_or(Hand::Free, Hand::RestsUntil)
    }

    fn disk_hand(&self) -> Hand {
        match self.disk.rests_until {
            // Deleting makes no room on a full disk, not before the file shrinks; and what the reserve has given back
            // is not for what is new.
            _ if self.spill.disk_is_full() => Hand::Busy,
            Some(at) => Hand::RestsUntil(at),
            None if !self.spill.is_at_cap() => Hand::Free,
            None if self.may_evict() => Hand::Full,
            None => Hand::Busy,
        }
    }

    /// The cap leaves no room to keep the next record as a dead letter; one that is in the spill has its room already.
    pub(super) fn lacks_room_for_letter(&self) -> bool {
        self.spill.is_at_cap() && !self.pipeline.front_is_spilled()
    }

    pub(super) fn unread(&self) -> bool {
        self.spill.reaches_beyond(self.pipeline.read_after())
    }
}
