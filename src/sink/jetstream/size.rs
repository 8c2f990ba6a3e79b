//! The size of a batch: smaller where the link is slow or the server takes fewer entries.

/// For a transaction: with the cursor, as many messages as a server takes by default.
pub(super) const ATOMIC_MAX: usize = 999;
/// For a fast batch, which has no limit: the largest batch.
pub(super) const FAST_MAX: usize = 10_000;

/// The sizes that have proved to work.
#[derive(Debug)]
pub(super) struct Size {
    entries: usize,
    /// The server takes no more than this.
    max: usize,
}

impl Size {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: max, max }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.min(self.max)
    }

    /// A batch of this many entries was stored: the next one may have twice as many.
    pub(super) fn worked(&mut self, count: usize) {
        if count >= self.entries() {
            self.entries = self.entries().saturating_mul(2).min(self.max);
        }
    }

    /// A batch of this many entries was not acknowledged in time: the next one has half as many.
    pub(super) fn timed_out(&mut self, count: usize) {
        self.entries = count.div_ceil(2).max(1);
    }

    /// The server will never take this many in one batch.
    pub(super) fn too_many(&mut self, count: usize) {
        self.max = count.div_ceil(2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_halves_after_a_timeout_and_grows_on_success() {
        let mut size = Size::new(ATOMIC_MAX);
        assert_eq!(size.entries(), ATOMIC_MAX);
        size.timed_out(400);
        assert_eq!(size.entries(), 200);
        size.worked(3);
        assert_eq!(size.entries(), 200);
        for expected in [400, 800, ATOMIC_MAX, ATOMIC_MAX] {
            size.worked(size.entries());
            assert_eq!(size.entries(), expected);
        }
        for _ in 0..20 {
            size.timed_out(size.entries());
        }
        assert_eq!(size.entries(), 1);
    }

    #[test]
    fn what_a_server_takes_is_remembered() {
        let mut size = Size::new(ATOMIC_MAX);
        for expected in [500, 250, 125, 63] {
            size.too_many(size.entries());
            assert_eq!(size.entries(), expected);
        }
        size.worked(63);
        size.worked(63);
        assert_eq!(size.entries(), 63);
    }
}
