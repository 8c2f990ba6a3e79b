//! The one loop: collects what has come back, asks the policy, does the step.

mod delivery;
mod eviction;
mod facts;
mod mend;
mod pace;
mod pipeline;
mod relief;
mod report;
mod requests;
mod ring_age;
mod watch;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control::{Control, Request};
use crate::courier::Courier;
use crate::error::SinkError;
use crate::event::{Key, Record, Run};
use crate::intake::Intake;
use crate::policy::{self, Backoff, Doubt, Step};
use crate::spill::Spill;
use crate::stats::State;
use crate::ticket::Promise;
use eviction::Eviction;
use pace::Pace;
use pipeline::{BATCH_BYTES_MAX, Pipeline};
use report::Reporter;
use requests::Requests;
use watch::RingWatch;

/// The shortest wait between two looks at an empty ring; it doubles up to `poll_max`.
const POLL_MIN: Duration = Duration::from_micros(50);

/// How long a sink that does not stop is waited for at the end.
const SINK_STOP_MAX: Duration = Duration::from_millis(250);

/// Moves entries from the ring to the sink, through the spill if need be. Owns everything that only one may touch.
pub(crate) struct Drainer {
    config: Config,
    control: Arc<Control>,
    intake: Box<dyn Intake>,
    courier: Courier,
    spill: Spill,
    run: Arc<Run>,
    pipeline: Pipeline,
    requests: Requests,
    reporter: Reporter,
    counts: Counts,
    sink: SinkSide,
    /// Writing to the spill.
    disk: DiskSide,
    /// Reading from it: a page that is damaged keeps no entry from being written.
    backlog: DiskSide,
    eviction: Eviction,
    pace: Option<Pace>,
    poll: Duration,
    watch: RingWatch,
    /// How often the ring was relieved since anything was staged.
    reliefs: u32,
    closing: Closing,
    /// Losses of earlier runs that have numbers of this one, the first and how many, and are not written down as such.
    retell: Option<(u64, u64)>,
}

/// Whether the sink has been told of losses behind the last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Due,
    Done,
}

/// What has come of the entries of this run so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) inherited: u64,
    pub(crate) popped: u64,
    pub(crate) delivered: u64,
    pub(crate) replayed: u64,
    pub(crate) appended: u64,
    pub(crate) oversize: u64,
    pub(crate) rejected: u64,
    pub(crate) delivery_errors: u64,
    /// Delivered entries whose rows could not be removed yet.
    pub(crate) unremoved: u64,
}

/// How it stands with the sink.
#[derive(Debug)]
struct SinkSide {
    /// A question is on its way; deliveries are the pipeline's to know.
    asked: bool,
    doubt: Doubt,
    rests_until: Option<Instant>,
    backoff: Backoff,
    trouble: Option<SinkError>,
    /// The next record, refused by the sink and not yet among the dead letters.
    condemned: Option<(Key, String)>,
}

/// How it stands with one way to use the disk.
#[derive(Debug, Clone)]
struct DiskSide {
    rests_until: Option<Instant>,
    backoff: Backoff,
}

impl Drainer {
    pub(crate) fn new(
        config: Config,
        control: Arc<Control>,
        intake: Box<dyn Intake>,
        courier: Courier,
        mut spill: Spill,
        run: Arc<Run>,
    ) -> Self {
        let backoff = Backoff::new(config.backoff_min, config.backoff_max);
        let disk = DiskSide {
            rests_until: None,
            backoff: backoff.clone(),
        };
        let mut pipeline = Pipeline::default();
        pipeline.inherit(spill.newest());
        let drainer = Self {
            counts: Counts {
                inherited: spill.inherited(),
                ..Counts::default()
            },
            sink: SinkSide {
                asked: false,
                doubt: Doubt::Ask,
                rests_until: None,
                backoff,
                trouble: None,
                condemned: None,
            },
            backlog: disk.clone(),
            disk,
            eviction: Eviction::new(&config, &mut spill, &run),
            reporter: Reporter::new(),
            requests: Requests::default(),
            pace: config
                .replay_rate_max
                .map(|rate| Pace::new(rate, config.batch_max)),
            poll: POLL_MIN,
            watch: RingWatch::new(config.ring_capacity, config.ring_bytes_max),
            reliefs: 0,
            closing: Closing::Due,
            retell: None,
            config,
            control,
            intake,
            courier,
            spill,
            run,
            pipeline,
        };
        // Whoever looks before the first turn sees what was inherited.
        let backlog = drainer.counts.inherited > 0;
        drainer.control.tell(drainer.stats(if backlog {
            State::Replaying
        } else {
            State::Live
        }));
        drainer
    }

