//! The published [`Event`], and what the drainer makes of it: numbered [`Record`]s in ordered [`Batch`]es.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use crate::clock::unix_ms;
pub(crate) use crate::ids::{Key, fresh_uuid};
pub use crate::ids::{Position, PreviousRun, PublisherId, Run, RunEnd, RunId};
use crate::seal::{Hash, Leaf, Signer};

/// Your own type of entry.
///
/// [`subject`](Event::subject) and [`encode`](Event::encode) run on the drainer, never on the publishing thread. A
/// panic in either is counted as an `encode_error`; later entries are not affected.
///
/// ```
/// use spillring::Event;
/// use spillring::event::EncodeError;
///
/// #[derive(serde::Serialize)]
/// struct Decision {
///     agent: u16,
///     tool: String,
///     allowed: bool,
/// }
///
/// impl Event for Decision {
///     fn subject(&self) -> String {
///         format!("decisions.agent-{}", self.agent)
///     }
///
///     fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
///         Ok(serde_json::to_writer(out, self)?)
///     }
///
///     fn weight(&self) -> usize {
///         size_of::<Self>() + self.tool.capacity()
///     }
/// }
/// ```
pub trait Event: Send + 'static {
    /// The subject below the sink's prefix, such as `acme.0191f3c2-…`: dot-separated tokens of `[A-Za-z0-9_-]`.
    fn subject(&self) -> String;

    /// Appends the bytes that are stored to `out`.
    ///
    /// # Errors
    ///
    /// An entry that cannot be encoded is discarded as an announced loss with the reason `encode_error`.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// About how many bytes of memory the entry takes, its own size included. Called at each attempt, on the
    /// publishing thread: it must be cheap, and neither allocate nor block.
    fn weight(&self) -> usize;
}

/// An entry could not be encoded.
///
/// See the example of [`Event`].
#[derive(Debug, thiserror::Error)]
#[error("the entry cannot be encoded: {0}")]
pub struct EncodeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(Box::new(error))
    }
}

/// Why entries are missing from the stream.
///
/// See the example of [`Stats`](crate::Stats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// Dropped by `publish`: the ring was full.
    QueueFull,
    /// Dropped by `publish`: the publisher was closed.
    AlreadyShutdown,
    /// Dropped by `publish`: the ring was full because the spill is at its cap.
    SpillFull,
    /// Evicted from the spill at its cap.
    SpillEvicted,
    /// The entry could not be encoded.
    EncodeError,
    /// Rows of the spill were damaged.
    Corrupt,
    /// Moved to the dead letters: not delivered, but kept.
    DeadLettered,
}

/// A number of consecutive losses with one reason.
///
/// [`Draft`](crate::sink::conformance::Draft) shows some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: LossReason,
}

/// One entry, numbered and encoded, on its way to a sink.
///
/// Cloning is cheap: the bytes are shared. See the example of [`Sink`](crate::Sink).
#[derive(Debug, Clone)]
pub struct Record {
    pub(crate) run: Arc<Run>,
    pub(crate) n: u64,
    pub(crate) losses: Vec<Loss>,
    /// When it was popped from the ring, in milliseconds since 1970.
    pub(crate) popped_ms: u64,
    pub(crate) requeued: Option<Position>,
    /// The earliest moment at which it may have entered memory, ring included.
    pub(crate) since: Instant,
    pub(crate) subject: Arc<str>,
    pub(crate) bytes: Bytes,
}

/// Records in order. A batch without records only moves the cursor past trailing losses.
///
/// See the example of [`Sink`](crate::Sink).
#[derive(Debug)]
pub struct Batch {
    pub(crate) publisher: PublisherId,
    pub(crate) records: Vec<Record>,
    pub(crate) through: Position,
    pub(crate) limit: Duration,
    pub(crate) signer: Option<Arc<Signer>>,
}

impl Batch {
    /// The publisher whose batch this is.
    #[must_use]
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// The records, oldest first.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The sink's cursor once all records are stored: the number of the last record. In a batch without records it is
    /// that of a loss at the end of a run. A sink stores it unchanged.
    #[must_use]
    pub fn through(&self) -> Position {
        self.through
    }

