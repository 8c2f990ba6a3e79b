//! Where entries go: the [`Sink`] trait, and the sinks that come with the library.

#[cfg(feature = "nats")]
pub(crate) mod address;
pub mod conformance;
#[cfg(feature = "nats")]
pub(crate) mod core_nats;
pub(crate) mod emit;
#[cfg(feature = "nats")]
pub(crate) mod jetstream;
pub(crate) mod json_lines;

#[cfg(feature = "nats")]
pub use address::SinkAddress;
pub use emit::EmitSink;
pub use json_lines::JsonLinesSink;

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId};
use crate::host;
use crate::seal::Signer;

/// A boxed future that a [`Sink`] returns.
///
/// See its example.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Stores batches durably and in order, and knows how far it has come.
///
/// A sink is plain data until its own thread first calls it. It connects inside that call, on a current-thread Tokio
/// runtime with I/O and time enabled that lives as long as the sink. Calls never overlap. A call may be dropped
/// half-way, when its time limit passes, and may panic; the publisher then asks for the position and continues.
///
/// [`conformance`] has the tests that your own sink should pass.
///
/// ```
/// use std::io::Write;
/// use spillring::Sink;
/// use spillring::error::SinkError;
/// use spillring::event::{Batch, Position, PublisherId};
/// use spillring::sink::{BoxFuture, Delivery};
///
/// /// Writes entries to a stream without a cursor: at least once.
/// struct Lines<W>(W);
///
/// impl<W: Write + Send + 'static> Sink for Lines<W> {
///     fn position<'a>(
///         &'a mut self,
///         _: &'a PublisherId,
///     ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
///         Box::pin(async { Ok(None) })
///     }
///
///     fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
///         Box::pin(async move {
///             for (stored, record) in batch.records().iter().enumerate() {
///                 let line = [record.bytes(), &b"\n"[..]].concat();
///                 if let Err(error) = self.0.write_all(&line) {
///                     let why = SinkError::Unavailable(error.to_string());
///                     return Delivery::stopped(stored, why);
///                 }
///             }
///             Delivery::all(batch)
///         })
///     }
/// }
/// ```
pub trait Sink: Send + 'static {
    /// The last position of this publisher that is durably stored here, or `None` if this sink keeps no cursor or has
    /// stored nothing of this publisher.
    ///
    /// The publisher never sends records up to this position again. Without a position, it sends again everything that
    /// was not acknowledged.
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>>;

    /// Stores the records of the batch in order, or a prefix of them.
    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery>;

    /// Signs the newest checkpoint again, so that auditors can tell an idle publisher from a truncated trail. Called
    /// while there is nothing to deliver and the newest [seal](crate::seal::Seal) of this sink is
    /// [old](crate::Config::checkpoint_age_max). Does nothing by default.
    fn renew<'a>(
        &'a mut self,
        _of: &'a PublisherId,
        _signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        (**self).position(of)
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        (**self).deliver(batch)
    }

    fn renew<'a>(
        &'a mut self,
        of: &'a PublisherId,
        signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        (**self).renew(of, signer)
    }
}

/// The outcome of [`Sink::deliver`]: how many leading records are durably stored, and, if not all, why it stopped.
///
/// See the example of [`Sink`].
#[derive(Debug)]
#[must_use]
pub struct Delivery {
    /// How many records from the front of the batch are durably stored.
    pub stored: usize,
    /// Why the next one is not stored; `None` if all are.
    pub stopped: Option<SinkError>,
}

impl Delivery {
    /// The whole batch is stored.
    pub fn all(batch: &Batch) -> Self {
        Self {
            stored: batch.records().len(),
            stopped: None,
        }
    }

    /// The first `stored` records are stored, the next one is not.
    pub fn stopped(stored: usize, why: SinkError) -> Self {
        Self {
            stored,
            stopped: Some(why),
        }
    }
}

/// At least as many files as Tokio opens for a runtime.
const RUNTIME_FILES: usize = 8;

/// The runtime that a sink lives on.
///
/// Tokio panics if it cannot open files for its signal handling, which it uses wherever the host enables that feature.
/// So the files are tried first; if another thread takes them meanwhile, the panic is caught. Each thread of the
/// blocking pool begins with `on_thread_start`.
pub(crate) fn runtime(on_thread_start: fn()) -> io::Result<Runtime> {
    let spare: Vec<_> = (0..RUNTIME_FILES)
        .map(|_| File::open("/"))
        .collect::<Result<_, _>>()?;
    drop(spare);
    let build = || {
        Builder::new_current_thread()
            .enable_all()
            .on_thread_start(on_thread_start)
            .build()
    };
    host::call(build).unwrap_or_else(|| Err(io::Error::other("Tokio panicked")))
}
