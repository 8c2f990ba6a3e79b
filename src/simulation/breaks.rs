//! Promises broken on purpose, at the seams between the drainer, its workers and the disk: the simulation must find
//! each.

use crate::event::{Loss, LossReason};
use crate::sink_worker::{SinkOrder, SinkOutcome};
use crate::spill::{Done, Keep, Order, Outcome, Settled, Spill};

/// A promise that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// A record is left out of an append.
    DropFromAppend,
    /// An append is answered but not carried out.
    SkipAppend,
    /// A byte of an entry changes on its way to the disk.
    ChangeByte,
    /// Two records of a replay are swapped.
    ReorderRead,
    /// A record of a replay is repeated.
    RepeatRead,
    /// A record of a replay is missing.
    LoseRead,
    /// A settlement is answered but not carried out.
    SkipSettle,
    /// A settlement covers one entry too many.
    SettleTooFar,
    /// A dead letter is answered but not kept.
    SkipDeadLetter,
    /// A dead letter is dropped as if there were no room.
    DropDeadLetter,
    /// The stream may name a run that the next start does not know of.
    SkipOpenRuns,
    /// The clean end of a run is not recorded.
    SkipEnd,
    /// Losses that a replay includes are forgotten.
    ForgetLosses,
    /// The spill counts one entry too many.
    CountTwice,
    /// A flush succeeds at once.
    FlushEarly,
    /// A check succeeds whatever the disk does, and so does an append.
    IgnoreFailures,
    /// The sink's outcome counts one record too many.
    AcknowledgeTooMuch,
    /// The sink seems to have no cursor.
    IgnoreCursor,
    /// A batch is stored twice.
    StoreTwice,
    /// A batch is stored without the losses of its records.
    StoreWithoutLosses,
    /// `SQLite` syncs nothing.
    IgnoreSyncs,
    /// The watermark is never synced.
    LoseWatermarkSyncs,
    /// The next turn is late.
    OversleepPoll,
    /// A replay reads more than memory has room for.
    ReadTooMuch,
    /// Appends fail although the disk is healthy.
    RefuseAppends,
    /// An eviction counts one entry too many.
    CountEvictedTwice,
}

impl Break {
    pub(super) const ALL: [Self; 26] = [
        Self::DropFromAppend,
        Self::SkipAppend,
        Self::ChangeByte,
        Self::ReorderRead,
        Self::RepeatRead,
        Self::LoseRead,
        Self::SkipSettle,
        Self::SettleTooFar,
        Self::SkipDeadLetter,
        Self::DropDeadLetter,
        Self::SkipOpenRuns,
        Self::SkipEnd,
        Self::ForgetLosses,
        Self::CountTwice,
        Self::FlushEarly,
        Self::IgnoreFailures,
        Self::AcknowledgeTooMuch,
        Self::IgnoreCursor,
        Self::StoreTwice,
        Self::StoreWithoutLosses,
        Self::IgnoreSyncs,
        Self::LoseWatermarkSyncs,
        Self::OversleepPoll,
        Self::ReadTooMuch,
        Self::RefuseAppends,
        Self::CountEvictedTwice,
    ];

