//! Wires everything together; the only file that does.

mod opening;
mod recovery;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control::Control;
use crate::drainer::{self, FileSource, Parts, RingSource, Source};
use crate::durable::Durable;
use crate::error::{ConfigError, StartError};
use crate::event::{Event, PublisherId, Run};
use crate::host::log;
use crate::ingress::{self, Ingress};
use crate::publisher::{Handles, Publisher, Shared};
use crate::ring::Ring;
use crate::ring_file::MappedRing;
use crate::sink::Sink;
use crate::sink_worker;
use crate::spill;
use crate::stats::Stats;
use crate::sync::CachePadded;
use crate::ticket::Ticket;
use crate::worker::Worker;
use opening::{Opened, Packing, may_go_without, open, signer, without_spill};

/// The owner of a running publisher: hands out [`Publisher`]s, and ends it.
///
/// See the example of [`start`].
///
/// Dropping it without [`shutdown`](Self::shutdown) leaves the publishers as they are. When the last of all handles is
/// dropped without a `shutdown`, the rest is spilled without being delivered; the drop waits for that at most a
/// second, and a warning is logged. A handle in a `static`, or a forgotten one, is never dropped: before the process
/// exits, call `shutdown`.
#[must_use = "without its drainer a publisher cannot be shut down"]
pub struct Drainer<E: Event> {
    publisher: Publisher<E>,
    run: Arc<Run>,
}

/// Starts a publisher for entries of type `E` that delivers to `sink`.
///
/// It starts three threads: the drainer, the sink worker and the spill worker. A Tokio runtime in the host is neither
/// needed nor used. An unreachable sink is not an error: entries are kept until it can be reached. Not usable across a
/// fork.
///
/// # Errors
///
/// [`StartError::Config`] names a setting that cannot be used, [`StartError::Spill`] explains why the spill directory
/// cannot be used, [`StartError::Import`] the same for the event buffer of [`Config::import`], whatever
/// [`when_spill_unusable`](Config::when_spill_unusable) says, and [`StartError::Thread`] means that the system failed
/// to start a thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use spillring::{AuditEntry, Config, JsonLinesSink};
///
/// # let temporary = tempfile::tempdir()?;
/// # let (dir, output) = (temporary.path().join("spill"), temporary.path().join("out"));
/// let sink = JsonLinesSink::new(output);
/// let drainer = spillring::start::<AuditEntry>(Config::new(dir), sink)?;
/// let publisher = drainer.publisher(); // clone it for each thread
/// # drop(publisher);
///
/// let stats = drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
/// assert_eq!(stats.accepted, stats.delivered);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start<E: Event>(config: Config, sink: impl Sink) -> Result<Drainer<E>, StartError> {
    if config.ring_dir.is_some() {
        return Err(StartError::Config(ConfigError {
            key: "ring_dir",
            problem:
                "needs entries that can be packed: implement `Durable`, and call `start_durable`"
                    .to_owned(),
        }));
    }
    launch(config, sink, None)
}

/// Like [`start`], for entries that can be packed: with [`Config::ring_dir`], published entries survive the death of
/// the process.
///
/// When this returns, the entries that an earlier process left in its ring are in the spill.
///
/// # Errors
///
/// Those of [`start`], and [`StartError::Ring`] if the ring cannot be kept in the directory.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use spillring::{AuditEntry, Config, JsonLinesSink};
///
/// let dir = tempfile::tempdir()?;
/// let mut config = Config::new(dir.path().join("spill"));
/// config.ring_dir = Some(dir.path().join("ring"));
/// let sink = JsonLinesSink::new(dir.path().join("audit.jsonl"));
/// let drainer = spillring::start_durable::<AuditEntry>(config, sink)?;
/// drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start_durable<E: Durable>(
    config: Config,
    sink: impl Sink,
) -> Result<Drainer<E>, StartError> {
    launch(
        config,
        sink,
        Some(Packing {
            format: E::FORMAT,
            recover: recovery::recover::<E>,
            pack: ingress::pack::<E>,
            source: |shared, ring| Box::new(FileSource::new(shared, ring)),
        }),
    )
}

fn launch<E: Event>(
    config: Config,
    sink: impl Sink,
    packing: Option<Packing<E>>,
) -> Result<Drainer<E>, StartError> {
    config.validate()?;
    let config = config.with_absolute_paths()?;
    let packing = packing.filter(|_| config.ring_dir.is_some());
    let opened = match open(&config, packing.as_ref()) {
        Err(StartError::Spill(error)) if may_go_without(&config, &error) => {
            log::error!(%error, "starting WITHOUT a spill: entries that the sink does not take stay in memory, and are lost with it");
            without_spill(&config)
        }
        opened => opened?,
    };
    run(config, sink, opened, packing)
}

