//! The handle that publishes entries.

mod handles;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::control::{Control, Until};
use crate::durable::{Durable, Pack};
use crate::error::{PublishTimeoutError, TryPublishError};
use crate::event::Event;
use crate::ingress::{self, Ingress};
use crate::own_thread::on_own_thread;
use crate::ring::{PushError, Refusal};
use crate::stats::{Lost, Stats};
use crate::sync::CachePadded;
use crate::ticket::Ticket;
pub(crate) use handles::Handles;

/// The handle through which any thread publishes. Cloning it is cheap; all clones feed the same ring.
///
/// A publisher runs until [`Drainer::shutdown`](crate::Drainer::shutdown), or until the last of its handles is dropped.
pub struct Publisher<E> {
    shared: Arc<Shared<E>>,
    handles: Arc<Handles>,
}

/// Shared by publishers and drainer.
#[derive(Debug)]
pub(crate) struct Shared<E> {
    pub(crate) ingress: Ingress<E>,
    pub(crate) control: Arc<Control>,
    /// Padded: the drainer writes it at every turn, and publishers read its neighbours.
    pub(crate) refusals: CachePadded<RefusalCounts>,
}

/// Counts of refused entries. The ring counts all losses; one with a reason other than a full ring is counted here
/// first.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounts {
    /// The spill is at its cap, which is why the ring is full.
    spill_full: AtomicBool,
    lost_spill_full: AtomicU64,
    lost_closed: AtomicU64,
    returned: AtomicU64,
}

/// How long `publish_timeout` sleeps between its first checks, and at the most.
const ROOM_POLL_MIN: Duration = Duration::from_micros(50);
const ROOM_POLL_MAX: Duration = Duration::from_millis(1);

impl<E: Event> Publisher<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, handles: Arc<Handles>) -> Self {
        Self { shared, handles }
    }

    pub(crate) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Publishes the entry, and never waits: no await, no lock, no allocation, no system call.
    ///
    /// If the ring is full or the publisher closed, the entry is dropped: counted by reason, and announced in the
    /// stream at that place. To keep the entry, call [`try_publish`](Self::try_publish); to wait for room,
    /// [`publish_timeout`](Self::publish_timeout).
    #[inline]
    pub fn publish(&self, entry: E) {
        if let Err(refused) = self.shared.push(entry) {
            self.shared.lose(refused);
        }
    }

    /// Publishes the entry, or hands it back. Never waits.
    ///
    /// # Errors
    ///
    /// [`TryPublishError::Full`] or [`TryPublishError::Closed`], with the entry. See the example of
    /// [`TryPublishError`].
    #[inline]
    pub fn try_publish(&self, entry: E) -> Result<(), TryPublishError<E>> {
        self.shared.push(entry).map_err(|refused| {
            self.shared.refusals.count_return();
            match refused {
                PushError::Full(_) => TryPublishError::Full(refused.into_value()),
                PushError::Closed(_) => TryPublishError::Closed(refused.into_value()),
            }
        })
    }

    /// Publishes the entry, waiting for room for at most `limit`. Blocks the calling thread meanwhile: in async code
    /// call [`try_publish`](Self::try_publish) and sleep.
    ///
    /// # Errors
    ///
    /// With the entry: [`PublishTimeoutError::Full`] if there was no room within the limit,
    /// [`PublishTimeoutError::Closed`], or [`PublishTimeoutError::WouldDeadlock`] if called on one of spillring's own
    /// threads while there is no room.
    pub fn publish_timeout(&self, entry: E, limit: Duration) -> Result<(), PublishTimeoutError<E>> {
        let start = Instant::now();
        let mut pause = ROOM_POLL_MIN;
        let mut waiting = entry;
        let refusal = loop {
            waiting = match self.shared.push(waiting) {
                Ok(()) => return Ok(()),
                Err(refused @ PushError::Closed(_)) => {
                    break PublishTimeoutError::Closed(refused.into_value());
                }
                Err(refused @ PushError::Full(_)) => refused.into_value(),
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                break PublishTimeoutError::Full(waiting);
            }
            if on_own_thread() {
                break PublishTimeoutError::WouldDeadlock(waiting);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(ROOM_POLL_MAX);
        };
        self.shared.refusals.count_return();
        Err(refusal)
    }

    /// Returns a ticket that resolves once all entries published before this call are acknowledged by the sink or on
    /// disk.
    pub fn flush(&self) -> Ticket<()> {
        self.shared.control.flush(Until::Safe)
    }

    /// Returns a ticket that resolves once the sink has acknowledged all entries published before this call. Entries
    /// that are never delivered, such as dead letters, do not hold it up.
    ///
    /// While the sink is away this takes as long as the outage; a [`flush`](Self::flush) waits for the disk only. A
    /// shutdown that leaves a backlog ends the ticket with
    /// [`TicketError::DrainerEnded`](crate::error::TicketError::DrainerEnded).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use spillring::{Config, JsonLinesSink, RawEntry};
    /// # let dir = tempfile::tempdir()?;
    /// # let output = dir.path().join("audit.jsonl");
    /// # let drainer = spillring::start(Config::new(dir.path().join("spill")), JsonLinesSink::new(&output))?;
    /// # let publisher = drainer.publisher();
    /// publisher.publish(RawEntry::new("acme.agent-7", *b"{}"));
    /// publisher.delivered().wait(Duration::from_secs(10))?;
    /// assert_eq!(std::fs::read_to_string(output)?.lines().count(), 1);
    /// # drainer.shutdown(Duration::ZERO).wait(Duration::from_secs(10))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delivered(&self) -> Ticket<()> {
        self.shared.control.flush(Until::Delivered)
    }

    /// The counts and depths. Takes a lock that the drainer holds for moments only; not for the hot path.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl<E: Durable> Publisher<E> {
    /// Publishes an entry that packs like an `E`, such as a type that borrows what an `E` owns, or an `E` that its
    /// owner keeps. Never waits. With [`ring_dir`](crate::Config::ring_dir) it frees nothing either; into a ring in
    /// memory it allocates.
    ///
    /// If the ring is full or the publisher closed, the entry is dropped, as by [`publish`](Self::publish).
    pub fn publish_packed(&self, entry: &impl Pack) {
        match &self.shared.ingress {
            Ingress::File { ring, .. } => {
                if let Err(refusal) = ingress::pack(entry, ring) {
                    self.shared.lose_refused(refusal);
                }
            }
            Ingress::Memory(_) => match ingress::repack(entry) {
                Some(entry) => self.publish(entry),
                None => debug_assert!(false, "it packs like another type"),
            },
        }
    }
}

