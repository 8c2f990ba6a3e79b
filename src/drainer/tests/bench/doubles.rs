//! The two doubles: a sink that stores in a list, and a spill that is a map.

use std::time::Duration;

use uuid::Uuid;

use super::{Bench, Disk, Sink, run};
use crate::error::{SinkError, SpillError};
use crate::event::{Batch, Key, Loss, LossReason, PublisherId, Record};
use crate::sink::Delivery;
use crate::sink_worker::{SinkOrder, SinkOutcome};
use crate::spill::{Counted, Done, Keep, Order, Outcome, Reading, Room, Settled, Tally};

impl Bench {
    pub(super) fn serve_sink(&mut self) {
        self.sink_order = self.sink_order.take().or(self.sink_desk.try_next());
        if matches!(self.sink, Sink::Frozen) {
            return;
        }
        let outcome = match self.sink_order.take() {
            None => return,
            Some(SinkOrder::Ask(..)) => {
                self.questions += 1;
                SinkOutcome::Answered(match &self.sink {
                    Sink::Fails(error) => Err(error.clone()),
                    _ => Ok(self.cursor),
                })
            }
            Some(SinkOrder::Deliver(batch)) => SinkOutcome::Delivered(self.store(&batch)),
            Some(SinkOrder::Renew(..)) => {
                self.renewals += 1;
                SinkOutcome::Renewed(Ok(()))
            }
        };
        self.sink_desk.put(outcome);
    }

    fn store(&mut self, batch: &Batch) -> Delivery {
        let records = batch.records();
        let (most, stopped) = match &self.sink {
            Sink::Fails(error) => (0, Some(error.clone())),
            Sink::AnswerLost(most) => (*most, Some(SinkError::Unknown("lost".to_owned()))),
            Sink::Takes | Sink::Frozen => (usize::MAX, None),
        };
        let taken = |record: &&Record| !self.refused.contains(&record.n);
        let stored = records.iter().take(most).take_while(taken).count();
        self.stored.extend_from_slice(&records[..stored]);
        self.cursor = records[..stored].last().map(Record::id).or(self.cursor);
        if stored == records.len() && stopped.is_none() {
            self.through = Some(batch.through());
            return Delivery::all(batch);
        }
        match stopped {
            Some(error @ SinkError::Unknown(_)) => Delivery::stopped(0, error),
            Some(error) => Delivery::stopped(stored, error),
            None => Delivery::stopped(stored, SinkError::Rejected("refused".to_owned())),
        }
    }

    pub(super) fn serve_disk(&mut self) {
        self.disk_order = self.disk_order.take().or(self.disk_desk.try_next());
        if self.disk == Disk::Frozen {
            return;
        }
        let Some(order) = self.disk_order.take() else {
            return;
        };
        self.orders.push(name(&order));
        let done = if self.disk == Disk::Fails {
            Err(SpillError::GivenUp)
        } else {
            Ok(self.carry_out(order))
        };
        self.count_rows();
        let view = self.view;
        self.disk_desk.put(Outcome { done, view });
    }

    fn carry_out(&mut self, order: Order) -> Done {
        match order {
            Order::Append(records) => {
                let before = self.rows.len();
                let rows = records.iter().map(|record| (record.key(), record.clone()));
                self.rows.extend(rows);
                let last = records.last().map(Record::key);
                self.view.newest = self.view.newest.max(last);
                Done::Appended {
                    entries: (self.rows.len() - before) as u64,
                    took: Duration::ZERO,
                }
            }
            Order::Read {
                after, entries_max, ..
            } => Done::Read(self.read(after, entries_max)),
            Order::Settle { through, entries } => {
                let left = self.rows.split_off(&Key::from_number(through.number() + 1));
                let gone = std::mem::replace(&mut self.rows, left).len() as u64;
                if let Counted::Known(tally) = entries {
                    assert_eq!(gone, tally.entries, "the count in memory is right");
                }
                self.settled = Some(through);
                let tally = Tally {
                    entries: gone,
                    bytes: 0,
                };
                Done::Settled(Settled { through, tally })
            }
            Order::DeadLetter(letters) => {
                for letter in letters {
                    self.rows.remove(&letter.record.key());
                    self.letters.push((letter.record.n, letter.keep));
                }
                Done::DeadLettered
            }
            Order::Evict(_) => Done::Evicted { entries: 0 },
            Order::OpenRuns(local) => Done::RunsOpened(local),
            Order::Renumber(renumbering) => {
                self.renumbered.push(renumbering.first);
                Done::Renumbered
            }
            Order::Check => Done::Checked,
            Order::RenewIdentity => Done::Renewed(PublisherId(Uuid::from_u128(2))),
            Order::TurnOver { .. } => Done::TurnedOver(run(2)),
            Order::Tick(_) => Done::Ticked,
            Order::End {
                last_n,
                first_n,
                losses,
            } => {
                self.ended = Some((last_n, first_n, losses));
                Done::Ended
            }
        }
    }

    fn read(&mut self, after: Option<Key>, entries_max: usize) -> Reading {
        let rows = self.rows.range(after.unwrap_or_default()..);
        let rows = rows.filter(|(key, _)| Some(**key) > after);
        let mut records: Vec<_> = rows.map(|(_, row)| row.clone()).take(entries_max).collect();
        let mut from = after.unwrap_or_default();
        for record in &mut records {
            self.announce_letters(from, record);
            from = record.key();
        }
        let last = records.last().map(Record::key);
        let drained = records.len() < entries_max;
        Reading {
            through: if drained { self.view.newest } else { last },
            records,
            trailing: if drained {
                std::mem::take(&mut self.trailing)
            } else {
                Vec::new()
            },
            orphans: std::mem::take(&mut self.orphans),
        }
    }

    /// Dead letters after this key are losses before the record, unless it announces them already.
    fn announce_letters(&self, from: Key, record: &mut Record) {
        let numbers = from.n() + 1..record.n - record.lost_before();
        let gone = |letter: &&(u64, Keep)| numbers.contains(&letter.0);
        let loss = Loss {
            count: self.letters.iter().filter(gone).count() as u64,
            reason: LossReason::DeadLettered,
        };
        loss.join(&mut record.losses);
    }

    fn count_rows(&mut self) {
        self.view.totals.backlog = Tally::of(self.rows.values());
        if self.view.room == Room::Full && self.disk == Disk::Works {
            self.view.room = Room::Some;
        }
    }
}

pub(super) fn name(order: &Order) -> &'static str {
    match order {
        Order::Append(_) => "append",
        Order::Read { .. } => "read",
        Order::Settle { .. } => "settle",
        Order::DeadLetter(_) => "dead letter",
        Order::Evict(_) => "evict",
        Order::OpenRuns(_) => "open runs",
        Order::Renumber(_) => "renumber",
        Order::Check => "check",
        Order::RenewIdentity => "renew identity",
        Order::TurnOver { .. } => "turn over",
        Order::Tick(_) => "tick",
        Order::End { .. } => "end",
    }
}
