//! A publisher that runs, the end of it, and the end of all of them.
//!
//! A child after a fork has none of its parent's threads: who waited for them would hang. [`FORKS`] keeps the two
//! apart. Python counts there in each child, while that has one thread only, and what was started under another count
//! is left alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use spillring::error::TicketError;
use spillring::{Drainer, RawEntry, Sink, Stats, Ticket};

use crate::errors::{self, ForkedError};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What the end of the interpreter must close. Only locked with the GIL, so that no fork finds it locked.
static ALL: Mutex<Vec<Weak<Running>>> = Mutex::new(Vec::new());

/// How long after its limit a shutdown is waited for: it spills what it has not delivered.
const SPILLING_MAX: Duration = Duration::from_secs(5);

/// How often a wait looks whether Python has a signal to handle.
const SIGNALS_EVERY: Duration = Duration::from_millis(100);

/// A publisher, from its start on.
#[derive(Debug)]
pub(crate) struct Running {
    publisher: spillring::Publisher<RawEntry>,
    ring: Ring,
    /// None once a shutdown was asked for.
    drainer: Mutex<Option<Drainer<RawEntry>>>,
    account: OnceLock<Ticket<Stats>>,
    pid: u32,
    forks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ring {
    Memory,
    File,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(
        config: spillring::Config,
        sink: Box<dyn Sink>,
    ) -> Result<Arc<Self>, spillring::error::StartError> {
        let ring = match config.ring_dir {
            Some(_) => Ring::File,
            None => Ring::Memory,
        };
        let drainer = spillring::start_durable::<RawEntry>(config, sink)?;
        Ok(Arc::new(Self {
            publisher: drainer.publisher(),
            ring,
            drainer: Mutex::new(Some(drainer)),
            account: OnceLock::new(),
            pid: std::process::id(),
            forks: FORKS.load(Ordering::Relaxed),
        }))
    }

    /// Has it closed at the end of the interpreter.
    pub(crate) fn register(self: &Arc<Self>, _with_gil: Python<'_>) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(self));
    }

    /// Whether this process started it.
    pub(crate) fn is_ours(&self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// The handle, in the process that started it.
    pub(crate) fn publisher(&self) -> PyResult<&spillring::Publisher<RawEntry>> {
        if self.is_ours() {
            return Ok(&self.publisher);
        }
        Err(ForkedError::new_err(format!(
            "this publisher runs in process {}, of which this one is a fork: fork first, and then make a Publisher in each \
             process, with a spill_dir of its own",
            self.pid
        )))
    }

    /// Never waits. If there is no room, the entry is dropped and counted.
    pub(crate) fn publish(&self, subject: &str, bytes: &[u8]) -> PyResult<()> {
        let publisher = self.publisher()?;
        match self.ring {
            Ring::Memory => publisher.publish(RawEntry::new(subject, bytes)),
            Ring::File => publisher.publish_packed(&(subject, bytes)),
        }
        Ok(())
    }

    /// Whether nobody has asked for its end.
    pub(crate) fn is_open(&self) -> bool {
        self.account.get().is_none()
    }

    /// Asks for the end, once; the limit of the first call counts.
    pub(crate) fn end(&self, limit: Duration) -> &Ticket<Stats> {
        let mut drainer = self.drainer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drainer) = drainer.take() {
            self.account.get_or_init(|| drainer.shutdown(limit));
        }
        drop(drainer);
        self.account.wait()
    }

    /// The same, and waits for it.
    pub(crate) fn close(&self, py: Python<'_>, limit: Duration) -> PyResult<Stats> {
        self.publisher()?;
        let ticket = py.detach(|| self.end(limit));
        wait(py, ticket, limit.saturating_add(SPILLING_MAX))
    }
}

/// Waits without the GIL, and lets Python handle signals meanwhile.
pub(crate) fn wait<T: Clone + Send>(
    py: Python<'_>,
    ticket: &Ticket<T>,
    limit: Duration,
) -> PyResult<T> {
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match py.detach(|| ticket.wait(left.min(SIGNALS_EVERY))) {
            Err(TicketError::Elapsed) if left > SIGNALS_EVERY => py.check_signals()?,
            result => return result.map_err(errors::ticket),
        }
    }
}

/// Closes every publisher of this process, all at once. Returns how many did not come to their end in time.
#[pyfunction]
pub(crate) fn _close_all(py: Python<'_>, seconds: f64) -> PyResult<usize> {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let ours = all_of_ours();
    let deadline = Instant::now() + limit + SPILLING_MAX;
    py.detach(|| {
        let tickets: Vec<_> = ours.iter().map(|running| running.end(limit)).collect();
        let left = || deadline.saturating_duration_since(Instant::now());
        Ok(tickets
            .iter()
            .filter(|ticket| ticket.wait(left()).is_err())
            .count())
    })
}

fn all_of_ours() -> Vec<Arc<Running>> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let running = all.iter().filter_map(Weak::upgrade);
    running.filter(|running| running.is_ours()).collect()
}

/// Called by Python in each child.
#[pyfunction]
pub(crate) fn _count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
