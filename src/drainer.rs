//! The drainer: moves entries from the ring to the sink, through the spill if necessary.
//!
//! It touches neither file nor socket. It pops, numbers and encodes, keeps the order, and hands orders to two workers,
//! one at a time to each:
//!
//! ```text
//! ring ──▶ RingConsumer ──▶ Sequencer ──▶ Pipeline ──▶ SinkSide ──▶ sink worker
//!                                           │    ▲
//!                                           ▼    │
//!                                          DiskSide ─────────────▶ spill worker
//! ```
//!
//! One turn of the loop collects outcomes and requests, gathers [`Facts`](policy::Facts), lets the
//! [policy](policy::next) choose a step, and carries it out. A turn takes the time from its caller and never waits.

mod answers;
mod collect;
mod consumer;
mod dead_letters;
mod delivery;
mod disk_side;
mod encoder;
mod ending;
mod eviction;
mod facts;
mod file_source;
mod pace;
mod pipeline;
mod report;
mod requests;
mod rests;
mod ring_age;
mod sequencer;
mod settlement;
mod sink_side;
mod source;
mod spilling;
mod watch;

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::config::Config;
use crate::control::{Control, Request};
use crate::event::{PublisherId, Record, Run};
use crate::host::{self, log};
use crate::policy::{self, DiskStep, Step};
use crate::seal::Signer;
use crate::sink_worker::SinkWorker;
use crate::spill::{KnownRuns, Orphan, SinkMayHave, SpillWorker, View};
use crate::stats::State;
use consumer::RingConsumer;
use disk_side::DiskSide;
pub(crate) use encoder::Encoder;
pub(crate) use file_source::FileSource;
use pace::Pace;
use pipeline::Pipeline;
use report::Reporter;
use requests::{FlushProgress, Requests};
pub(crate) use sequencer::{Encoded, Sequencer};
use sink_side::SinkSide;
pub(crate) use source::{RingSource, Source};

/// After this many panics of its own code the drainer saves its records, and ends.
const PANICS_MAX: u32 = 3;

/// The parts of a drainer.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) control: Arc<Control>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) sink: SinkWorker,
    pub(crate) spill: SpillWorker,
    pub(crate) view: View,
    pub(crate) runs: KnownRuns,
    pub(crate) publisher: PublisherId,
    pub(crate) run: Arc<Run>,
    /// Losses of earlier runs that this one announces first.
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) signer: Option<Arc<Signer>>,
    pub(crate) now: Instant,
}

/// The thread that decides. Owns everything that only one thread may touch.
#[derive(Debug)]
pub(crate) struct DrainLoop {
    config: Config,
    control: Arc<Control>,
    ring: RingConsumer,
    sequencer: Sequencer,
    pipeline: Pipeline,
    sink: SinkSide,
    disk: DiskSide,
    requests: Requests,
    reports: Reporter,
    counts: Counts,
    pace: Option<Pace>,
    publisher: PublisherId,
    signer: Option<Arc<Signer>>,
    /// Earlier runs.
    runs: KnownRuns,
    /// When the newest entry that the spill held at the start was popped, if any.
    inherited_until_ms: Option<u64>,
    /// Since when a batch has been ready whose run the spill has not recorded as open.
    unopened_since: Option<Instant>,
    /// The newest run of a batch that was sent, by its local number.
    sent_run: u32,
    /// How many appends were ordered since the backlog had its turn.
    appends_in_a_row: u32,
    /// Losses after the last entry have been announced to the sink.
    announced_last_losses: bool,
}

/// What has become of the entries of this run so far.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    inherited: u64,
    delivered: u64,
    replayed: u64,
    appended: u64,
    oversize: u64,
    rejected: u64,
    dead_letters_full: u64,
    delivery_errors: u64,
}