    /// Changes an order of the disk on its way, or answers it.
    pub(super) fn order(self, order: Order, spill: &Spill) -> Result<Order, Box<Outcome>> {
        let answer = |done| {
            let view = spill.view();
            Err(Box::new(Outcome {
                done: Ok(done),
                view,
            }))
        };
        match (self, order) {
            (Self::SkipAppend, Order::Append(records)) => answer(Done::Appended {
                entries: records.len() as u64,
                took: std::time::Duration::ZERO,
            }),
            (Self::RefuseAppends, Order::Append(_)) => Err(Box::new(Outcome {
                done: Err(crate::error::SpillError::GivenUp),
                view: spill.view(),
            })),
            (Self::DropFromAppend, Order::Append(records)) if records.len() > 2 => {
                let mut records = records.to_vec();
                records.remove(1);
                Ok(Order::Append(records.into()))
            }
            (Self::ChangeByte, Order::Append(records)) => {
                let mut records = records.to_vec();
                if let Some(record) = records.last_mut() {
                    let mut bytes = record.bytes.to_vec();
                    if let Some(last) = bytes.last_mut() {
                        *last ^= 1;
                    }
                    record.bytes = bytes.into();
                }
                Ok(Order::Append(records.into()))
            }
            (Self::SkipSettle, Order::Settle { through, .. }) => {
                answer(Done::Settled(Settled::nothing(through)))
            }
            (Self::SettleTooFar, Order::Settle { through, entries }) => Ok(Order::Settle {
                through: through.after(1),
                entries,
            }),
            (Self::SkipDeadLetter, Order::DeadLetter(_)) => answer(Done::DeadLettered),
            (Self::DropDeadLetter, Order::DeadLetter(mut letters)) => {
                for letter in &mut letters {
                    letter.keep = Keep::NoRoom;
                }
                Ok(Order::DeadLetter(letters))
            }
            (Self::SkipOpenRuns, Order::OpenRuns(local)) => answer(Done::RunsOpened(local)),
            (Self::SkipEnd, Order::End { .. }) => answer(Done::Ended),
            (
                Self::ReadTooMuch,
                Order::Read {
                    after,
                    entries_max,
                    bytes_max,
                },
            ) => Ok(Order::Read {
                after,
                entries_max: entries_max.saturating_mul(16),
                bytes_max,
            }),
            (_, order) => Ok(order),
        }
    }

    /// Changes an outcome of the disk.
    pub(super) fn outcome(self, outcome: &mut Outcome) {
        match (self, &mut outcome.done) {
            (Self::CountTwice, Ok(Done::Appended { .. })) => {
                outcome.view.totals.backlog.entries += 1;
            }
            (Self::CountEvictedTwice, Ok(Done::Evicted { .. })) => outcome.view.evicted += 1,
            (Self::ReorderRead, Ok(Done::Read(reading))) if reading.records.len() > 1 => {
                reading.records.swap(0, 1);
            }
            (Self::RepeatRead, Ok(Done::Read(reading))) => {
                let first = reading.records.first().cloned();
                reading.records.splice(0..0, first);
            }
            (Self::LoseRead, Ok(Done::Read(reading))) if reading.records.len() > 1 => {
                reading.records.remove(0);
            }
            (Self::ForgetLosses, Ok(Done::Read(reading))) => {
                reading.trailing.clear();
                reading
                    .records
                    .iter_mut()
                    .for_each(|record| record.losses.clear());
            }
            _ => {}
        }
    }

    /// A failed append or check is reported as successful.
    pub(super) fn embellishes(self, order: &Order) -> Option<Done> {
        match (self, order) {
            (Self::IgnoreFailures, Order::Append(records)) => Some(Done::Appended {
                entries: records.len() as u64,
                took: std::time::Duration::ZERO,
            }),
            (Self::IgnoreFailures, Order::Check) => Some(Done::Checked),
            _ => None,
        }
    }

    /// Changes the answer of a sink.
    pub(super) fn said(self, order: &SinkOrder, outcome: &mut SinkOutcome) {
        match (self, order, outcome) {
            (Self::IgnoreCursor, _, SinkOutcome::Answered(Ok(position))) => *position = None,
            (
                Self::AcknowledgeTooMuch,
                SinkOrder::Deliver(batch),
                SinkOutcome::Delivered(delivery),
            ) if delivery.stored < batch.records().len() => delivery.stored += 1,
            _ => {}
        }
    }

    /// Changes losses before they are stored.
    pub(super) fn losses(self, losses: &mut Vec<Loss>) {
        if self == Self::StoreWithoutLosses {
            losses.retain(|loss| loss.reason == LossReason::DeadLettered);
        }
    }
}
