//! Sinks of three kinds, and their answers. What they store lasts, whatever happens to the publisher.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;

use super::breaks::Break;
use crate::error::SinkError;
use crate::event::{Batch, Loss, Position, PublisherId, Run};
use crate::sink::Delivery;
use crate::sink_worker::{SinkOrder, SinkOutcome};

/// How a sink keeps its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PositionKept {
    /// It moves with each batch, trailing losses included.
    Cursor,
    /// The last complete record; if the process died while writing one, that may be there in part.
    Ledger,
    Blind,
}

/// The mood of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Unavailable,
    Disconnected,
    Misconfigured,
    /// Anything may happen to a call.
    Moody,
    /// Calls get no answer.
    Hanging,
}

/// The stored part of a record.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) run: Arc<Run>,
    pub(super) n: u64,
    pub(super) losses: Vec<Loss>,
    pub(super) subject: Arc<str>,
    pub(super) bytes: bytes::Bytes,
    pub(super) opens: bool,
}

#[derive(Debug)]
pub(super) struct SinkModel {
    pub(super) memory: PositionKept,
    pub(super) mood: Mood,
    /// Entries whose number is divisible by this are never taken; 0: all are.
    pub(super) picky: u64,
    cursors: BTreeMap<PublisherId, Position>,
    /// Stored since the last check.
    pub(super) fresh: Vec<Stored>,
    pub(super) broken: Option<Break>,
}

/// The outcome of a call, and whether it arrives in time.
#[derive(Debug)]
pub(super) enum Answer {
    Now(SinkOutcome),
    Late(SinkOutcome),
    Never,
}

impl SinkModel {
    pub(super) fn new(memory: PositionKept, picky: u64, broken: Option<Break>) -> Self {
        Self {
            memory,
            mood: Mood::Well,
            picky,
            cursors: BTreeMap::new(),
            fresh: Vec::new(),
            broken,
        }
    }

    /// Carries out an order.
    pub(super) fn call(&mut self, order: &SinkOrder, random: &mut Rng) -> Answer {
        let mut answer = match order {
            SinkOrder::Ask(publisher, _) => self.ask(*publisher, random),
            SinkOrder::Deliver(batch) => self.deliver(batch, random),
            SinkOrder::Renew(..) => Answer::Now(SinkOutcome::Renewed(Ok(()))),
        };
        if let (Some(broken), Answer::Now(outcome) | Answer::Late(outcome)) =
            (self.broken, &mut answer)
        {
            broken.said(order, outcome);
        }
        answer
    }

    fn ask(&mut self, publisher: PublisherId, random: &mut Rng) -> Answer {
        let position = match self.memory {
            PositionKept::Blind => None,
            PositionKept::Cursor | PositionKept::Ledger => self.cursors.get(&publisher).copied(),
        };
        match self.trouble(random) {
            Some(Trouble::Never) => Answer::Never,
            Some(Trouble::Error(error) | Trouble::Partly(error)) => {
                Answer::Now(SinkOutcome::Answered(Err(error)))
            }
            Some(Trouble::Late) => Answer::Late(SinkOutcome::Answered(Ok(position))),
            None => Answer::Now(SinkOutcome::Answered(Ok(position))),
        }
    }

    fn deliver(&mut self, batch: &Batch, random: &mut Rng) -> Answer {
        let all = batch.records().len();
        let picked = batch
            .records()
            .iter()
            .position(|record| self.refuses(&record.bytes));
        let most = picked.unwrap_or(all);
        let (stored, stopped, said) = match self.trouble(random) {
            Some(Trouble::Never) => (random.usize(0..=most), None, None),
            Some(Trouble::Error(error)) => (0, Some(error), Some(0)),
            Some(Trouble::Partly(error)) => {
                let stored = random.usize(0..=most);
                // A sink that does not know what is stored reports less than there is.
                let said = match error {
                    SinkError::Unknown(_) => random.usize(0..=stored),
                    _ => stored,
                };
                (stored, Some(error), Some(said))
            }
            Some(Trouble::Late) | None if picked.is_some() => {
                let why = SinkError::Rejected("not to its taste".to_owned());
                (most, Some(why), Some(most))
            }
            late => {
                self.store(batch, all);
                let outcome = SinkOutcome::Delivered(Delivery::all(batch));
                return if late.is_some() {
                    Answer::Late(outcome)
                } else {
                    Answer::Now(outcome)
                };
            }
        };
        self.store(batch, stored);
        let (Some(said), Some(stopped)) = (said, stopped) else {
            return Answer::Never;
        };
        let whole = said == all;
        let delivery = if whole {
            Delivery::all(batch)
        } else {
            Delivery::stopped(said, stopped)
        };
        Answer::Now(SinkOutcome::Delivered(delivery))
    }

    fn refuses(&self, bytes: &[u8]) -> bool {
        self.picky > 0 && super::entry::id_of(bytes).is_some_and(|id| id % self.picky == 0)
    }

    fn trouble(&self, random: &mut Rng) -> Option<Trouble> {
        let why = || "simulated".to_owned();
        Some(match self.mood {
            Mood::Well => return None,
            Mood::Unavailable => Trouble::Error(SinkError::Unavailable(why())),
            Mood::Disconnected => Trouble::Error(SinkError::Disconnected(why())),
            Mood::Misconfigured => Trouble::Error(SinkError::Misconfigured(why())),
            Mood::Hanging => Trouble::Never,
            Mood::Moody => match random.u8(0..8) {
                0 => Trouble::Error(SinkError::Unavailable(why())),
                1 => Trouble::Partly(SinkError::Unavailable(why())),
                2 => Trouble::Partly(SinkError::Disconnected(why())),
                3 => Trouble::Partly(SinkError::Unknown(why())),
                4 => Trouble::Late,
                5 => Trouble::Never,
                _ => return None,
            },
        })
    }

    /// Stores the first records of a batch.
    fn store(&mut self, batch: &Batch, count: usize) {
        let times = if self.broken == Some(Break::StoreTwice) {
            2
        } else {
            1
        };
        for _ in 0..times {
            for record in &batch.records()[..count] {
                let mut losses = record.losses_before().to_vec();
                if let Some(broken) = self.broken {
                    broken.losses(&mut losses);
                }
                self.fresh.push(Stored {
                    run: Arc::clone(&record.run),
                    n: record.n,
                    losses,
                    subject: Arc::clone(&record.subject),
                    bytes: record.bytes.clone(),
                    opens: record.opens_run().is_some(),
                });
            }
        }
        let last = batch.records()[..count]
            .last()
            .map(crate::event::Record::id);
        let whole = count == batch.records().len();
        let position = match self.memory {
            PositionKept::Cursor if whole => Some(batch.through()),
            _ => last,
        };
        if let Some(position) = position {
            self.cursors.insert(batch.publisher(), position);
        }
    }
}

enum Trouble {
    /// Nothing is stored.
    Error(SinkError),
    /// Some of it may be.
    Partly(SinkError),
    Late,
    Never,
}
