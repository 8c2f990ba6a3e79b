//! SIGINT and SIGTERM: the first one asks for an end, the second one is not caught.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::telling::Problem;

/// Whether an end was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    /// When that was first noticed.
    since: Arc<OnceLock<Instant>>,
}

impl Signals {
    pub(crate) fn catch() -> Result<Self, Problem> {
        let asked = Arc::new(AtomicBool::new(false));
        catch(&asked).map_err(|error| {
            Problem::new(format_args!("SIGINT and SIGTERM cannot be caught: {error}"))
        })?;
        Ok(Self {
            asked,
            since: Arc::default(),
        })
    }

    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// What is left of `limit` since an end was asked for, if it was.
    pub(crate) fn left(&self, limit: Duration) -> Option<Duration> {
        self.asked().then(|| {
            let since = self.since.get_or_init(Instant::now);
            limit.saturating_sub(since.elapsed())
        })
    }
}

/// The order matters: the one that ends the process must find the flag as the signal before has left it.
fn catch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}
