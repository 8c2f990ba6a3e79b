//! A sink for whoever takes one entry at a time.

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

/// Delivers entries one at a time to an asynchronous function: what stores them elsewhere, in a database or through a
/// client of one's own, such as an implementation of Agent Assembly's `AuditSink`.
///
/// Each entry is awaited before the next one is begun, in order. It keeps no cursor, so what it promises is **at least
/// once**: an entry whose call was cut off (its time was up, the process was killed) is sent again. What the function
/// answers decides what becomes of the entry: see [`SinkError`]. One that panics is as an [unknown](SinkError::Unknown)
/// outcome: the entry is tried again, and those behind it wait.
///
/// A batch has [`ack_timeout`](crate::Config::ack_timeout) in all. After half of it no more entry is begun, and the rest
/// counts as a failed delivery, to be tried again after a backoff: where a call takes longer than a few milliseconds, make
/// [`batch_max`](crate::Config::batch_max) as much smaller than its 999.
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
/// let dir = tempfile::tempdir()?;
/// let sink = EmitSink::entries(|entry: AuditEntry| async {
///     store(entry).await.map_err(|error| SinkError::Unavailable(error.to_string()))
/// });
/// let drainer = spillring::start::<AuditEntry>(Config::new(dir.path().join("spill")), sink)?;
/// # drop(drainer.shutdown(std::time::Duration::from_secs(5)).wait(std::time::Duration::from_secs(10))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EmitSink<F> {
    emit: F,
}

/// Which part of a batch's time may pass before the last entry of it is begun.
const BEGIN_SHARE: u32 = 2;

impl<F, R> EmitSink<F>
where
    F: FnMut(Record) -> R + Send + 'static,
    R: Future<Output = Result<(), SinkError>> + Send + 'static,
{
    /// Of a function that takes the [`Record`]: number, subject and encoded bytes of an entry.
    #[must_use]
    pub fn new(emit: F) -> Self {
        Self { emit }
    }
}

impl EmitSink<PhantomData<()>> {
    /// Of a function that takes the entry itself, read from its JSON as whatever type reads it: an
    /// [`AuditEntry`](crate::AuditEntry), or Agent Assembly's own. What cannot be read as that becomes a dead letter.
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
                        let why = format!("its JSON is no entry of the sink's type: {error}");
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
