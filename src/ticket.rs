//! Tickets: what `flush` and `shutdown` hand out, to be awaited, or waited for without a runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::control::on_own_thread;
use crate::error::TicketError;

/// A promise of the drainer. It is kept whether or not somebody waits.
///
/// `.await` it under any runtime, or [`wait`](Ticket::wait) for it without one.
#[derive(Debug)]
#[must_use = "a ticket tells when the work is done; drop it explicitly if that does not matter"]
pub struct Ticket<T> {
    cell: Arc<Cell<T>>,
}

/// The drainer's end of a ticket. Dropped unkept, it tells the ticket that the drainer has ended.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    cell: Arc<Cell<T>>,
}

#[derive(Debug)]
struct Cell<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    result: Option<Result<T, TicketError>>,
    waker: Option<Waker>,
}

pub(crate) fn promise<T>() -> (Promise<T>, Ticket<T>) {
    let state = Mutex::new(State {
        result: None,
        waker: None,
    });
    let cell = Arc::new(Cell {
        state,
        changed: Condvar::new(),
    });
    (
        Promise {
            cell: Arc::clone(&cell),
        },
        Ticket { cell },
    )
}

impl<T: Clone> Ticket<T> {
    /// Blocks the calling thread until the work is done, for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`TicketError::Elapsed`] when the limit has passed: the work goes on, and the ticket can be waited for again;
    /// [`TicketError::WouldDeadlock`] at once on spillring's own threads; [`TicketError::DrainerEnded`] if the drainer
    /// ended before.
    pub fn wait(&self, limit: Duration) -> Result<T, TicketError> {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.cell.state.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            if on_own_thread() {
                return Err(TicketError::WouldDeadlock);
            }
            match deadline {
                None => self.cell.changed.wait(&mut state),
                Some(deadline) => {
                    if self
                        .cell
                        .changed
                        .wait_until(&mut state, deadline)
                        .timed_out()
                        && state.result.is_none()
                    {
                        return Err(TicketError::Elapsed);
                    }
                }
            }
        }
    }
}

impl<T: Clone> Future for Ticket<T> {
    type Output = Result<T, TicketError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.cell.state.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        if on_own_thread() {
            return Poll::Ready(Err(TicketError::WouldDeadlock));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Promise<T> {
    pub(crate) fn keep(self, value: T) {
        self.cell.settle(Ok(value));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.cell.settle(Err(TicketError::DrainerEnded));
    }
}

impl<T> Cell<T> {
    /// The first result stays.
    fn settle(&self, result: Result<T, TicketError>) {
        let mut state = self.state.lock();
        if state.result.is_some() {
            return;
        }
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
