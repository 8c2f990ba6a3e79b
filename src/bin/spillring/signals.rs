//! SIGINT, SIGTERM and SIGHUP: the first one requests a shutdown, the second one ends the process. A SIGHUP that the
//! parent process ignores, as `nohup` does, stays ignored.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::console::Problem;

/// Whether a signal has requested a shutdown.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    /// When the request was first noticed.
    since: Arc<OnceLock<Instant>>,
}

impl Signals {
    pub(crate) fn catch() -> Result<Self, Problem> {
        let asked = Arc::new(AtomicBool::new(false));
        catch(&asked).map_err(|error| {
            Problem::new(format_args!(
                "SIGINT, SIGTERM and SIGHUP cannot be caught: {error}"
            ))
        })?;
        Ok(Self {
            asked,
            since: Arc::default(),
        })
    }

    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The rest of `limit` since the shutdown was requested, if it was.
    pub(crate) fn left(&self, limit: Duration) -> Option<Duration> {
        self.asked().then(|| {
            let since = self.since.get_or_init(Instant::now);
            limit.saturating_sub(since.elapsed())
        })
    }
}

/// The order matters: the handler that ends the process must run before the one that sets the flag.
fn catch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        flag::register_conditional_default(signal, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// Whether the parent process set the signal to be ignored. False if the system does not report it.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
