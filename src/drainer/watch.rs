//! When the drainer checks the ring, and what it knows of it in between.

use std::time::{Duration, Instant};

use super::pipeline::APPEND_ROWS_MAX;
use super::ring_age::RingAge;
use super::source::Inside;

/// How long less than a chunk of entries gathers in the ring between two pops, unless somebody waits for them: each
/// check and each pop takes cache lines from publishers that are about to write them. This is the maximum; in a small
/// ring the time is proportional to its slots or its KiB, so that it does not fill meanwhile.
const GATHER_MAX: Duration = Duration::from_millis(1);
const GATHER_PER_SLOT: Duration = Duration::from_nanos(16);

/// Checks the ring as rarely as possible.
#[derive(Debug)]
pub(super) struct RingWatch {
    gather: Duration,
    /// How many entries the last check saw, without those popped since.
    seen: u64,
    /// When so much was popped that the rest is less than a chunk.
    popped_at: Option<Instant>,
    /// A publisher had not finished pushing the next entry: nothing can be popped for a moment.
    stalled_until: Option<Instant>,
    age: RingAge,
}

/// What is known of the ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RingView {
    /// It was not checked, and need not be until then.
    Gathering(Instant),
    Inside(Inside),
}

impl RingWatch {
    pub(super) fn new(ring_capacity: usize, ring_bytes_max: u64) -> Self {
        let slots = u32::try_from(ring_capacity).unwrap_or(u32::MAX);
        let kib = u32::try_from(ring_bytes_max >> 10).unwrap_or(u32::MAX);
        Self {
            gather: GATHER_MAX.min(GATHER_PER_SLOT * slots.min(kib)),
            seen: 0,
            popped_at: None,
            stalled_until: None,
            age: RingAge::default(),
        }
    }

    /// Checks the ring, unless entries may gather and do. `popped` is how many have been popped so far.
    pub(super) fn inspect(
        &mut self,
        may_gather: bool,
        popped: u64,
        now: Instant,
        inside: impl FnOnce() -> Inside,
    ) -> RingView {
        let gathers = self.popped_at.filter(|_| may_gather);
        let until = self.stalled_until.max(gathers.map(|at| at + self.gather));
        if let Some(until) = until.filter(|until| *until > now) {
            return RingView::Gathering(until);
        }
        self.stalled_until = None;
        let inside = inside();
        self.seen = inside.entries;
        self.age.observe(popped, inside.entries, now);
        RingView::Inside(inside)
    }

    /// How many entries may be popped, out of this many: no more than were seen, since a pop from an empty queue reads
    /// what publishers write.
    pub(super) fn room(&self, entries_max: usize) -> usize {
        usize::try_from(self.seen).map_or(entries_max, |seen| entries_max.min(seen))
    }

    /// `entries` were popped, which makes `all` so far.
    pub(super) fn popped(&mut self, entries: u64, all: u64, now: Instant) {
        self.seen = self.seen.saturating_sub(entries);
        self.age.observe(all, self.seen, now);
        self.popped_at = (self.seen < APPEND_ROWS_MAX as u64).then_some(now);
    }

    /// Nothing can be popped until then.
    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled_until = Some(until);
    }

    /// Nothing in the ring is older; `None` if it was empty.
    pub(super) fn since(&self) -> Option<Instant> {
        self.age.since()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = APPEND_ROWS_MAX as u64;
    const AMPLE: u64 = 1 << 30;

    fn inside(entries: u64) -> Inside {
        Inside {
            closed: false,
            entries,
            bytes: 0,
        }
    }

    fn unasked() -> Inside {
        panic!("the gate is not read while entries gather")
    }

    #[test]
    fn the_gate_is_left_alone_after_a_pop_until_entries_have_gathered() {
        let (mut watch, start) = (RingWatch::new(1 << 20, AMPLE), Instant::now());
        assert_eq!(
            watch.inspect(true, 0, start, || inside(7)),
            RingView::Inside(inside(7))
        );
        watch.popped(7, 7, start);
        let until = start + GATHER_MAX;
        let before = until.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(
            watch.inspect(true, 7, before, unasked),
            RingView::Gathering(until)
        );
        assert_eq!(
            watch.inspect(true, 7, until, || inside(2)),
            RingView::Inside(inside(2))
        );
    }

    #[test]
    fn somebody_who_waits_ends_the_gathering() {
        let (mut watch, now) = (RingWatch::new(1 << 20, AMPLE), Instant::now());
        watch.popped(1, 1, now);
        assert_eq!(
            watch.inspect(false, 1, now, || inside(0)),
            RingView::Inside(inside(0))
        );
    }

    #[test]
    fn a_ring_that_gave_nothing_is_left_alone_for_a_moment_even_if_somebody_waits() {
        let (mut watch, now) = (RingWatch::new(1 << 20, AMPLE), Instant::now());
        watch.inspect(false, 0, now, || inside(1));
        watch.stall(now + GATHER_MAX);
        let later = now + GATHER_MAX;
        assert_eq!(
            watch.inspect(false, 0, now, unasked),
            RingView::Gathering(later)
        );
        assert_eq!(
            watch.inspect(false, 0, later, || inside(1)),
            RingView::Inside(inside(1))
        );
    }

    #[test]
    fn no_more_is_popped_than_was_seen_and_not_yet_popped() {
        let (mut watch, now) = (RingWatch::new(64, AMPLE), Instant::now());
        assert_eq!(watch.room(50), 0);
        watch.inspect(true, 0, now, || inside(40));
        assert_eq!((watch.room(50), watch.room(30)), (40, 30));
        watch.popped(30, 30, now);
        assert_eq!(watch.room(50), 10);
    }

    #[test]
    fn a_chunk_that_is_left_does_not_gather() {
        let (mut watch, now) = (RingWatch::new(1 << 20, AMPLE), Instant::now());
        watch.inspect(true, 0, now, || inside(CHUNK + 1));
        watch.popped(1, 1, now);
        assert_eq!(
            watch.inspect(true, 1, now, || inside(CHUNK)),
            RingView::Inside(inside(CHUNK))
        );
        watch.popped(1, 2, now);
        assert_eq!(
            watch.inspect(true, 2, now, unasked),
            RingView::Gathering(now + GATHER_MAX)
        );
    }

    #[test]
    fn a_small_ring_does_not_fill_while_entries_gather() {
        assert_eq!(RingWatch::new(64, AMPLE).gather, 64 * GATHER_PER_SLOT);
        assert_eq!(
            RingWatch::new(1 << 20, 40 << 10).gather,
            40 * GATHER_PER_SLOT
        );
        assert_eq!(RingWatch::new(1 << 20, AMPLE).gather, GATHER_MAX);
    }

    #[test]
    fn nothing_is_left_of_what_was_seen_once_it_was_popped() {
        let (mut watch, now) = (RingWatch::new(64, AMPLE), Instant::now());
        watch.inspect(true, 0, now, || inside(2));
        watch.popped(1, 1, now);
        assert_eq!(watch.since(), Some(now));
        watch.popped(1, 2, now);
        assert_eq!(watch.since(), None);
    }
}
