//! A sink that calls a function with one entry at a time.

use std::fmt;
use std::future::{Future, ready};
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::{BoxFuture, Delivery, Sink};
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId, Record};
use crate::host;

/// Delivers entries one at a time to an asynchronous function, which stores them elsewhere: in a database, or through
/// your own client, such as an implementation of Agent Assembly's `AuditSink`.
///
/// Each entry is awaited before the next one begins, in order. The sink keeps no cursor, so delivery is **at least
/// once**: an entry whose call was cut off (by its time limit, or a kill) is sent again. The result of the function
/// decides what happens to the entry: see [`SinkError`]. A panic counts as an [unknown](SinkError::Unknown) outcome:
/// the entry is tried again, and later ones wait.
///
/// [`ack_timeout`](crate::Config::ack_timeout) limits a whole batch. After half of it no further entry begins; the
/// rest counts as a failed delivery and is tried again after a backoff. If a call takes longer than a few
/// milliseconds, reduce [`batch_max`](crate::Config::batch_max) from its default of 3,996 accordingly.
///
/// ```
/// use spillring::{AuditEntry, Config};
/// use spillring::error::SinkError;
/// use spillring::sink::EmitSink;
///
/// async fn store(entry: AuditEntry) -> std::io::Result<()> {
///     // INSERT INTO audit …
///     # drop(entry);
///     Ok(())
/// }
///
/// # let temporary = tempfile::tempdir()?;
/// # let dir = temporary.path().join("spill");
/// let sink = EmitSink::entries(|entry: AuditEntry| async {
///     store(entry).await.map_err(|error| SinkError::Unavailable(error.to_string()))
/// });
/// let drainer = spillring::start::<AuditEntry>(Config::new(dir), sink)?;
/// # drop(drainer.shutdown(std::time::Duration::from_secs(5)).wait(std::time::Duration::from_secs(10))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EmitSink<F> {
    emit: F,
}

/// The share of a batch's time after which no further entry begins.
const BEGIN_SHARE: u32 = 2;

impl<F, R> EmitSink<F>
where
    F: FnMut(Record) -> R + Send + 'static,
    R: Future<Output = Result<(), SinkError>> + Send + 'static,
{
    /// A sink over a function that takes the [`Record`]: number, subject and encoded bytes of an entry.
    #[must_use]
    pub fn new(emit: F) -> Self {
        Self { emit }
    }
}

impl EmitSink<PhantomData<()>> {
    /// A sink over a function that takes the entry itself, parsed from its JSON: an [`AuditEntry`](crate::AuditEntry),
    /// or a type of your own. An entry that cannot be parsed becomes a dead letter.
    #[must_use]
    pub fn entries<E, F, R>(
        mut emit: F,
    ) -> EmitSink<impl FnMut(Record) -> BoxFuture<'static, Result<(), SinkError>> + Send + 'static>
    where
        E: DeserializeOwned,
        F: FnMut(E) -> R + Send + 'static,
        R: Future<Output = Result<(), SinkError>> + Send + 'static,
    {
        EmitSink {
            emit: move |record: Record| -> BoxFuture<'static, _> {
                match serde_json::from_slice(record.bytes()) {
                    Ok(entry) => Box::pin(emit(entry)),
                    Err(error) => {
                        let why = format!("its JSON does not fit the sink's type: {error}");
                        Box::pin(ready(Err(SinkError::Rejected(why))))
                    }
                }
            },
        }
    }
}

impl<F, R> Sink for EmitSink<F>
where
    F: FnMut(Record) -> R + Send + 'static,
    R: Future<Output = Result<(), SinkError>> + Send + 'static,
{
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(ready(Ok(None)))
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let begun = Instant::now();
            for (stored, record) in batch.records().iter().enumerate() {
                if stored > 0 && begun.elapsed() > batch.limit() / BEGIN_SHARE {
                    let why =
                        "a batch takes longer than half of `ack_timeout`: make `batch_max` smaller";
                    return Delivery::stopped(stored, SinkError::Unavailable(why.to_owned()));
                }
                let unknown = |why: &str| SinkError::Unknown(why.to_owned());
                let emit = AssertUnwindSafe(async { (self.emit)(record.clone()).await });
                let why = match timeout_at(begun + batch.limit(), emit.catch_unwind()).await {
                    Ok(Ok(Ok(()))) => continue,
                    Ok(Ok(Err(why))) => why,
                    Ok(Err(panic)) => {
                        host::drop_quietly(panic);
                        unknown("the function panicked")
                    }
                    Err(_elapsed) => unknown("an entry was not taken within `ack_timeout`"),
                };
                return Delivery::stopped(stored, why);
            }
            Delivery::all(batch)
        })
    }
}

impl<F> fmt::Debug for EmitSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitSink").finish_non_exhaustive()
    }
}
