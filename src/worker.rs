//! A worker thread: it takes one order at a time, and answers each with one outcome.
//!
//! ```text
//! drainer                      desk                       worker
//!   send(order)  ───────────▶  order    ───────────▶  next() / next_async()
//!   collect()    ◀───────────  outcome  ◀───────────  put(outcome)
//! ```
//!
//! Neither side ever waits for the other while it holds the desk: the drainer polls, and an outcome wakes it. Only
//! [`Worker::stop`] waits, with a limit: a worker that hangs is left running.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::control::Control;
use crate::error::StartError;
use crate::host;
use crate::host::log;
use crate::own_thread::mark_own_thread;

/// The drainer's end.
#[derive(Debug)]
pub(crate) struct Worker<O, R> {
    desk: Arc<Desk<O, R>>,
    thread: Option<JoinHandle<()>>,
}

/// The place for orders and outcomes.
#[derive(Debug)]
pub(crate) struct Desk<O, R> {
    state: Mutex<DeskState<O, R>>,
    changed: Condvar,
    ordered: Notify,
    control: Arc<Control>,
}

/// How long the drop of a worker waits for its thread.
const DROP_WAIT_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct DeskState<O, R> {
    order: Option<O>,
    outcome: Option<R>,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Working,
    /// It must end: no more orders will come.
    Dismissed,
    Ended,
}

/// The answer of a worker.
#[derive(Debug)]
pub(crate) enum Collected<R> {
    Nothing,
    Outcome(R),
    /// The thread has ended without an outcome, and there will be none.
    Gone,
}

impl<O: Send + 'static, R: Send + 'static> Worker<O, R> {
    /// Starts a thread named `name` that runs `work`.
    pub(crate) fn start(
        name: &'static str,
        control: Arc<Control>,
        work: impl FnOnce(&Desk<O, R>) + Send + 'static,
    ) -> Result<Self, StartError> {
        let desk = Arc::new(Desk::new(control));
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                mark_own_thread();
                let ending = Ending(&theirs);
                if host::call(|| work(&theirs)).is_none() {
                    log::error!(thread = name, "a worker thread panicked");
                }
                drop(ending);
            })
            .map_err(|source| StartError::Thread { what: name, source })?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// A worker without a thread: the test takes the orders from the desk.
    #[cfg(test)]
    pub(crate) fn inline(control: Arc<Control>) -> (Self, Arc<Desk<O, R>>) {
        let desk = Arc::new(Desk::new(control));
        let worker = Self {
            desk: Arc::clone(&desk),
            thread: None,
        };
        (worker, desk)
    }

    /// Hands over an order. The previous outcome must have been collected.
    pub(crate) fn send(&self, order: O) {
        let mut state = self.desk.state.lock();
        debug_assert!(state.order.is_none(), "one order at a time");
        state.order = Some(order);
        drop(state);
        self.desk.changed.notify_all();
        self.desk.ordered.notify_one();
    }

    /// What has come back since the order was sent.
    pub(crate) fn collect(&self) -> Collected<R> {
        let mut state = self.desk.state.lock();
        match state.outcome.take() {
            Some(outcome) => Collected::Outcome(outcome),
            None if state.life == Life::Ended => Collected::Gone,
            None => Collected::Nothing,
        }
    }
}

impl<O, R> Worker<O, R> {
    /// Asks the worker to end, and waits at most `limit`. Returns whether it has ended.
    pub(crate) fn stop(&mut self, limit: Duration) -> bool {
        let Some(thread) = self.thread.take() else {
            return true;
        };
        let deadline = Instant::now() + limit;
        let mut state = self.desk.state.lock();
        if state.life == Life::Working {
            state.life = Life::Dismissed;
        }
        self.desk.changed.notify_all();
        self.desk.ordered.notify_one();
        while state.life != Life::Ended {
            if self
                .desk
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return false;
            }
        }
        drop(state);
        host::drop_quietly(thread.join());
        true
    }
}

/// A start that fails half-way leaves no thread running.
impl<O, R> Drop for Worker<O, R> {
    fn drop(&mut self) {
        self.stop(DROP_WAIT_MAX);
    }
}

impl<O, R> Desk<O, R> {
    fn new(control: Arc<Control>) -> Self {
        Self {
            state: Mutex::new(DeskState {
                order: None,
                outcome: None,
                life: Life::Working,
            }),
            changed: Condvar::new(),
            ordered: Notify::new(),
            control,
        }
    }

    /// The next order; `None` if the worker must end. Blocks.
    pub(crate) fn next(&self) -> Option<O> {
        let mut state = self.state.lock();
        loop {
            if let Some(order) = state.order.take() {
                return Some(order);
            }
            if state.life != Life::Working {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// The same for an async worker.
    pub(crate) async fn next_async(&self) -> Option<O> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(order) = state.order.take() {
                    return Some(order);
                }
                if state.life != Life::Working {
                    return None;
                }
            }
            self.ordered.notified().await;
        }
    }

    /// An order, if there is one.
    #[cfg(test)]
    pub(crate) fn try_next(&self) -> Option<O> {
        self.state.lock().order.take()
    }

    /// The worker has ended without an outcome.
    #[cfg(test)]
    pub(crate) fn end(&self) {
        drop(Ending(self));
    }

    /// Waits until the worker must end.
    pub(crate) async fn dismissed(&self) {
        while self.state.lock().life == Life::Working {
            self.ordered.notified().await;
        }
    }

    /// Leaves the outcome of the order, and wakes the drainer.
    pub(crate) fn put(&self, outcome: R) {
        self.state.lock().outcome = Some(outcome);
        self.control.wake();
    }
}

/// Marks the thread as ended, however it ends.
struct Ending<'a, O, R>(&'a Desk<O, R>);

impl<O, R> Drop for Ending<'_, O, R> {
    fn drop(&mut self) {
        self.0.state.lock().life = Life::Ended;
        self.0.changed.notify_all();
        self.0.control.wake();
    }
}
