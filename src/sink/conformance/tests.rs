//! Tries to pass with a sink that breaks a rule: for each fault, the tests must name the right rule.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rules::run_within;
use super::{Failure, Harness, Rule, Stored, run};
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId};
use crate::sink::{BoxFuture, Delivery, Sink};

/// The faults of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Neither a cursor nor ids.
    Forgetful,
    HangsUp,
    Panics,
    AlwaysUnavailable,
    CountsTooMany,
    StoresWhatItRefuses,
    StopsShortSilently,
    Trims,
    Reverses,
    DropsTheLast,
    StoresOnlyText,
    DoublesAfterAnAbandonedDelivery,
    TellsTheLastRecord,
    ForgetsThePosition,
    OnePositionForAll,
    StopsForGoodAtAnEntry,
    MislabelsIds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Cursor,
    Ids,
}

#[derive(Debug, Default)]
struct Shelf {
    stored: Vec<Stored>,
    cursors: HashMap<PublisherId, Position>,
    last: Option<Position>,
}

/// A sink in memory with one fault.
#[derive(Debug, Clone)]
struct Faulty {
    shelf: Arc<Mutex<Shelf>>,
    keeps: Keeps,
    fault: Fault,
}

#[test]
fn each_fault_breaks_the_rule_it_should() {
    let expected = [
        (Fault::Panics, Rule::Answers),
        (Fault::HangsUp, Rule::Answers),
        (Fault::AlwaysUnavailable, Rule::Stores),
        (Fault::StopsForGoodAtAnEntry, Rule::Stores),
        (Fault::CountsTooMany, Rule::CountsThePrefix),
        (Fault::StopsShortSilently, Rule::CountsThePrefix),
        (Fault::StoresWhatItRefuses, Rule::StoresOnce),
        (Fault::Trims, Rule::KeepsBytes),
        (Fault::StoresOnlyText, Rule::KeepsBytes),
        (Fault::Reverses, Rule::KeepsOrder),
        (Fault::DropsTheLast, Rule::KeepsOrder),
        (Fault::DoublesAfterAnAbandonedDelivery, Rule::StoresOnce),
        (Fault::TellsTheLastRecord, Rule::MovesThePosition),
        (Fault::ForgetsThePosition, Rule::KeepsThePosition),
        (Fault::OnePositionForAll, Rule::PartsPublishers),
    ];
    for (fault, rule) in expected {
        assert_eq!(broken(Keeps::Cursor, fault), Some(rule), "{fault:?}");
    }
    for (fault, rule) in [
        (Fault::Forgetful, Rule::StoresIds),
        (Fault::MislabelsIds, Rule::KeepsOrder),
        (Fault::DropsTheLast, Rule::KeepsOrder),
    ] {
        assert_eq!(broken(Keeps::Ids, fault), Some(rule), "{fault:?}");
    }
}

#[test]
fn a_sink_without_a_fault_passes_with_a_cursor_or_with_ids() {
    assert_eq!(broken(Keeps::Cursor, Fault::None), None);
    assert_eq!(broken(Keeps::Ids, Fault::None), None);
}

#[test]
fn what_was_stored_before_stays_out_of_account() {
    let mut sink = faulty(Keeps::Cursor, Fault::None);
    assert_eq!(run(&mut sink), Ok(()));
    assert_eq!(run(&mut sink), Ok(()));
}

#[test]
fn a_failure_says_what_is_promised_and_what_was_seen() {
    let failure = Failure::new(Rule::StoresOnce, "3 are stored of 2 sent");
    assert_eq!(
        failure.to_string(),
        "a sink with a cursor must store each entry once; but 3 are stored of 2 sent"
    );
}

fn broken(keeps: Keeps, fault: Fault) -> Option<Rule> {
    run_within(&mut faulty(keeps, fault), Duration::from_secs(3))
        .err()
        .map(|failure| failure.rule)
}

fn faulty(keeps: Keeps, fault: Fault) -> Faulty {
    Faulty {
        shelf: Arc::default(),
        keeps,
        fault,
    }
}

impl Faulty {
    fn store(&self, batch: &Batch) -> Delivery {
        let mut memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delivery = Delivery::all(batch);
        let mut records: Vec<_> = batch
            .records()
            .iter()
            .map(|record| self.on_shelf(record))
            .collect();
        match self.fault {
            Fault::Reverses => records.reverse(),
            Fault::DropsTheLast if records.len() > 1 => drop(records.pop()),
            Fault::CountsTooMany => delivery.stored += 1,
            Fault::StopsShortSilently => delivery.stored = 0,
            Fault::StoresWhatItRefuses | Fault::StopsForGoodAtAnEntry => {
                let hostile = |stored: &Stored| stored.bytes.contains(&b'\n');
                if let Some(at) = records.iter().position(hostile) {
                    let is_refused = self.fault == Fault::StoresWhatItRefuses;
                    let why = if is_refused {
                        SinkError::Rejected("a line break".into())
                    } else {
                        SinkError::Misconfigured("a line break".into())
                    };
                    records.truncate(at + 1);
                    delivery = Delivery::stopped(at, why);
                }
            }
            _ => {}
        }
        memory.stored.extend(records);
        memory
            .cursors
            .insert(batch.publisher(), self.reached(batch));
        memory.last = Some(batch.through());
        delivery
    }

    fn on_shelf(&self, record: &crate::event::Record) -> Stored {
        let mut bytes = record.bytes().to_vec();
        match self.fault {
            Fault::Trims => bytes = bytes.trim_ascii().to_vec(),
            Fault::StoresOnlyText => bytes = String::from_utf8_lossy(&bytes).into_owned().into(),
            _ => {}
        }
        let id = match (self.keeps, self.fault) {
            (Keeps::Cursor, _) | (_, Fault::Forgetful) => None,
            (_, Fault::MislabelsIds) => Some(format!("{}{}", record.id(), record.lost_before())),
            (Keeps::Ids, _) => Some(record.id().to_string()),
        };
        Stored { id, bytes }
    }

    fn reached(&self, batch: &Batch) -> Position {
        match (self.fault, batch.records().last()) {
            (Fault::TellsTheLastRecord, Some(last)) => last.id(),
            _ => batch.through(),
        }
    }
}

impl Sink for Faulty {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move {
            let memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            let known = memory.cursors.get(of).copied();
            Ok(match (self.keeps, self.fault) {
                (Keeps::Ids, _) => None,
                (_, Fault::OnePositionForAll) => known.and(memory.last),
                _ => known,
            })
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            match self.fault {
                Fault::Panics => std::panic::resume_unwind(Box::new("a fault")),
                Fault::HangsUp => std::future::pending().await,
                Fault::AlwaysUnavailable => {
                    return Delivery::stopped(0, SinkError::Unavailable("a fault".into()));
                }
                Fault::DoublesAfterAnAbandonedDelivery => {
                    let mut memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
                    memory
                        .stored
                        .extend(batch.records().iter().map(|record| self.on_shelf(record)));
                }
                _ => {}
            }
            tokio::task::yield_now().await;
            if self.fault == Fault::DoublesAfterAnAbandonedDelivery {
                let mut memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
                memory.cursors.insert(batch.publisher(), batch.through());
                return Delivery::all(batch);
            }
            self.store(batch)
        })
    }
}

impl Harness for Faulty {
    type Sink = Self;

    fn reopen(&mut self) -> Self {
        let mut memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fault == Fault::ForgetsThePosition {
            memory.cursors.clear();
        }
        drop(memory);
        self.clone()
    }

    fn stored(&mut self) -> Vec<Stored> {
        let memory = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        memory.stored.clone()
    }
}
