//! The sink's thread: takes one order at a time, and returns its outcome.
//!
//! The sink lives here, on a current-thread runtime of its own, so that a slow disk of the drainer never keeps it from
//! answering pings, and a hung sink never keeps the drainer from watching the ring.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use crate::control::{Control, mark_own_thread};
use crate::error::{SinkError, StartError};
use crate::event::{Batch, Position, PublisherId};
use crate::sink::{Delivery, Sink};

/// How much longer than its limit a call of the sink may take before it is dropped.
const GRACE: Duration = Duration::from_secs(1);

/// What the sink is asked to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// To say how far it has come.
    Position(PublisherId, Duration),
    /// To store these records. The drainer keeps a share, to spill them meanwhile if need be.
    Deliver(Arc<Batch>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// How far the sink has come.
    Position(Result<Option<Position>, SinkError>),
    /// How much of the batch is stored.
    Delivered(Delivery),
}

/// The drainer's end of the sink's thread.
#[derive(Debug)]
pub(crate) struct Courier {
    orders: Option<mpsc::Sender<Order>>,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where outcomes are left.
#[derive(Debug)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
    control: Arc<Control>,
}

#[derive(Debug, Default)]
struct DeskState {
    outcome: Option<Outcome>,
    ended: bool,
}

impl Courier {
    /// Starts the thread, and on it the runtime. The sink is not called yet.
    pub(crate) fn start(sink: impl Sink, control: Arc<Control>) -> Result<Self, StartError> {
        let fail = |source| StartError::Thread {
            what: "thread of the sink",
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fail)?;
        let (orders, inbox) = mpsc::channel(1);
        let desk = Arc::new(Desk {
            state: Mutex::default(),
            changed: Condvar::new(),
            control,
        });
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("spillring-sink".to_owned())
            .spawn(move || {
                mark_own_thread();
                let leaving = Leaving(&theirs);
                let serving = AssertUnwindSafe(|| runtime.block_on(serve(sink, inbox, &theirs)));
                if catch_unwind(serving).is_err() {
                    tracing::error!(target: "spillring", "the sink panicked when it was dropped");
                }
                // What blocks in its pool, such as the lookup of a name, is left behind.
                runtime.shutdown_background();
                drop(leaving);
            })
            .map_err(fail)?;
        Ok(Self {
            orders: Some(orders),
            desk,
            thread: Some(thread),
        })
    }

    /// Hands over an order. There is never more than one: the drainer sends the next only after an outcome.
    pub(crate) fn send(&self, order: Order) {
        let sent = self
            .orders
            .as_ref()
            .is_some_and(|orders| orders.try_send(order).is_ok());
        if !sent {
            let gone = SinkError::Unavailable("the sink's thread has ended".to_owned());
            self.desk
                .put(Outcome::Delivered(Delivery::stopped(0, gone)));
        }
    }

    /// The outcome of the order, if it is there.
    pub(crate) fn collect(&self) -> Option<Outcome> {
        let mut state = self.desk.state.lock();
        let outcome = state.outcome.take();
        if outcome.is_none() && state.ended {
            let gone = SinkError::Unavailable("the sink's thread has ended".to_owned());
            return Some(Outcome::Delivered(Delivery::stopped(0, gone)));
        }
        outcome
    }

    /// Drops the call under way and the sink with it, and waits for that, but not longer than `limit`: a sink that
    /// blocks its thread is left behind.
    pub(crate) fn stop(&mut self, limit: Duration) {
        self.orders = None;
        let deadline = Instant::now() + limit;
        let mut state = self.desk.state.lock();
        while !state.ended {
            if self
                .desk
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                break;
            }
        }
        let ended = state.ended;
        drop(state);
        match self.thread.take() {
            Some(thread) if ended => drop(thread.join()),
            _ => {
                tracing::warn!(target: "spillring", "the sink does not stop; its thread is left behind");
            }
        }
    }
}

impl Desk {
    fn put(&self, outcome: Outcome) {
        self.state.lock().outcome = Some(outcome);
        self.control.wake();
    }
}

/// Says that the thread has ended, however it did.
struct Leaving<'a>(&'a Desk);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
        self.0.control.wake();
    }
}

async fn serve(mut sink: impl Sink, mut inbox: mpsc::Receiver<Order>, desk: &Desk) {
    while let Some(order) = inbox.recv().await {
        let call = AssertUnwindSafe(carry_out(&mut sink, &order)).catch_unwind();
        // The next order comes only after this one's outcome: what arrives meanwhile is the end.
        let outcome = match select(Box::pin(call), Box::pin(inbox.recv())).await {
            Either::Left((Ok(outcome), _)) => outcome,
            Either::Left((Err(_panic), _)) => unknown(&order, "the sink panicked"),
            Either::Right(_) => return,
        };
        drop(order);
        desk.put(outcome);
    }
}

async fn carry_out(sink: &mut impl Sink, order: &Order) -> Outcome {
    let limit = match order {
        Order::Position(_, limit) => *limit,
        Order::Deliver(batch) => batch.limit(),
    };
    let call = async {
        match order {
            Order::Position(publisher, _) => Outcome::Position(sink.position(publisher).await),
            Order::Deliver(batch) => Outcome::Delivered(sink.deliver(batch).await),
        }
    };
    tokio::time::timeout(limit + GRACE, call)
        .await
        .unwrap_or_else(|_elapsed| unknown(order, "the sink did not answer in time"))
}

fn unknown(order: &Order, why: &str) -> Outcome {
    let error = SinkError::Unknown(why.to_owned());
    match order {
        Order::Position(..) => Outcome::Position(Err(error)),
        Order::Deliver(_) => Outcome::Delivered(Delivery::stopped(0, error)),
    }
}
