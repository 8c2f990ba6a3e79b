//! Notifies a service manager through `NOTIFY_SOCKET`, see `sd_notify(3)`.

use std::env;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::HumanCount;
use sd_notify::NotifyState;

use super::health::RunHealth;
use crate::console::{Problem, errln};
use crate::status::meaning;

/// Time between two updates for `systemctl status`.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Notifies until it is dropped, on a thread of its own, because the socket may block.
#[derive(Debug)]
pub(super) struct Service {
    notices: Option<Sender<NotifyState<'static>>>,
    thread: Option<JoinHandle<()>>,
}

/// Whether there is a service manager.
pub(super) fn is_there() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

impl Service {
    /// Reports readiness, then the status, and to a watchdog that the drainer makes progress.
    pub(super) fn start(health: RunHealth) -> Result<Option<Self>, Problem> {
        if !is_there() {
            return Ok(None);
        }
        let (notices, received) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("spillring-notify".to_owned())
            .spawn(move || notify(&health, &received))
            .map_err(|error| {
                Problem::new(format_args!("cannot start a thread that notifies: {error}"))
            })?;
        Ok(Some(Self {
            notices: Some(notices),
            thread: Some(thread),
        }))
    }

    pub(super) fn stopping(&self) {
        if let Some(notices) = &self.notices {
            // The thread is gone if this fails.
            notices.send(NotifyState::Stopping).unwrap_or_default();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.notices.take());
        // A panic of the thread is ignored.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn notify(health: &RunHealth, notices: &Receiver<NotifyState<'static>>) {
    let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let every = watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / 2));
    let mut notice = Some(NotifyState::Ready);
    let mut failed = false;
    loop {
        let live = health.live();
        let alive = watchdog.filter(|_| live.is_ok());
        let status = status(health, live.err());
        let message = [
            Some(NotifyState::Status(&status)),
            alive.map(|_| NotifyState::Watchdog),
            notice.clone(),
        ];
        let message: Vec<_> = message.into_iter().flatten().collect();
        // A manager may be restarting: try again later.
        match sd_notify::notify(&message) {
            Ok(()) => notice = None,
            Err(error) if !failed => {
                errln!("the service manager cannot be notified, retrying: {error}");
                failed = true;
            }
            Err(_) => {}
        }
        match notices.recv_timeout(every) {
            Ok(next) => notice = Some(next),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One line, for example `live, entries go to the sink; 2,000 delivered, 0 waiting`.
fn status(health: &RunHealth, trouble: Option<String>) -> String {
    let stats = health.stats();
    let about = trouble.unwrap_or_else(|| meaning(&stats));
    format!(
        "{about}; {} delivered, {} waiting",
        HumanCount(stats.delivered),
        HumanCount(stats.in_ring + stats.in_memory + stats.spilled)
    )
}
