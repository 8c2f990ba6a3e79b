//! Batches as a publisher makes them.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::{
    Batch, Loss, LossReason, Position, PreviousRun, PublisherId, Record, Run, RunEnd, RunId,
    fresh_uuid,
};

/// The longest that a call may take.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Makes batches for tests: numbers entries and losses as a publisher does.
///
/// ```
/// use spillring::event::LossReason;
/// use spillring::sink::conformance::Draft;
///
/// let mut draft = Draft::new();
/// let batch = draft.entry("{}").lose(2, LossReason::QueueFull).entry("[]").batch();
/// assert_eq!(batch.records()[1].id().n, 4);
/// assert_eq!(batch.records()[1].lost_before(), 2);
/// ```
#[derive(Debug)]
pub struct Draft {
    run: Arc<Run>,
    n: u64,
    losses: Vec<Loss>,
    records: Vec<Record>,
}

impl Draft {
    /// The first run of a new publisher.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each one is another publisher")]
    pub fn new() -> Self {
        Self {
            run: Run::alone(PublisherId(fresh_uuid())),
            n: 0,
            losses: Vec::new(),
            records: Vec::new(),
        }
    }

    /// The publisher.
    #[must_use]
    pub fn publisher(&self) -> PublisherId {
        self.run.publisher
    }

    /// Adds an entry.
    pub fn entry(&mut self, bytes: impl Into<Bytes>) -> &mut Self {
        self.add(bytes.into(), None)
    }

    /// Adds an entry that was a dead letter under another number.
    pub fn requeued(&mut self, bytes: impl Into<Bytes>, from: Position) -> &mut Self {
        self.add(bytes.into(), Some(from))
    }

    fn add(&mut self, bytes: Bytes, requeued: Option<Position>) -> &mut Self {
        self.n += 1;
        self.records.push(Record {
            since: Instant::now(),
            run: Arc::clone(&self.run),
            n: self.n,
            losses: mem::take(&mut self.losses),
            popped_ms: 0,
            requeued,
            subject: "conformance.draft".into(),
            bytes,
        });
        self
    }

    /// Uses up the next `count` numbers as losses. The next entry announces them, even if a batch has already covered
    /// them.
    pub fn lose(&mut self, count: u64, reason: LossReason) -> &mut Self {
        self.n += count;
        self.losses.push(Loss { count, reason });
        self
    }

    /// Begins the next run of the same publisher, as after a restart.
    pub fn restart(&mut self, end: RunEnd) -> &mut Self {
        let previous = PreviousRun {
            id: self.run.id,
            last: (end == RunEnd::Clean).then_some(self.n),
            end,
        };
        self.run = Arc::new(Run {
            id: RunId(fresh_uuid()),
            local: self.run.local + 1,
            previous: Some(previous),
            ..*self.run
        });
        self.n = 0;
        self.losses.clear();
        self
    }

    /// Everything since the last batch, losses at the end included.
    #[must_use]
    pub fn batch(&mut self) -> Batch {
        Batch {
            publisher: self.run.publisher,
            records: mem::take(&mut self.records),
            through: Position::new(self.run.id, self.n),
            limit: ANSWER_MAX,
            signer: None,
        }
    }
}

/// The batch as a publisher resends it once the sink has returned `position`: without the records up to there.
///
/// ```
/// use spillring::sink::conformance::{Draft, resend};
///
/// let batch = Draft::new().entry("1").entry("2").batch();
/// let rest = resend(&batch, Some(batch.records()[0].id()));
/// assert_eq!(rest.records().len(), 1);
/// ```
#[must_use]
pub fn resend(batch: &Batch, position: Option<Position>) -> Batch {
    let is_stored = |record: &Record| {
        position.is_some_and(|at| at.run == record.id().run && record.id().n <= at.n)
    };
    let last = batch.records.iter().rposition(is_stored);
    Batch {
        publisher: batch.publisher,
        records: batch.records[last.map_or(0, |last| last + 1)..].to_vec(),
        through: batch.through,
        limit: batch.limit,
        signer: batch.signer.clone(),
    }
}
