//! The bench for the rules: a sink on its own runtime, and what it must have stored.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Failure, Harness, Rule, Stored};
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId, Record};
use crate::sink::{BoxFuture, Delivery, Sink};

/// Whether the sink answers a position, and so must store nothing twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    Kept,
    None,
}

pub(super) struct Bench<'h, H: Harness> {
    harness: &'h mut H,
    live: Option<Live<H::Sink>>,
    /// How many entries were stored before.
    baseline: usize,
    answer_max: Duration,
    cursor: Cursor,
    /// The records that must be stored, each once.
    sent: Vec<Record>,
    ids: HashSet<Position>,
}

/// A sink, and the runtime that lives as long as it does.
struct Live<S> {
    sink: S,
    runtime: Runtime,
}

impl<'h, H: Harness> Bench<'h, H> {
    pub(super) fn open(
        harness: &'h mut H,
        answer_max: Duration,
        cursor: Cursor,
    ) -> Result<Self, Failure> {
        let baseline = harness.stored().len();
        let live = Some(Live::open(harness)?);
        Ok(Self {
            harness,
            live,
            baseline,
            answer_max,
            cursor,
            sent: Vec::new(),
            ids: HashSet::new(),
        })
    }

    /// Drops the sink, and opens it again.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.live = None;
        self.live = Some(Live::open(self.harness)?);
        Ok(())
    }

    pub(super) fn position(&mut self, of: PublisherId) -> Result<Option<Position>, Failure> {
        let answer_max = self.answer_max;
        self.live()?
            .answer(answer_max, |sink| sink.position(&of))?
            .map_err(|why| Failure::new(Rule::Stores, format!("`position` fails: {why}")))
    }

    /// Delivers a batch that must be stored as a whole.
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<(), Failure> {
        match self.attempt(batch)? {
            Delivery { stopped: None, .. } => Ok(()),
            Delivery {
                stored,
                stopped: Some(why),
            } => Err(Failure::new(
                Rule::Stores,
                format!(
                    "it stops after {stored} of {}: {why}",
                    batch.records().len()
                ),
            )),
        }
    }

    /// Delivers a batch whose records may be refused. From then on, what counts as stored must be there.
    pub(super) fn attempt(&mut self, batch: &Batch) -> Result<Delivery, Failure> {
        let answer_max = self.answer_max;
        let delivery = self
            .live()?
            .answer(answer_max, |sink| sink.deliver(batch))?;
        let length = batch.records().len();
        let is_whole = delivery.stored == length;
        if delivery.stored > length || (delivery.stopped.is_none() && !is_whole) {
            return Err(Failure::new(
                Rule::CountsThePrefix,
                format!(
                    "it says {} of {length}, and {}",
                    delivery.stored,
                    reason(delivery.stopped.as_ref())
                ),
            ));
        }
        self.expect(&batch.records()[..delivery.stored]);
        Ok(delivery)
    }

    /// Begins a delivery, and drops it after this many polls unless it is done. What it has stored is unknown.
    pub(super) fn abandon(&mut self, batch: &Batch, polls: u32) -> Result<(), Failure> {
        let Live { sink, runtime } = self.live()?;
        let mut left = polls;
        runtime.block_on(async {
            let mut call = sink.deliver(batch);
            std::future::poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                call.as_mut().poll(context).map(|_| ())
            })
            .await;
        });
        Ok(())
    }

    /// From now on these records must be stored, each once, however often it was sent.
    pub(super) fn expect(&mut self, records: &[Record]) {
        let ids = &mut self.ids;
        let new = records.iter().filter(|record| ids.insert(record.id()));
        self.sent.extend(new.cloned());
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Checks that what was stored since the bench opened is what was sent: in order, byte for byte, and, with a
    /// cursor, once.
    pub(super) fn verify(&mut self) -> Result<(), Failure> {
        let mut stored = self.harness.stored();
        if stored.len() < self.baseline {
            return Err(Failure::new(Rule::KeepsOrder, "entries have vanished"));
        }
        let mut stored = stored.split_off(self.baseline);
        match self.cursor {
            Cursor::Kept if stored.len() > self.sent.len() => {
                return Err(self.miscounted(Rule::StoresOnce, stored.len()));
            }
            Cursor::Kept => {}
            Cursor::None => keep_first(&mut stored)?,
        }
        if stored.len() != self.sent.len() {
            return Err(self.miscounted(Rule::KeepsOrder, stored.len()));
        }
        self.sent
            .iter()
            .zip(&stored)
            .try_for_each(|(sent, stored)| self.compare(sent, stored))
    }

    fn compare(&self, sent: &Record, stored: &Stored) -> Result<(), Failure> {
        let id = sent.id().to_string();
        if stored.id.as_ref().is_some_and(|stored| *stored != id) {
            return Err(Failure::new(
                Rule::KeepsOrder,
                format!("{:?} is where {id} should be", stored.id),
            ));
        }
        if stored.bytes == sent.bytes()[..] {
            return Ok(());
        }
        let is_another = self
            .sent
            .iter()
            .any(|other| stored.bytes == other.bytes()[..]);
        let (rule, found) = if is_another {
            (
                Rule::KeepsOrder,
                format!("another entry is where {id} should be"),
            )
        } else {
            (
                Rule::KeepsBytes,
                format!("{id} was stored with other bytes"),
            )
        };
        Err(Failure::new(rule, found))
    }

    fn miscounted(&self, rule: Rule, stored: usize) -> Failure {
        Failure::new(
            rule,
            format!("{stored} are stored of {} sent", self.sent.len()),
        )
    }

    fn live(&mut self) -> Result<&mut Live<H::Sink>, Failure> {
        self.live
            .as_mut()
            .ok_or_else(|| Failure::new(Rule::Answers, "the sink did not open again"))
    }
}

impl<S: Sink> Live<S> {
    fn open(harness: &mut impl Harness<Sink = S>) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(Rule::Answers, format!("cannot start a runtime: {error}"))
        })?;
        let sink = harness.reopen();
        Ok(Self { sink, runtime })
    }

    /// The answer of a call that must neither panic nor take longer.
    fn answer<'a, T>(
        &'a mut self,
        answer_max: Duration,
        call: impl FnOnce(&'a mut S) -> BoxFuture<'a, T>,
    ) -> Result<T, Failure> {
        let Self { sink, runtime } = self;
        let answer = AssertUnwindSafe(async { call(sink).await }).catch_unwind();
        match runtime.block_on(async { timeout(answer_max, answer).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Failure::new(Rule::Answers, "it panics")),
            Err(_) => Err(Failure::new(Rule::Answers, "it takes longer")),
        }
    }
}

/// Drops duplicates by their ids, as a reader does.
fn keep_first(stored: &mut Vec<Stored>) -> Result<(), Failure> {
    if let Some(at) = stored.iter().position(|stored| stored.id.is_none()) {
        return Err(Failure::new(
            Rule::StoresIds,
            format!("entry {at} has none"),
        ));
    }
    let mut seen = HashSet::new();
    stored.retain(|stored| seen.insert(stored.id.clone()));
    Ok(())
}

fn reason(stopped: Option<&SinkError>) -> String {
    stopped.map_or_else(|| "does not say why".into(), SinkError::to_string)
}
