//! The only file that wires everything.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, WhenSpillUnusable};
use crate::control::Control;
use crate::drainer::{self, Parts, RingSource};
use crate::error::{ImportError, SpillError, StartError};
use crate::event::Event;
use crate::host::log;
use crate::import::import_at_start;
use crate::publisher::{Publisher, Shared};
use crate::ring::Ring;
use crate::sink::Sink;
use crate::sink_worker;
use crate::spill::{self, Begun, Spill};
use crate::stats::Stats;
use crate::sync::CachePadded;
use crate::ticket::Ticket;
use crate::worker::Worker;

/// How long a drainer that is dropped without [`shutdown`](Drainer::shutdown) is waited for.
const DROP_MAX: Duration = Duration::from_secs(1);

/// The owner of a running publisher: hands out [`Publisher`]s, and ends it.
///
/// Dropped without [`shutdown`](Self::shutdown) it closes the publisher, spills what is left without delivering it,
/// waits a second for that at the most, and complains in the log.
#[must_use = "dropping the drainer closes the publisher"]
pub struct Drainer<E: Event> {
    publisher: Publisher<E>,
    shared: Arc<Shared<E>>,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotAsked,
    Asked,
}

/// Starts a publisher for entries of type `E` that delivers to `sink`.
///
/// Three threads are started, the drainer's, the sink's and the spill's; a Tokio runtime in the host is neither needed nor used. That
/// the sink cannot be reached is no error: entries are kept until it can. Not usable across a fork.
///
/// # Errors
///
/// [`StartError::Config`] names a setting that cannot be used, [`StartError::Spill`] says why the spill directory cannot
/// be, [`StartError::Import`] why the event buffer of [`Config::import`] cannot be, whatever
/// [`when_spill_unusable`](Config::when_spill_unusable) says, and [`StartError::Thread`] that the system would not start a
/// thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use spillring::{AuditEntry, Config, JsonLinesSink};
///
/// let dir = tempfile::tempdir()?;
/// let sink = JsonLinesSink::new(dir.path().join("audit.jsonl"));
/// let drainer = spillring::start::<AuditEntry>(Config::new(dir.path().join("spill")), sink)?;
/// let stats = drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
/// assert_eq!(stats.accepted, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start<E: Event>(config: Config, sink: impl Sink) -> Result<Drainer<E>, StartError> {
    config.validate()?;
    let config = config.with_absolute_paths()?;
    let (spill, begun) = match open_spill(&config) {
        Err(StartError::Spill(error)) if may_go_without(&config, &error) => {
            log::error!(%error, "starting WITHOUT a spill: what the sink does not take stays in memory, and is lost with it");
            without_spill(&config)
        }
        opened => opened?,
    };
    let control = Arc::new(Control::default());
    let shared = Arc::new(share(&config, &control));
    let parts = Parts {
        view: spill.view(),
        runs: spill.known_runs(&begun.run),
        publisher: spill.publisher(),
        run: begun.run,
        orphans: begun.orphans,
        source: Box::new(RingSource::new(Arc::clone(&shared))),
        sink: sink_worker::start(sink, Arc::clone(&control))?,
        spill: Worker::start("spillring-spill", Arc::clone(&control), move |desk| {
            spill::serve(spill, desk);
        })?,
        config,
        control,
        now: Instant::now(),
    };
    start_drainer(drainer::Drainer::new(parts), Arc::clone(&shared))?;
    let publisher = Publisher::new(Arc::clone(&shared));
    Ok(Drainer {
        publisher,
        shared,
        ending: Ending::NotAsked,
    })
}

pub(crate) fn share<E: Event>(config: &Config, control: &Arc<Control>) -> Shared<E> {
    let bytes_max = u32::try_from(config.ring_bytes_max).unwrap_or(u32::MAX);
    Shared {
        ring: Ring::new(config.ring_capacity, bytes_max),
        control: Arc::clone(control),
        refusals: CachePadded::default(),
    }
}

fn start_drainer<E: Event>(
    drainer: drainer::Drainer,
    shared: Arc<Shared<E>>,
) -> Result<(), StartError> {
    let closing = Closing(shared);
    std::thread::Builder::new()
        .name("spillring-drain".to_owned())
        .spawn(move || {
            let _closing = closing;
            drainer.run();
        })
        .map(drop)
        .map_err(|source| StartError::Thread {
            what: "drainer's thread",
            source,
        })
}

/// Also begins a run.
fn open_spill(config: &Config) -> Result<(Spill, Begun), StartError> {
    let mut spill = Spill::open(
        &config.spill_dir,
        config.spill_bytes_max,
        config.spill_durability,
    )?;
    if let Some(buffer) = &config.import {
        import_at_start(buffer, &mut spill).map_err(|error| match error {
            ImportError::Spill(error) => StartError::Spill(error),
            error => StartError::Import(error),
        })?;
    }
    let begun = spill.begin()?;
    Ok((spill, begun))
}

fn without_spill(config: &Config) -> (Spill, Begun) {
    let (spill, run) = Spill::absent(&config.spill_dir);
    let begun = Begun {
        run,
        orphans: Vec::new(),
    };
    (spill, begun)
}

fn may_go_without(config: &Config, error: &SpillError) -> bool {
    config.when_spill_unusable == WhenSpillUnusable::StartWithout
        && !matches!(error, SpillError::InUse { .. })
}

impl<E: Event> Drainer<E> {
    /// A handle to publish through; one clone of it per thread is usual.
    #[must_use]
    pub fn publisher(&self) -> Publisher<E> {
        self.publisher.clone()
    }

    /// The counts and depths.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Closes the publisher, delivers what it holds for at most `limit`, writes the rest to the spill, and hands out a
    /// ticket for the final account. Entries that could be put nowhere, because sink and disk both failed, stand in it
    /// as `in_ring` and `in_memory`.
    ///
    /// `limit` bounds the delivery, not the end: what is spilled is spilled after it. The ticket is then kept up to about
    /// a second later, with a slow disk as much later as the writing takes. Whoever waits for no longer than `limit` and
    /// exits loses what was about to be spilled: wait longer, or `.await` the ticket, which has no limit.
    pub fn shutdown(mut self, limit: Duration) -> Ticket<Stats> {
        self.ending = Ending::Asked;
        self.shared.control.shutdown(limit)
    }
}

impl<E: Event> fmt::Debug for Drainer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drainer")
            .field("publisher", &self.publisher)
            .finish_non_exhaustive()
    }
}

impl<E: Event> Drop for Drainer<E> {
    fn drop(&mut self) {
        if self.ending == Ending::Asked {
            return;
        }
        log::warning!("the drainer is dropped without a shutdown: spilling what is left");
        let ticket = self.shared.control.shutdown(Duration::ZERO);
        if let Err(error) = ticket.wait(DROP_MAX) {
            log::error!(%error, "the dropped drainer did not come to an end");
        }
    }
}

/// Closes the ring when the drainer's thread ends, however it does: nothing pretends to publish.
struct Closing<E>(Arc<Shared<E>>);

impl<E> Drop for Closing<E> {
    fn drop(&mut self) {
        self.0.ring.close();
        self.0.control.end();
    }
}
