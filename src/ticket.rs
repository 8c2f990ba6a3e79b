//! Tickets: returned by `flush` and `shutdown`, to be awaited, or waited for without a runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::TicketError;
use crate::host;
use crate::own_thread::on_own_thread;

/// A promise of the drainer. The work is done whether or not somebody waits.
///
/// `.await` it under any runtime, or [`wait`](Ticket::wait) for it without one.
///
/// ```
/// use std::time::Duration;
/// use spillring::error::TicketError;
/// use spillring::{RawEntry, testing};
///
/// let (drainer, sink) = testing::start();
/// let publisher = drainer.publisher();
/// sink.set_away(true);
/// publisher.publish(RawEntry::new("acme.agent-7", *b"{}"));
///
/// let delivered = publisher.delivered();
/// let early = delivered.wait(Duration::from_millis(10));
/// assert_eq!(early, Err(TicketError::Elapsed)); // wait again later
///
/// sink.set_away(false);
/// delivered.wait(Duration::from_secs(10))?; // in async code: delivered.await?
/// # drainer.shutdown(Duration::ZERO).wait(Duration::from_secs(10))?;
/// # Ok::<(), TicketError>(())
/// ```
#[derive(Debug)]
#[must_use = "a ticket reports when the work is done; drop it explicitly if that does not matter"]
pub struct Ticket<T> {
    shot: Arc<OneShot<T>>,
}

/// The drainer's end of a ticket. If it is dropped, the ticket reports that the drainer has ended.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    shot: Arc<OneShot<T>>,
}

#[derive(Debug)]
struct OneShot<T> {
    state: Mutex<OneShotState<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct OneShotState<T> {
    result: Option<Result<T, TicketError>>,
    waker: Option<Waker>,
}

pub(crate) fn promise<T>() -> (Promise<T>, Ticket<T>) {
    let state = Mutex::new(OneShotState {
        result: None,
        waker: None,
    });
    let shot = Arc::new(OneShot {
        state,
        changed: Condvar::new(),
    });
    (
        Promise {
            shot: Arc::clone(&shot),
        },
        Ticket { shot },
    )
}

impl<T: Clone> Ticket<T> {
    /// Blocks the calling thread until the work is done, for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`TicketError::Elapsed`] when the limit has passed: the work goes on, and you can wait for the ticket again;
    /// [`TicketError::WouldDeadlock`] at once on spillring's own threads; [`TicketError::DrainerEnded`] if the drainer
    /// ended before.
    pub fn wait(&self, limit: Duration) -> Result<T, TicketError> {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.shot.state.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            if on_own_thread() {
                return Err(TicketError::WouldDeadlock);
            }
            match deadline {
                None => self.shot.changed.wait(&mut state),
                Some(deadline) => {
                    if self
                        .shot
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
        let state = self.shot.state.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        if on_own_thread() {
            return Poll::Ready(Err(TicketError::WouldDeadlock));
        }
        drop(state);
        self.shot.wait_with(context.waker())
    }
}

impl<T> Drop for Ticket<T> {
    /// Nobody waits any more, so the waker, which may hold a task of the host, is dropped now.
    fn drop(&mut self) {
        let waker = self.shot.state.lock().waker.take();
        host::drop_quietly(waker);
    }
}

impl<T> Promise<T> {
    pub(crate) fn keep(self, value: T) {
        self.shot.settle(Ok(value));
    }

    /// Whether the ticket is still held.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.shot) > 1
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.shot.settle(Err(TicketError::DrainerEnded));
    }
}

impl<T> OneShot<T> {
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
            host::call(|| waker.wake());
        }
    }
}

impl<T: Clone> OneShot<T> {
    /// Leaves a waker if there is no result yet. It is cloned and dropped without the lock: both are the host's code.
    /// A clone that panics does so in the host's own poll, and leaves the ticket unchanged.
    fn wait_with(&self, waker: &Waker) -> Poll<Result<T, TicketError>> {
        let waker = waker.clone();
        let mut state = self.state.lock();
        if let Some(result) = &state.result {
            let result = result.clone();
            drop(state);
            host::drop_quietly(waker);
            return Poll::Ready(result);
        }
        let before = state.waker.replace(waker);
        drop(state);
        host::drop_quietly(before);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts its calls, and then panics with a value that panics again when dropped.
    #[derive(Default)]
    struct Alarm(AtomicU64);

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any("on purpose");
        }
    }

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any(Bomb);
        }
    }

    fn poll(ticket: &mut Ticket<u8>, alarm: &Arc<Alarm>) -> Poll<Result<u8, TicketError>> {
        let waker = Waker::from(Arc::clone(alarm));
        Pin::new(ticket).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_waker_that_panics_keeps_no_promise_from_being_kept() {
        let alarm = Arc::new(Alarm::default());
        let (promise, mut ticket) = promise();
        assert!(poll(&mut ticket, &alarm).is_pending());
        promise.keep(7);
        assert_eq!(alarm.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut ticket, &alarm), Poll::Ready(Ok(7)));
    }

    #[test]
    fn a_dropped_ticket_keeps_no_waker_and_wants_nothing() {
        let alarm = Arc::new(Alarm::default());
        let (promise, mut ticket) = promise::<u8>();
        assert!(poll(&mut ticket, &alarm).is_pending());
        assert!(promise.is_wanted());
        assert_eq!(Arc::strong_count(&alarm), 2);
        drop(ticket);
        assert_eq!(Arc::strong_count(&alarm), 1);
        assert!(!promise.is_wanted());
        drop(promise);
        assert_eq!(alarm.0.load(Ordering::Relaxed), 0);
    }
}
