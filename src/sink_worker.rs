//! The sink worker: carries out one order at a time on its own current-thread runtime.
//!
//! A call of the sink is dropped when its limit has passed, or when the thread must end. A call that panics has an
//! unknown outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};

use crate::control::Control;
use crate::error::{SinkError, StartError};
use crate::event::{Batch, Position, PublisherId};
use crate::host;
use crate::own_thread::mark_own_thread;
use crate::seal::Signer;
use crate::sink::{Delivery, Sink, runtime};
use crate::worker::{Desk, Worker};

/// How much longer than its limit a call of the sink may take before it is dropped.
const GRACE: Duration = Duration::from_secs(1);

/// The drainer's end of the sink's thread.
pub(crate) type SinkWorker = Worker<SinkOrder, SinkOutcome>;

type SinkDesk = Desk<SinkOrder, SinkOutcome>;

/// An order to the sink.
#[derive(Debug)]
pub(crate) enum SinkOrder {
    /// Report how far it has come.
    Ask(PublisherId, Duration),
    /// Store these records. The drainer shares them, to spill them meanwhile if necessary.
    Deliver(Arc<Batch>),
    /// Sign the newest checkpoint again.
    Renew(PublisherId, Arc<Signer>, Duration),
}

/// The outcome of an order.
#[derive(Debug)]
pub(crate) enum SinkOutcome {
    /// How far the sink has come.
    Answered(Result<Option<Position>, SinkError>),
    /// How much of the batch is stored.
    Delivered(Delivery),
    /// Whether it has signed again.
    Renewed(Result<(), SinkError>),
}

/// Starts the thread and its runtime. Does not call the sink yet.
pub(crate) fn start(sink: impl Sink, control: Arc<Control>) -> Result<SinkWorker, StartError> {
    let runtime = runtime(mark_own_thread).map_err(|source| StartError::Thread {
        what: "runtime of the sink",
        source,
    })?;
    Worker::start("spillring-sink", control, move |desk| {
        runtime.block_on(serve(sink, desk));
        // Blocking work in the runtime's pool, such as a name lookup, is left running.
        runtime.shutdown_background();
    })
}

async fn serve(mut sink: impl Sink, desk: &SinkDesk) {
    while let Some(order) = desk.next_async().await {
        let call = AssertUnwindSafe(carry_out(&mut sink, &order)).catch_unwind();
        let outcome = match select(Box::pin(call), Box::pin(desk.dismissed())).await {
            Either::Left((Ok(outcome), _)) => outcome,
            Either::Left((Err(payload), _)) => {
                host::drop_quietly(payload);
                unknown(&order, "the sink panicked")
            }
            Either::Right(_) => break,
        };
        drop(order);
        desk.put(outcome);
    }
    host::drop_quietly(sink);
}

async fn carry_out(sink: &mut impl Sink, order: &SinkOrder) -> SinkOutcome {
    let limit = match order {
        SinkOrder::Ask(_, limit) | SinkOrder::Renew(_, _, limit) => *limit,
        SinkOrder::Deliver(batch) => batch.limit(),
    };
    let call = async {
        match order {
            SinkOrder::Ask(publisher, _) => SinkOutcome::Answered(sink.position(publisher).await),
            SinkOrder::Deliver(batch) => SinkOutcome::Delivered(sink.deliver(batch).await),
            SinkOrder::Renew(publisher, signer, _) => {
                SinkOutcome::Renewed(sink.renew(publisher, signer).await)
            }
        }
    };
    tokio::time::timeout(limit + GRACE, call)
        .await
        .unwrap_or_else(|_elapsed| unknown(order, "the sink did not answer in time"))
}

fn unknown(order: &SinkOrder, why: &str) -> SinkOutcome {
    let error = SinkError::Unknown(why.to_owned());
    match order {
        SinkOrder::Ask(..) => SinkOutcome::Answered(Err(error)),
        SinkOrder::Deliver(_) => SinkOutcome::Delivered(Delivery::stopped(0, error)),
        SinkOrder::Renew(..) => SinkOutcome::Renewed(Err(error)),
    }
}
