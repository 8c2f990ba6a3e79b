//! One process: a drainer with its two desks, a ring, and the spill that carries out the simulation's orders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::Entry;
use crate::config::Config;
use crate::control::Control;
use crate::drainer::{DrainLoop, Parts, RingSource};
use crate::error::SpillError;
use crate::publisher::{Handles, Publisher, Shared};
use crate::sink_worker::{SinkOrder, SinkOutcome};
use crate::spill::{Order, Outcome, Spill};
use crate::start::{memory, share};
use crate::stats::Stats;
use crate::ticket::Ticket;
use crate::worker::{Desk, Worker};

pub(super) struct Process {
    pub(super) ordinal: usize,
    pub(super) shared: Arc<Shared<Entry>>,
    pub(super) publisher: Publisher<Entry>,
    pub(super) control: Arc<Control>,
    pub(super) drainer: DrainLoop,
    pub(super) sink: Arc<Desk<SinkOrder, SinkOutcome>>,
    pub(super) desk: Arc<Desk<Order, Outcome>>,
    pub(super) spill: Spill,
    /// The sink's outcome, and its time.
    pub(super) sink_job: Option<(Duration, SinkOutcome)>,
    pub(super) spill_job: Option<(Duration, Outcome)>,
    /// When the drainer wants its next turn.
    pub(super) wake_at: Duration,
    pub(super) looked_at: Duration,
    /// When the end was requested, and its deadline.
    pub(super) shutdown: Option<(Ticket<Stats>, Duration)>,
    /// The clean end of the run is on disk.
    pub(super) ended: bool,
    /// The watermark is open and can be written.
    pub(super) watermark: bool,
    /// Turns since the drainer last waited.
    pub(super) busy: u32,
}

impl Process {
    /// Starts a process. Returns its run as well.
    pub(super) fn start(
        config: &Config,
        ordinal: usize,
        now: impl Fn() -> Instant,
    ) -> Result<(Self, Arc<crate::event::Run>), SpillError> {
        let mut spill = Spill::open(
            &config.spill_dir,
            config.spill_key(),
            config.spill_bytes_max,
            config.spill_durability,
        )?;
        let begun = spill.begin()?;
        let control = Arc::new(Control::default());
        let shared = Arc::new(share(memory(config), &control));
        let (to_sink, sink) = Worker::inline(Arc::clone(&control));
        let (to_spill, desk) = Worker::inline(Arc::clone(&control));
        let run = begun.run;
        let drainer = DrainLoop::new(Parts {
            config: config.clone(),
            control: Arc::clone(&control),
            source: Box::new(RingSource::new(Arc::clone(&shared))),
            sink: to_sink,
            spill: to_spill,
            view: spill.view(),
            runs: spill.known_runs(&run),
            publisher: spill.publisher(),
            run: Arc::clone(&run),
            orphans: begun.orphans,
            signer: None,
            now: now(),
        });
        let process = Self {
            ordinal,
            publisher: Publisher::new(Arc::clone(&shared), Handles::of_a_test(&control)),
            shared,
            control,
            drainer,
            sink,
            desk,
            spill,
            sink_job: None,
            spill_job: None,
            wake_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            shutdown: None,
            ended: false,
            watermark: true,
            busy: 0,
        };
        Ok((process, run))
    }

    /// The time of the next event, unless another happens before.
    pub(super) fn next_event(&self) -> Duration {
        let sink = self.sink_job.as_ref().map(|(at, _)| *at);
        let spill = self.spill_job.as_ref().map(|(at, _)| *at);
        let others = [sink, spill].into_iter().flatten();
        others.fold(self.wake_at, Duration::min)
    }
}