impl<E> fmt::Debug for Publisher<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("inside", &self.shared.ingress.inside())
            .finish_non_exhaustive()
    }
}

impl<E> Clone for Publisher<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            handles: Arc::clone(&self.handles),
        }
    }
}

impl<E> Shared<E> {
    /// The drainer's last stats, with the ring and the refusals as they are now.
    ///
    /// In the drainer's report, `accepted` counts the entries popped by then. All other accepted entries count as in
    /// the ring, even those popped since: so the conservation law holds whenever it held in the report. The report is
    /// read first: every entry popped by then has been accepted before.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.control.stats();
        let accepted = self.ingress.accepted();
        stats.in_ring = accepted - stats.accepted;
        stats.accepted = accepted;
        stats.ring_bytes = self.ingress.inside().bytes;
        stats.lost = self.refusals.lost(self.ingress.lost());
        stats.returned = self.refusals.returned.load(Ordering::Relaxed);
        stats
    }
}

impl<E: Event> Shared<E> {
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "as a call, it would take a copy of the entry"
    )]
    fn push(&self, entry: E) -> Result<(), PushError<E>> {
        self.ingress.push(entry)
    }

    #[cold]
    fn lose(&self, refused: PushError<E>) {
        self.lose_refused(match refused {
            PushError::Full(_) => Refusal::Full,
            PushError::Closed(_) => Refusal::Closed,
        });
        drop(refused.into_value());
    }

    #[cold]
    fn lose_refused(&self, refusal: Refusal) {
        self.refusals.count_loss(refusal);
        self.ingress.lose();
    }
}

impl RefusalCounts {
    /// Sets the reason of a full ring from now on.
    pub(crate) fn blame_spill(&self, full: bool) {
        self.spill_full.store(full, Ordering::Relaxed);
    }

    /// The losses by reason; `total` in all.
    pub(crate) fn lost(&self, total: u64) -> Lost {
        let spill_full = self.lost_spill_full.load(Ordering::Relaxed).min(total);
        let already_shutdown = self
            .lost_closed
            .load(Ordering::Relaxed)
            .min(total - spill_full);
        Lost {
            queue_full: total - spill_full - already_shutdown,
            already_shutdown,
            spill_full,
        }
    }

    fn count_return(&self) {
        self.returned.fetch_add(1, Ordering::Relaxed);
    }

    fn count_loss(&self, refusal: Refusal) {
        match refusal {
            Refusal::Closed => self.lost_closed.fetch_add(1, Ordering::Relaxed),
            Refusal::Full if self.spill_full.load(Ordering::Relaxed) => {
                self.lost_spill_full.fetch_add(1, Ordering::Relaxed)
            }
            Refusal::Full => return,
        };
    }
}

#[cfg(test)]
mod tests;