impl DrainLoop {
    pub(crate) fn new(parts: Parts) -> Self {
        let config = parts.config;
        let mut pipeline = Pipeline::default();
        pipeline.inherit(parts.view.newest);
        let may_have = match parts.view.totals.backlog.entries {
            0 => SinkMayHave::Nothing,
            _ => SinkMayHave::OldestBatch,
        };
        let mut drainer = Self {
            control: parts.control,
            ring: RingConsumer::new(&config, parts.source),
            sequencer: Sequencer::new(parts.run),
            pipeline,
            sink: SinkSide::new(&config, parts.sink, may_have),
            disk: DiskSide::new(&config, parts.spill, parts.view, parts.now),
            requests: Requests::default(),
            reports: Reporter::new(parts.now),
            counts: Counts {
                inherited: parts.view.totals.backlog.entries,
                ..Counts::default()
            },
            pace: config
                .replay_rate_max
                .map(|rate| Pace::new(rate, config.batch_max)),
            publisher: parts.publisher,
            signer: parts.signer,
            runs: parts.runs,
            inherited_until_ms: parts.view.inherited_until_ms,
            unopened_since: None,
            sent_run: 0,
            appends_in_a_row: 0,
            announced_last_losses: false,
            config,
        };
        drainer.announce(parts.orphans);
        // Callers that read the stats before the first turn see what was inherited.
        let backlog = drainer.counts.inherited > 0;
        drainer.control.report(drainer.stats(if backlog {
            State::Replaying
        } else {
            State::Live
        }));
        drainer
    }

    /// Runs until a shutdown has been carried out. A turn that panics loses no record: the next turn continues.
    pub(crate) fn run(mut self) {
        self.control.attach();
        let mut panics = 0;
        loop {
            match host::call(|| self.turn(Instant::now())) {
                Some(Step::Stop) => return self.finish(),
                Some(Step::Wait(limit)) => thread::park_timeout(limit),
                Some(_) => {}
                None if panics < PANICS_MAX => {
                    panics += 1;
                    log::error!(panics, "the drainer panicked; continuing");
                }
                None => return self.save(),
            }
        }
    }

    /// One turn. The caller waits if the step says so.
    pub(crate) fn turn(&mut self, now: Instant) -> Step {
        self.collect_requests(now);
        self.collect_sink(now);
        self.collect_disk(now);
        let progress = self.progress();
        self.ring.release(progress.unspilled_from);
        let flushed = self.requests.take_flushed(&progress);
        let facts = self.facts(&progress, now);
        self.report(&facts);
        // Not before: the waiting threads may read the stats at once.
        for promise in flushed {
            promise.keep(());
        }
        let step = policy::next(&facts);
        self.carry_out(step, now);
        step
    }

    fn carry_out(&mut self, step: Step, now: Instant) {
        match step {
            Step::Ask => self.ask(),
            Step::Deliver => self.deliver(now),
            Step::Renew => self.renew(now),
            Step::Disk(step) => self.order(step, now),
            Step::StageRing => self.stage_ring(now),
            Step::StageDrawn => self.stage_drawn(),
            Step::Draw => self.draw(now),
            Step::Wait(_) => self.ring.rested(),
            Step::Stop => {}
        }
        match step {
            Step::Disk(DiskStep::Append | DiskStep::Evict) => {
                self.appends_in_a_row = self.appends_in_a_row.saturating_add(1);
            }
            Step::Disk(DiskStep::Read | DiskStep::DeadLetter)
            | Step::StageRing
            | Step::StageDrawn => self.appends_in_a_row = 0,
            _ => {}
        }
    }

    fn collect_requests(&mut self, now: Instant) {
        for request in self.control.take_requests() {
            if matches!(request, Request::Shutdown(..)) {
                self.ring.entrance().close();
            }
            let pops = self.ring.popped() + self.ring.entrance().inside().entries;
            self.requests.add(request, pops, self.disk.sent, now);
            self.ring.stir();
        }
    }

    /// How many records are in memory: for the sink, and for the disk.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let drawn = self.pipeline.drawn();
        (self.pipeline.records().count() - drawn, drawn)
    }

    /// How far everything has come, for flushes.
    fn progress(&self) -> FlushProgress {
        // The order is: staged, then the rows of the spill that are not in memory, then drawn.
        let after_staged = || self.pipeline.read_after().unwrap_or_default().after(1);
        let undelivered_from = match self.pipeline.first_staged() {
            None if self.is_unread() => Some(after_staged()),
            None => self.pipeline.records().next().map(Record::key),
            staged => staged.map(Record::key),
        };
        FlushProgress {
            popped: self.ring.popped(),
            last: self.sequencer.last_key(),
            unspilled_from: self.pipeline.first_unspilled().map(Record::key),
            undelivered_from,
            confirmed: self.disk.confirmed,
        }
    }
}

#[cfg(test)]
mod tests;
