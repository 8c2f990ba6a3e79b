//! The workers: how the sink and the spill carry out their orders, and what the judge learns of it.

use std::sync::Arc;
use std::time::Duration;

use super::judge::Found;
use super::process::Process;
use super::sinks::Answer;
use super::world::World;
use crate::error::SinkError;
use crate::event::{Key, Loss, Record};
use crate::sink::Delivery;
use crate::sink_worker::{SinkOrder, SinkOutcome};
use crate::spill::{Done, Keep, NewDeadLetter, Order, Outcome};

impl World {
    /// The sink carries out its order.
    pub(super) fn take_sink_order(&mut self) -> Found {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let Some(order) = process.sink.try_next() else {
            return Ok(());
        };
        let limit = match &order {
            SinkOrder::Ask(_, limit) | SinkOrder::Renew(_, _, limit) => *limit,
            SinkOrder::Deliver(batch) => batch.limit(),
        };
        let answer = self.sink.call(&order, &mut self.random);
        let timeout = limit + Duration::from_secs(1);
        let (after, outcome) = match answer {
            Answer::Now(outcome) => (Duration::from_micros(self.random.u64(10..5_000)), outcome),
            Answer::Late(outcome) => (timeout.mul_f64(self.random.f64()), outcome),
            Answer::Never => (timeout, unknown(&order)),
        };
        let said = match &outcome {
            SinkOutcome::Answered(answer) => match answer {
                Ok(position) => format!("answers {:?}", position.map(|position| position.n)),
                Err(error) => format!("does not answer: {error}"),
            },
            SinkOutcome::Renewed(renewed) => format!("signs again: {renewed:?}"),
            SinkOutcome::Delivered(Delivery { stored, stopped }) => {
                format!(
                    "stored {}, says {stored}, {stopped:?}",
                    self.sink.fresh.len()
                )
            }
        };
        process.sink_job = Some((self.now + after, outcome));
        self.note(format_args!("the sink {said}"));
        for stored in std::mem::take(&mut self.sink.fresh) {
            self.judge.stored(&stored)?;
        }
        Ok(())
    }

    /// The spill carries out its order.
    pub(super) fn take_spill_order(&mut self) -> Found {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let Some(order) = process.desk.try_next() else {
            self.process = Some(process);
            return Ok(());
        };
        let outcome = self.carry_out(&mut process, order)?;
        if self.disk.is_dead() {
            self.note(format_args!("died in the midst of it"));
            drop(process);
            self.after_death();
            return Ok(());
        }
        let after = self.latency.mul_f64(self.random.f64());
        process.spill_job = Some((self.now + after, outcome));
        self.process = Some(process);
        Ok(())
    }

    pub(super) fn carry_out(
        &mut self,
        process: &mut Process,
        order: Order,
    ) -> Result<Outcome, String> {
        let now = self.base + self.now;
        let said = describe(&order);
        let mut note = OrderNote::of(&order);
        let faults = self.disk.faults();
        let embellished = self.broken.and_then(|broken| broken.embellishes(&order));
        let changed = match self.broken {
            Some(broken) => broken.order(order, &process.spill),
            None => Ok(order),
        };
        let mut outcome = match changed {
            Ok(order) => process.spill.carry_out(order, now),
            Err(answered) => *answered,
        };
        if let (Err(_), Some(done)) = (&outcome.done, embellished) {
            outcome.done = Ok(done);
        }
        let result = match &outcome.done {
            Ok(Done::Read(reading)) => {
                format!(
                    "{} records, {:?}, {:?}",
                    reading.records.len(),
                    reading.trailing,
                    reading.orphans
                )
            }
            Ok(Done::Appended { entries, .. }) => format!("{entries} new"),
            Ok(Done::Settled(settled)) => {
                if let OrderNote::Settle(through) = &mut note {
                    *through = settled.through.min(*through);
                }
                format!("{} entries", settled.tally.entries)
            }
            Ok(Done::Evicted { entries }) => {
                self.excuses.evicted += entries;
                format!("{entries} evicted")
            }
            Ok(_) => "done".to_owned(),
            Err(error) => {
                self.errors.push(error.to_string());
                format!("failed ({})", self.errors.len())
            }
        };
        self.note(format_args!("disk: {said}: {result}"));
        if let Some(broken) = self.broken {
            broken.outcome(&mut outcome);
        }
        let done = outcome.done.is_ok() && !self.disk.is_dead();
        self.torn |= matches!(note, OrderNote::Append(_)) && !done;
        let clear = self.disk.faults() == faults;
        self.note_done(process, note, done, clear)?;
        Ok(outcome)
    }

