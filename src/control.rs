//! What other threads share with the drainer beside the ring: requests, its last stats, and how to wake it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::stats::{State, Stats};
use crate::ticket::{Promise, Ticket, promise};

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one of spillring's own, which must not wait for the drainer.
pub(crate) fn mark_own_thread() {
    OWN_THREAD.set(true);
}

/// Whether the calling thread is one of spillring's own.
pub(crate) fn on_own_thread() -> bool {
    OWN_THREAD.get()
}

/// The drainer's letterbox.
#[derive(Debug, Default)]
pub(crate) struct Control {
    requests: Mutex<Inbox>,
    stats: Mutex<Stats>,
    drainer: OnceLock<Thread>,
}

/// What somebody asks of the drainer.
#[derive(Debug)]
pub(crate) enum Request {
    /// All that was published before is to be acknowledged or on disk.
    Flush(Promise<()>),
    /// Close, deliver for so long at the most, spill the rest, account.
    Shutdown(Duration, Promise<Stats>),
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Vec<Request>,
    ended: bool,
}

impl Control {
    pub(crate) fn flush(&self) -> Ticket<()> {
        let (promise, ticket) = promise();
        self.ask(Request::Flush(promise));
        ticket
    }

    pub(crate) fn shutdown(&self, limit: Duration) -> Ticket<Stats> {
        let (promise, ticket) = promise();
        self.ask(Request::Shutdown(limit, promise));
        ticket
    }

    /// A request that comes after the end is dropped, which tells its ticket so.
    fn ask(&self, request: Request) {
        let mut inbox = self.requests.lock();
        if !inbox.ended {
            inbox.waiting.push(request);
            drop(inbox);
            self.wake();
        }
    }

    /// Interrupts the drainer's wait, or keeps its next one from beginning.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.drainer.get() {
            thread.unpark();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.lock().clone()
    }

    /// Called once, by the drainer, as the first thing on its thread.
    pub(crate) fn attach(&self) {
        mark_own_thread();
        // Only the drainer's thread attaches, once: there is nothing to lose.
        drop(self.drainer.set(std::thread::current()));
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().waiting)
    }

    pub(crate) fn tell(&self, stats: Stats) {
        *self.stats.lock() = stats;
    }

    /// No request is taken from now on; those that wait learn that the drainer has ended.
    pub(crate) fn end(&self) {
        self.stats.lock().state = State::Stopped;
        let mut inbox = self.requests.lock();
        inbox.ended = true;
        inbox.waiting.clear();
    }
}