/// Starts without a spill: reads and writes nothing on disk.
pub(crate) fn start_in_memory<E: Event>(
    config: Config,
    sink: impl Sink,
) -> Result<Drainer<E>, StartError> {
    let opened = without_spill(&config);
    run(config, sink, opened, None)
}

fn run<E: Event>(
    config: Config,
    sink: impl Sink,
    opened: Opened,
    packing: Option<Packing<E>>,
) -> Result<Drainer<E>, StartError> {
    let Opened {
        mut spill,
        begun,
        ring,
    } = opened;
    let control = Arc::new(Control::default());
    let ring = ring.map(|ring| spill.watch(ring));
    let signer = signer(&config, &spill)?;
    spill.sign_with(signer.as_ref());
    let (run, spill_dir) = (Arc::clone(&begun.run), config.spill_dir.clone());
    let (shared, source) = wire(&config, &control, ring, packing);
    let parts = Parts {
        view: spill.view(),
        runs: spill.known_runs(&begun.run),
        publisher: spill.publisher(),
        run: begun.run,
        orphans: begun.orphans,
        signer,
        source,
        sink: sink_worker::start(sink, Arc::clone(&control))?,
        spill: Worker::start("spillring-spill", Arc::clone(&control), move |desk| {
            spill::serve(spill, desk);
        })?,
        config,
        control,
        now: Instant::now(),
    };
    start_drainer(drainer::DrainLoop::new(parts), Arc::clone(&shared))?;
    log_start(&shared.stats(), run.publisher(), &spill_dir);
    let handles = Handles::new(&shared.control);
    let publisher = Publisher::new(shared, handles);
    Ok(Drainer { publisher, run })
}

fn log_start(stats: &Stats, publisher: PublisherId, spill_dir: &Path) {
    log::info!(
        %publisher,
        spill_dir = %spill_dir.display(),
        spill_bytes_max = stats.spill_bytes_max,
        backlog = stats.inherited,
        "the publisher has started"
    );
}

/// Shared state of publishers and drainer, and the drainer's end of it.
fn wire<E: Event>(
    config: &Config,
    control: &Arc<Control>,
    ring: Option<Arc<MappedRing>>,
    packing: Option<Packing<E>>,
) -> (Arc<Shared<E>>, Box<dyn Source>) {
    if let (Some(ring), Some(packing)) = (ring, packing) {
        let ingress = Ingress::File {
            ring: Arc::clone(&ring),
            pack: packing.pack,
        };
        let shared = Arc::new(share(ingress, control));
        return (Arc::clone(&shared), (packing.source)(shared, ring));
    }
    let shared = Arc::new(share(memory(config), control));
    let source = RingSource::new(Arc::clone(&shared));
    (shared, Box::new(source))
}

pub(crate) fn share<E: Event>(ingress: Ingress<E>, control: &Arc<Control>) -> Shared<E> {
    Shared {
        ingress,
        control: Arc::clone(control),
        refusals: CachePadded::default(),
    }
}

pub(crate) fn memory<E>(config: &Config) -> Ingress<E> {
    let bytes_max = u32::try_from(config.ring_bytes_max).unwrap_or(u32::MAX);
    Ingress::Memory(Ring::new(config.ring_capacity, bytes_max))
}

fn start_drainer<E: Event>(
    drainer: drainer::DrainLoop,
    shared: Arc<Shared<E>>,
) -> Result<(), StartError> {
    let closing = CloseOnDrop(shared);
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

impl<E: Event> Drainer<E> {
    /// A handle to publish through; one clone of it per thread is usual.
    #[must_use]
    pub fn publisher(&self) -> Publisher<E> {
        self.publisher.clone()
    }

    /// The counts and depths.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.publisher.stats()
    }

    /// The run that the start has begun, with what is known of the previous one.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Closes the publisher, delivers its entries for at most `limit`, writes the rest to the spill, and returns a
    /// ticket for the final account. Entries that neither sink nor disk took are in it as `in_ring` and `in_memory`.
    ///
    /// `limit` bounds the delivery, not the end: the rest is spilled after it. The ticket then resolves up to about a
    /// second later; with a slow disk, as much later as writing takes. A caller that waits only for `limit` and exits
    /// loses what was about to be spilled: wait longer, or `.await` the ticket, which has no limit.
    pub fn shutdown(self, limit: Duration) -> Ticket<Stats> {
        self.publisher.handles().shutdown(limit)
    }
}

impl<E: Event> fmt::Debug for Drainer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drainer")
            .field("publisher", &self.publisher)
            .finish_non_exhaustive()
    }
}

/// Closes the ring when the drainer's thread ends, however it does: `publish` then reports it as closed.
struct CloseOnDrop<E>(Arc<Shared<E>>);

impl<E> Drop for CloseOnDrop<E> {
    fn drop(&mut self) {
        self.0.ingress.close();
        self.0.control.end();
    }
}
