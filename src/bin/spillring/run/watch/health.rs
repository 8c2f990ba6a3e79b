//! Liveness and readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spillring::{Publisher, RawEntry, State, Stats};

use super::pulse::Pulse;
use crate::status::{age, trouble};

/// A drainer that has not reported for this long hangs: it should report once a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The health of a run.
#[derive(Debug, Clone)]
pub(super) struct RunHealth {
    publisher: Publisher<RawEntry>,
    pulse: Pulse,
    stopping: Arc<AtomicBool>,
}

impl RunHealth {
    pub(super) fn new(publisher: Publisher<RawEntry>, pulse: Pulse) -> Self {
        Self {
            publisher,
            pulse,
            stopping: Arc::default(),
        }
    }

    /// From now on the run is not ready.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        self.publisher.stats()
    }

    /// Whether the drainer makes progress. If not, only a restart helps.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub(super) fn live(&self) -> Result<(), String> {
        if self.stats().state == State::Stopped {
            return Err("the publisher has stopped".to_owned());
        }
        let silence = self.pulse.silence();
        if silence >= SILENCE_MAX {
            return Err(format!(
                "the drainer hangs: it has reported nothing for {}",
                age(silence)
            ));
        }
        Ok(())
    }

    /// Whether entries are accepted and none is about to be lost.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.live()?;
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping".to_owned());
        }
        trouble(&self.stats()).map_or(Ok(()), Err)
    }
}
