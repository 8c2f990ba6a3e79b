//! The bench: turns of a drainer, and the two doubles that answer it.

mod doubles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::config::Config;
use crate::control::Control;
use crate::drainer::{DrainLoop, Parts, RingSource, Source};
use crate::error::SinkError;
use crate::event::{EncodeError, Event, Key, Loss, Position, PublisherId, Record, Run, RunId};
use crate::ingress::Ingress;
use crate::policy::Step;
use crate::publisher::{Handles, Publisher, Shared};
use crate::ring::Ring;
use crate::sink_worker::{SinkOrder, SinkOutcome, SinkWorker};
use crate::spill::{KnownRuns, Order, Orphan, Outcome, SpillWorker, View};
use crate::stats::Stats;
use crate::sync::CachePadded;
use crate::worker::Desk;

/// An entry: a number.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) bytes: usize,
}

impl Event for Entry {
    fn subject(&self) -> String {
        self.number.to_string()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.resize(self.bytes, 0);
        Ok(())
    }

    fn weight(&self) -> usize {
        self.bytes
    }
}

/// How the double of the sink answers.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    Takes,
    /// Does not answer.
    Frozen,
    Fails(SinkError),
    /// Stores this many of each batch, but its answers are lost.
    AnswerLost(usize),
}

/// How the double of the disk answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Works,
    Frozen,
    Fails,
}

/// A drainer between two doubles, and everything that they have received.
pub(super) struct Bench {
    pub(super) drainer: Option<DrainLoop>,
    pub(super) publisher: Publisher<Entry>,
    pub(super) control: Arc<Control>,
    pub(super) now: Instant,
    pub(super) sink: Sink,
    pub(super) disk: Disk,
    /// Numbers that the sink rejects.
    pub(super) refused: Vec<u64>,
    pub(super) stored: Vec<Record>,
    /// How far the run has come, by the last batch.
    pub(super) through: Option<Position>,
    pub(super) cursor: Option<Position>,
    pub(super) questions: usize,
    /// How often the sink was asked to sign again.
    pub(super) renewals: usize,
    /// Names of the orders that the disk has carried out or failed.
    pub(super) orders: Vec<&'static str>,
    pub(super) rows: BTreeMap<Key, Record>,
    pub(super) letters: Vec<(u64, crate::spill::Keep)>,
    pub(super) view: View,
    /// Comes with the next replay.
    pub(super) orphans: Vec<Orphan>,
    pub(super) trailing: Vec<Loss>,
    pub(super) renumbered: Vec<Key>,
    pub(super) ended: Option<(u64, u64, Vec<Loss>)>,
    settled: Option<Key>,
    sink_desk: Arc<Desk<SinkOrder, SinkOutcome>>,
    disk_desk: Arc<Desk<Order, Outcome>>,
    sink_order: Option<SinkOrder>,
    disk_order: Option<Order>,
}

pub(super) const PUBLISHER: PublisherId = PublisherId(Uuid::from_u128(1));

pub(super) fn run(local: u32) -> Arc<Run> {
    Arc::new(Run {
        id: RunId(Uuid::from_u128(u128::from(local) * 100)),
        publisher: PUBLISHER,
        local,
        previous: None,
        killed_starts: 0,
    })
}

pub(super) const RING_BYTES_MAX: u32 = 1 << 16;

/// Small and quick.
pub(super) fn config() -> Config {
    let mut config = Config::new("spill");
    config.ring_capacity = 64;
    config.ring_bytes_max = u64::from(RING_BYTES_MAX);
    config.batch_max = 10;
    config.pending_max = Duration::from_millis(50);
    config.backoff_min = Duration::from_millis(100);
    config.backoff_max = Duration::from_secs(10);
    config.entry_bytes_max = 1_000;
    config
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config(), Vec::new(), |source| source)
    }

    pub(super) fn with(
        config: Config,
        orphans: Vec<Orphan>,
        wrap: impl FnOnce(Box<dyn Source>) -> Box<dyn Source>,
    ) -> Self {
        let control = Arc::new(Control::default());
        let shared = Arc::new(Shared {
            ingress: Ingress::Memory(Ring::new(config.ring_capacity, RING_BYTES_MAX)),
            control: Arc::clone(&control),
            refusals: CachePadded::default(),
        });
        let (sink, sink_desk) = SinkWorker::inline(Arc::clone(&control));
        let (spill, disk_desk) = SpillWorker::inline(Arc::clone(&control));
        let now = Instant::now();
        let view = View {
            bytes_max: 1 << 30,
            ..View::default()
        };
        let source = Box::new(RingSource::new(Arc::clone(&shared)));
        let drainer = DrainLoop::new(Parts {
            config,
            control: Arc::clone(&control),
            source: wrap(source),
            sink,
            spill,
            view,
            runs: KnownRuns::default(),
            publisher: PUBLISHER,
            run: run(1),
            orphans,
            signer: None,
            now,
        });
        Self {
            drainer: Some(drainer),
            publisher: Publisher::new(shared, Handles::of_a_test(&control)),
            control,
            now,
            sink: Sink::Takes,
            disk: Disk::Works,
            refused: Vec::new(),
            stored: Vec::new(),
            through: None,
            cursor: None,
            questions: 0,
            renewals: 0,
            orders: Vec::new(),
            rows: BTreeMap::new(),
            letters: Vec::new(),
            view,
            orphans: Vec::new(),
            trailing: Vec::new(),
            renumbered: Vec::new(),
            ended: None,
            settled: None,
            sink_desk,
            disk_desk,
            sink_order: None,
            disk_order: None,
        }
    }

    pub(super) fn publish(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.publish_large(number, 8);
        }
    }

    pub(super) fn publish_large(&self, number: u64, bytes: usize) {
        self.publisher.publish(Entry { number, bytes });
    }

    /// One turn. Checks the law after it.
    pub(super) fn turn(&mut self) -> Step {
        let step = self.drainer.as_mut().unwrap().turn(self.now);
        self.now += match step {
            Step::Wait(limit) => limit,
            _ => Duration::from_micros(1),
        };
        if !matches!(step, Step::StageRing | Step::Draw) {
            let stats = self.stats();
            assert_eq!(stats.entered(), stats.accounted(), "{step:?} {stats:#?}");
        }
        self.serve();
        step
    }

    /// Turns for this long, or until the end.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until && self.drainer.is_some() {
            if self.turn() == Step::Stop {
                self.drainer.take().unwrap().finish();
                return;
            }
        }
    }

    /// Turns until a condition holds.
    #[track_caller]
    pub(super) fn run_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = self.now + Duration::from_secs(60);
        while !holds(self) {
            assert!(self.now < until, "never happened: {what}");
            self.run_for(Duration::from_micros(1));
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.publisher.stats()
    }

    /// The numbers that the sink has, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let number = |record: &Record| record.subject.parse().unwrap();
        self.stored.iter().map(number).collect()
    }

    pub(super) fn count(&self, order: &str) -> usize {
        self.orders.iter().filter(|name| **name == order).count()
    }

    /// The order that a frozen disk does not carry out.
    pub(super) fn under_way(&self) -> Option<&'static str> {
        self.disk_order.as_ref().map(doubles::name)
    }

    /// Answers the orders.
    pub(super) fn serve(&mut self) {
        self.serve_sink();
        self.serve_disk();
    }

    /// The sink's thread has ended without an outcome.
    pub(super) fn end_sink(&mut self) {
        self.sink_desk.end();
    }

    /// The spill's thread has ended without an outcome.
    pub(super) fn end_disk(&mut self) {
        self.disk = Disk::Frozen;
        self.disk_desk.end();
    }
}
