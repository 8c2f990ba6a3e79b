//! The handles of a running publisher: its drainer and its publishers. Dropping the last one ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::control::Control;
use crate::host::log;
use crate::own_thread::on_own_thread;
use crate::stats::Stats;
use crate::ticket::Ticket;

/// How long a drop waits for the end of a publisher that nobody has shut down.
const DROP_MAX: Duration = Duration::from_secs(1);

/// Shared by all handles, so that none of them ends the others.
#[derive(Debug)]
pub(crate) struct Handles {
    control: Arc<Control>,
    /// Whether a shutdown was asked for.
    ending: AtomicBool,
}

impl Handles {
    pub(crate) fn new(control: &Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            control: Arc::clone(control),
            ending: AtomicBool::new(false),
        })
    }

    /// For a drainer that a test drives itself: dropping them ends nothing.
    #[cfg(test)]
    pub(crate) fn of_a_test(control: &Arc<Control>) -> Arc<Self> {
        let handles = Self::new(control);
        handles.ending.store(true, Ordering::Relaxed);
        handles
    }

    pub(crate) fn shutdown(&self, limit: Duration) -> Ticket<Stats> {
        self.ending.store(true, Ordering::Relaxed);
        self.control.shutdown(limit)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        if *self.ending.get_mut() {
            return;
        }
        log::warning!("the last handle was dropped without a shutdown: spilling the rest");
        let ticket = self.control.shutdown(Duration::ZERO);
        if on_own_thread() {
            return;
        }
        if let Err(error) = ticket.wait(DROP_MAX) {
            log::error!(%error, "the publisher did not end");
        }
    }
}