    /// Runs until a shutdown has been carried out.
    pub(crate) fn run(mut self) {
        self.control.attach();
        loop {
            let now = Instant::now();
            self.collect_requests(now);
            self.collect_outcome(now);
            self.mend_spill(now);
            let flushed = self.take_flushed();
            let facts = self.facts(now);
            self.report(&facts);
            // Not before: whoever waits for one may look at the stats at once.
            for promise in flushed {
                promise.keep(());
            }
            let step = policy::next(&facts);
            match step {
                Step::Stop => break,
                Step::Wait(limit) => {
                    if !self.spill.tidy(now) {
                        self.rest(limit);
                    }
                }
                Step::Ask => self.ask(),
                Step::Deliver => self.deliver(now),
                Step::Salvage => self.salvage(now),
                Step::StageSpill => self.stage_spill(now),
                Step::StageRing => self.stage_ring(now),
                Step::Relieve => self.relieve(now),
                Step::Evict => self.evict(now),
            }
            self.reliefs = match step {
                Step::Relieve | Step::Evict => self.reliefs.saturating_add(1),
                Step::Ask | Step::Deliver => self.reliefs,
                _ => 0,
            };
        }
        self.finish();
    }

    fn collect_requests(&mut self, now: Instant) {
        for request in self.control.take_requests() {
            if matches!(request, Request::Shutdown(..)) {
                self.intake.close();
            }
            self.requests
                .add(request, self.counts.popped, self.intake.queued(), now);
            self.poll = POLL_MIN;
        }
    }

    fn take_flushed(&mut self) -> Vec<Promise<()>> {
        if !self.requests.flushing() {
            return Vec::new();
        }
        let last = Key::new(self.run.local, self.intake.last_n());
        let in_memory_from = self.pipeline.unspilled().next().map(Record::key);
        self.requests
            .take_flushed(self.counts.popped, last, in_memory_from)
    }

    fn rest(&mut self, limit: Duration) {
        thread::park_timeout(limit);
        self.poll = (self.poll * 2).min(self.config.poll_max);
    }

    /// Everything is settled or on disk, or could be put nowhere: closes the books.
    fn finish(mut self) {
        self.courier.stop(SINK_STOP_MAX);
        self.remove_settled(Instant::now());
        let (first_n, losses) = self.intake.trailing_losses();
        self.control.tell(self.stats(State::Stopped));
        let stats = self.intake.stats();
        let abandoned = stats.in_ring + stats.in_memory;
        if abandoned > 0 {
            tracing::error!(target: "spillring", abandoned, "entries could be put neither into the sink nor on disk");
        } else if let Err(error) = self
            .spill
            .append_losses(&self.run, first_n, &losses)
            .and_then(|()| self.spill.end_run(&self.run, self.intake.last_n()))
        {
            tracing::error!(target: "spillring", %error, "the end of the run could not be written down");
        }
        self.reporter
            .last(&self.config.spill_dir, &self.spill, &self.run, &stats);
        // Whoever waits may open the directory again at once.
        drop(self.spill);
        self.requests.account(&stats);
    }
}