    /// An order has been carried out, or has failed, which may still have had an effect.
    fn note_done(
        &mut self,
        process: &mut Process,
        note: OrderNote,
        done: bool,
        clear: bool,
    ) -> Found {
        match note {
            OrderNote::Append(records) => {
                // A failed one may have written the first of them.
                let newest = process.spill.view().newest.filter(|_| !self.disk.is_dead());
                let written = |record: &Record| done || Some(record.key()) <= newest;
                let written = records.partition_point(written);
                self.judge.appended(&records[..written], true)?;
                self.judge.appended(&records[written..], false)?;
            }
            // A watermark that cannot be written does not stop delivery.
            OrderNote::Settle(through) if done && clear && process.watermark => {
                self.judge.settled(through);
            }
            OrderNote::Letters(letters) => {
                for letter in letters {
                    self.excuses.letters_dropped |= letter.keep == Keep::NoRoom;
                    self.judge.dead_lettered(&letter.record, done)?;
                }
            }
            OrderNote::End(last_n, losses) if done => {
                process.ended = true;
                self.judge.ended(last_n, &losses);
            }
            // Perhaps some.
            OrderNote::Evict if !done => self.excuses.evicted += 1 << 40,
            OrderNote::End(last_n, _) => self.judge.may_have_ended(last_n),
            OrderNote::Open(local) if done => self.judge.runs_opened(local),
            OrderNote::Renumber(count) if done => self.judge.renumbered(count),
            OrderNote::Tick if done && clear => {
                process.watermark = true;
                self.judge.synced();
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the judge must know of an order.
enum OrderNote {
    Append(Arc<[Record]>),
    Settle(Key),
    Letters(Vec<NewDeadLetter>),
    End(u64, Vec<Loss>),
    Tick,
    Open(u32),
    Renumber(u64),
    Evict,
    Other,
}

impl OrderNote {
    fn of(order: &Order) -> Self {
        match order {
            Order::Append(records) => Self::Append(Arc::clone(records)),
            Order::Settle { through, .. } => Self::Settle(*through),
            Order::DeadLetter(letters) => Self::Letters(letters.clone()),
            Order::End { last_n, losses, .. } => Self::End(*last_n, losses.clone()),
            Order::Tick(_) => Self::Tick,
            Order::Evict(_) => Self::Evict,
            Order::OpenRuns(local) => Self::Open(*local),
            Order::Renumber(renumbering) => {
                Self::Renumber(renumbering.orphans.iter().map(|orphan| orphan.count).sum())
            }
            _ => Self::Other,
        }
    }
}

fn unknown(order: &SinkOrder) -> SinkOutcome {
    let error = SinkError::Unknown("no answer in time".to_owned());
    match order {
        SinkOrder::Ask(..) => SinkOutcome::Answered(Err(error)),
        SinkOrder::Deliver(_) => SinkOutcome::Delivered(Delivery::stopped(0, error)),
        SinkOrder::Renew(..) => SinkOutcome::Renewed(Err(error)),
    }
}

/// A short description of an order, without anything that differs between two runs of one schedule.
fn describe(order: &Order) -> String {
    let place = |key: Key| format!("{}.{}", key.local_run(), key.n());
    match order {
        Order::Append(records) => {
            let ends = records.first().zip(records.last());
            let ends = ends.map(|(first, last)| (place(first.key()), place(last.key())));
            format!("append {} {ends:?}", records.len())
        }
        Order::Read {
            after, entries_max, ..
        } => {
            format!("read {entries_max} after {:?}", after.map(place))
        }
        Order::Settle { through, entries } => format!("settle {} {entries:?}", place(*through)),
        Order::DeadLetter(letters) => {
            let places: Vec<_> = letters
                .iter()
                .map(|letter| place(letter.record.key()))
                .collect();
            format!("dead letters {places:?}")
        }
        Order::Evict(evictable) => format!("evict after {:?}", evictable.after.map(place)),
        Order::OpenRuns(local) => format!("open runs up to {local}"),
        Order::Renumber(renumbering) => format!("renumber {renumbering:?}"),
        Order::Check => "check".to_owned(),
        Order::RenewIdentity => "renew identity".to_owned(),
        Order::TurnOver { last_n } => format!("turn over at {last_n}"),
        Order::Tick(_) => "tick".to_owned(),
        Order::End {
            last_n,
            first_n,
            losses,
        } => format!("end at {last_n}, from {first_n} {losses:?}"),
    }
}