    /// How long the publisher waits for the outcome. A delivery that takes longer is dropped a second later, and its
    /// outcome is then unknown: a sink that knows how far it came should answer before.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The signer, for a sink that keeps [seals](crate::seal::Seal). `None` if [signing](crate::Config::signing) is
    /// off.
    #[must_use]
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_deref()
    }
}

impl Record {
    /// Run and number: the `Audit-Id`.
    #[must_use]
    pub fn id(&self) -> Position {
        Position::new(self.run.id, self.n)
    }

    /// How many numbers directly before this one are not in the stream: the `Audit-Lost`.
    #[must_use]
    pub fn lost_before(&self) -> u64 {
        self.losses.iter().map(|loss| loss.count).sum()
    }

    /// The losses directly before it, by reason, in order.
    #[must_use]
    pub fn losses_before(&self) -> &[Loss] {
        &self.losses
    }

    /// The number under which the entry became a dead letter before somebody requeued it: the `Audit-Requeued`. If it
    /// was requeued several times, the last such number.
    #[must_use]
    pub fn requeued_from(&self) -> Option<Position> {
        self.requeued
    }

    /// The run, if this is the first record of it to reach the stream: the value of `Audit-Run`.
    #[must_use]
    pub fn opens_run(&self) -> Option<&Run> {
        (self.n == self.lost_before() + 1).then_some(&*self.run)
    }

    /// The run that the record belongs to.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The subject below the sink's prefix.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The encoded entry.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The hash of the record as a leaf. A stream keeps the subject, a file does not.
    pub(crate) fn leaf(&self, subject: Option<&str>) -> Hash {
        let opening = self.opens_run().map(ToString::to_string);
        let leaf = Leaf {
            id: self.id(),
            lost: self.lost_before(),
            requeued: self.requeued,
            opening: opening.as_deref(),
            subject,
            bytes: &self.bytes,
        };
        leaf.hash()
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.run.local, self.n)
    }

    /// The size of the record in bounds of bytes.
    pub(crate) fn size(&self) -> u64 {
        (self.subject.len() + self.bytes.len()) as u64 + Self::OVERHEAD
    }

    /// The largest encoded entry: well below the limit of an `SQLite` row, 10⁹ bytes.
    pub(crate) const BYTES_MAX: usize = 512 << 20;
    /// The overhead of a record in the spill's accounts, on top of subject and payload.
    pub(crate) const OVERHEAD: u64 = 32;
}

impl Loss {
    /// Above this many stretches, losses of one reason are announced together, at the place of the first.
    const STRETCHES_MAX: usize = 16;

    /// Adds a loss after the others, merged with the last one if that has the same reason.
    pub(crate) fn join(self, losses: &mut Vec<Self>) {
        let full = losses.len() >= Self::STRETCHES_MAX;
        let last = losses.len().saturating_sub(1);
        let same = losses
            .iter_mut()
            .enumerate()
            .rfind(|(at, loss)| loss.reason == self.reason && (full || *at == last));
        match same {
            _ if self.count == 0 => {}
            Some((_, loss)) => loss.count += self.count,
            None => losses.push(self),
        }
    }
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::AlreadyShutdown,
        Self::SpillFull,
        Self::SpillEvicted,
        Self::EncodeError,
        Self::Corrupt,
        Self::DeadLettered,
    ];

    /// The name of the reason in metrics, logs and the spill, such as `queue_full`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::AlreadyShutdown => "already_shutdown",
            Self::SpillFull => "spill_full",
            Self::SpillEvicted => "spill_evicted",
            Self::EncodeError => "encode_error",
            Self::Corrupt => "corrupt",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_one_reason_are_one_stretch_and_their_number_is_bounded() {
        let loss = |count, reason| Loss { count, reason };
        let mut losses = Vec::new();
        for _ in 0..3 {
            loss(2, LossReason::DeadLettered).join(&mut losses);
        }
        loss(0, LossReason::QueueFull).join(&mut losses);
        assert_eq!(losses, [loss(6, LossReason::DeadLettered)]);

        let mut losses = Vec::new();
        for _ in 0..1_000 {
            loss(1, LossReason::EncodeError).join(&mut losses);
            loss(1, LossReason::QueueFull).join(&mut losses);
        }
        assert_eq!(losses.len(), Loss::STRETCHES_MAX);
        assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), 2_000);
    }
}
