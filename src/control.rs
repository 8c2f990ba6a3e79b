//! Shared between the drainer and other threads, besides the ring: requests, the last stats, and the means to wake the
//! drainer.

use std::sync::OnceLock;
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::own_thread::mark_own_thread;
use crate::stats::{State, Stats};
use crate::ticket::{Promise, Ticket, promise};

/// From this many requests on, flushes that nobody waits for are dropped before one more is accepted.
const WAITING_MAX: usize = 1_024;

/// The drainer's mailbox.
#[derive(Debug, Default)]
pub(crate) struct Control {
    requests: Mutex<Inbox>,
    stats: Mutex<Stats>,
    drainer: OnceLock<Thread>,
}

/// A request to the drainer.
#[derive(Debug)]
pub(crate) enum Request {
    /// Settle the promise once everything published before has come this far.
    Flush(Until, Promise<()>),
    /// Close, deliver for at most this long, spill the rest, account.
    Shutdown(Duration, Promise<Stats>),
}

/// How far entries must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Acknowledged by the sink, or on disk.
    Safe,
    /// Acknowledged by the sink, or known never to be delivered.
    Delivered,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Vec<Request>,
    /// How many were wanted when unwanted ones were last searched for.
    wanted: usize,
    ended: bool,
}

impl Inbox {
    /// Accepts the request. Keeps at most [`WAITING_MAX`] unwanted ones, or as many as wanted ones.
    fn add(&mut self, request: Request) {
        if self.waiting.len() >= (2 * self.wanted).max(WAITING_MAX) {
            self.waiting.retain(Request::is_wanted);
            self.wanted = self.waiting.len();
        }
        self.waiting.push(request);
    }
}

impl Request {
    /// A shutdown is wanted even if nobody waits for its account.
    fn is_wanted(&self) -> bool {
        match self {
            Self::Flush(_, promise) => promise.is_wanted(),
            Self::Shutdown(..) => true,
        }
    }
}

impl Control {
    pub(crate) fn flush(&self, until: Until) -> Ticket<()> {
        let (promise, ticket) = promise();
        self.ask(Request::Flush(until, promise));
        ticket
    }

    pub(crate) fn shutdown(&self, limit: Duration) -> Ticket<Stats> {
        let (promise, ticket) = promise();
        self.ask(Request::Shutdown(limit, promise));
        ticket
    }

    /// A request after the end is dropped, which its ticket reports.
    fn ask(&self, request: Request) {
        let mut inbox = self.requests.lock();
        if !inbox.ended {
            inbox.add(request);
            drop(inbox);
            self.wake();
        }
    }

    /// Interrupts the drainer's wait, or prevents its next one.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.drainer.get() {
            thread.unpark();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.lock().clone()
    }

    /// Called once, by the drainer, first thing on its thread.
    pub(crate) fn attach(&self) {
        mark_own_thread();
        // Only the drainer's thread attaches, and only once: nothing is overwritten.
        drop(self.drainer.set(std::thread::current()));
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        let mut inbox = self.requests.lock();
        inbox.wanted = 0;
        std::mem::take(&mut inbox.waiting)
    }

    pub(crate) fn report(&self, stats: Stats) {
        *self.stats.lock() = stats;
    }

    /// No request is accepted from now on; pending ones learn that the drainer has ended.
    pub(crate) fn end(&self) {
        self.stats.lock().state = State::Stopped;
        let mut inbox = self.requests.lock();
        inbox.ended = true;
        let unkept = std::mem::take(&mut inbox.waiting);
        drop(inbox);
        // Dropping them wakes tasks of the host, which may send requests at once.
        drop(unkept);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;
    use crate::error::TicketError;

    #[test]
    fn flushes_that_nobody_waits_for_do_not_pile_up() {
        let control = Control::default();
        let wanted: Vec<_> = (0..10).map(|_| control.flush(Until::Safe)).collect();
        drop(control.shutdown(Duration::ZERO));
        for _ in 0..100_000 {
            drop(control.flush(Until::Safe));
        }
        let requests = control.take_requests();
        assert!(requests.len() <= WAITING_MAX, "{}", requests.len());
        let kept = requests.iter().filter(|request| request.is_wanted());
        assert_eq!(kept.count(), wanted.len() + 1);
    }

    /// Any number may wait, and each is checked at most a few times.
    #[test]
    fn flushes_that_somebody_waits_for_all_stay() {
        let control = Control::default();
        let wanted: Vec<_> = (0..10 * WAITING_MAX)
            .map(|_| control.flush(Until::Safe))
            .collect();
        assert_eq!(control.take_requests().len(), wanted.len());
    }

    /// It would wait for itself.
    #[test]
    fn the_drainers_own_thread_waits_for_no_ticket() {
        let control = Control::default();
        let waited = |ticket: Ticket<()>| ticket.wait(Duration::ZERO);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(
                    waited(control.flush(Until::Safe)),
                    Err(TicketError::Elapsed)
                );
                control.attach();
                assert_eq!(
                    waited(control.flush(Until::Safe)),
                    Err(TicketError::WouldDeadlock)
                );
            });
        });
    }

    /// Sends another request as soon as it is woken.
    struct Again(Arc<Control>);

    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            drop(self.0.flush(Until::Safe));
        }
    }

    #[test]
    fn a_task_that_learns_of_the_end_may_ask_again_at_once() {
        let control = Arc::new(Control::default());
        let mut ticket = control.flush(Until::Safe);
        let waker = Waker::from(Arc::new(Again(Arc::clone(&control))));
        let polled = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        // If that deadlocked, the promise would be dropped and the thread never end.
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            control.end();
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
