//! Every public error.

mod spill;

use std::path::PathBuf;
use std::{fmt, io};

pub use spill::SpillError;

/// Why a [`Sink`](crate::Sink) stopped, in terms that the drainer acts on.
///
/// For every variant but `Unknown`, [`Delivery::stored`](crate::sink::Delivery) is taken as exact. If more may be
/// stored, for example because a connection broke after the records were sent, it is `Unknown`.
///
/// See the examples of [`Sink`](crate::Sink) and [`EmitSink`](crate::sink::EmitSink).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It cannot be reached: tried again at least every 500 ms.
    #[error("the sink cannot be reached: {0}")]
    Disconnected(String),
    /// It cannot store anything just now: tried again after a backoff.
    #[error("the sink is unavailable: {0}")]
    Unavailable(String),
    /// It will never take this record, which becomes a dead letter; the next record is tried.
    #[error("the sink refuses the entry: {0}")]
    Rejected(String),
    /// It takes nothing until somebody fixes the settings: tried again slowly, and logged as an error.
    #[error("the sink is misconfigured: {0}")]
    Misconfigured(String),
    /// It is unknown whether the records were stored: the sink is asked for its position.
    #[error("the outcome of a delivery is unknown: {0}")]
    Unknown(String),
}

/// `try_publish` handed the entry back.
///
/// ```
/// use std::time::Duration;
/// use spillring::error::TryPublishError;
/// use spillring::{RawEntry, testing};
///
/// let (drainer, _sink) = testing::start();
/// let publisher = drainer.publisher();
/// drainer.shutdown(Duration::ZERO).wait(Duration::from_secs(10))?;
///
/// match publisher.try_publish(RawEntry::new("acme.agent-7", *b"{}")) {
///     Ok(()) => {}
///     Err(TryPublishError::Full(entry)) => println!("try again: {entry:?}"),
///     Err(TryPublishError::Closed(entry)) => println!("too late: {entry:?}"),
/// }
/// # Ok::<(), spillring::error::TicketError>(())
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum TryPublishError<E> {
    /// There is no room in the ring now.
    #[error("the ring is full")]
    Full(E),
    /// The publisher has been shut down.
    #[error("the publisher is closed")]
    Closed(E),
}

/// `publish_timeout` handed the entry back.
///
/// Use it as in the example of [`TryPublishError`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishTimeoutError<E> {
    /// There was no room within the limit.
    #[error("the ring stayed full for the whole time limit")]
    Full(E),
    /// The publisher has been shut down.
    #[error("the publisher is closed")]
    Closed(E),
    /// Called on one of spillring's own threads, which would wait for itself.
    #[error("waiting for room on spillring's own thread would deadlock")]
    WouldDeadlock(E),
}

/// A ticket of `flush` or `shutdown` failed.
///
/// See the example of [`Ticket`](crate::Ticket).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not done within the limit; you can wait for the ticket again.
    #[error("not done within the time limit")]
    Elapsed,
    /// Called on one of spillring's own threads, which would wait for itself.
    #[error("waiting on spillring's own thread would deadlock")]
    WouldDeadlock,
    /// The drainer has ended before the work was done.
    #[error("the drainer has ended before the work was done")]
    DrainerEnded,
}

/// A setting that cannot be used.
///
/// ```
/// let mut config = spillring::Config::new("spill");
/// config.batch_max = 0;
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.key, "batch_max");
/// println!("{error}"); // a sentence, with the valid values
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct ConfigError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it and how to fix it; continues a sentence that begins with the key.
    pub problem: String,
}

/// `start` did not start.
///
/// ```
/// use spillring::error::{SpillError, StartError};
/// use spillring::{Config, JsonLinesSink, RawEntry};
/// # let temporary = tempfile::tempdir()?;
/// # let (dir, output) = (temporary.path().join("spill"), temporary.path().join("out"));
///
/// let sink = || JsonLinesSink::new(&output);
/// let first = spillring::start::<RawEntry>(Config::new(&dir), sink())?;
/// match spillring::start::<RawEntry>(Config::new(&dir), sink()) {
///     Ok(_drainer) => unreachable!("two publishers in one directory"),
///     Err(StartError::Spill(SpillError::InUse { .. })) => println!("runs already"),
///     Err(other) => println!("{other}"), // a sentence, with the remedy
/// }
/// # let limit = std::time::Duration::from_secs(10);
/// # first.shutdown(limit).wait(limit)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error("bad configuration: {0}")]
    Config(#[from] ConfigError),
    /// The spill cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The ring of the setting `ring_dir` cannot be used.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The event buffer of the setting `import` cannot be used.
    #[error("cannot start with `import`: {0}")]
    Import(ImportError),
    /// The system failed to start a thread or a runtime.
    #[error("cannot start the {what}: {source}")]
    Thread {
        /// Which thread or runtime.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// The file of a ring that outlives the process cannot be used. Nothing in it is lost.
///
/// [`StartError`] shows how to match such an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// Another process uses it.
    #[error(
        "the ring {file} is in use by the process whose spill directory this one was copied from: set another `ring_dir`"
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The file system failed.
    #[error(
        "cannot {action} the ring {file}: {source}; fix that, or set `when_ring_unusable` to \"use_memory\" for a ring that dies with \
         the process"
    )]
    Io {
        /// The action, as a verb.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The backlog of an event buffer of Agent Assembly could not be imported. Entries imported before the error are in the
/// spill.
///
/// See the example of [`import`](crate::operate::import()).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Agent Assembly has it open.
    #[error(
        "the event buffer {file} is in use: stop the Agent Assembly that writes to it, then import again"
    )]
    InUse {
        /// The buffer.
        file: PathBuf,
    },
    /// The file is something else.
    #[error(
        "{file} is not an event buffer of Agent Assembly, which has a table `events`, or its first page is damaged: give the path \
         of its `buffer.db`"
    )]
    NoBuffer {
        /// The file.
        file: PathBuf,
    },
    /// The file is damaged. Rows before the damage were imported. Rows copied from after it can be imported from the
    /// copy; rows in both are imported once.
    #[error(
        "the event buffer {file} is damaged: {source}; copy what can be read (`sqlite3 {file} .dump | \
         sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 copy.db`), import the copy, and move this file away"
    )]
    Damaged {
        /// The buffer.
        file: PathBuf,
        /// How the damage was found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The buffer cannot be used.
    #[error("cannot {action} the event buffer {file}: {source}")]
    Buffer {
        /// The action, as a verb.
        action: &'static str,
        /// The buffer.
        file: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The spill cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

/// The backlog could not be exported.
///
/// See the example of [`export`](crate::operate::export()).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The spill cannot be read now.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The output could not be written.
    #[error("cannot write the export: {0}")]
    Write(#[source] io::Error),
}

impl<E> TryPublishError<E> {
    /// The entry that was not published.
    pub fn into_entry(self) -> E {
        match self {
            Self::Full(entry) | Self::Closed(entry) => entry,
        }
    }
}

impl<E> PublishTimeoutError<E> {
    /// The entry that was not published.
    pub fn into_entry(self) -> E {
        match self {
            Self::Full(entry) | Self::Closed(entry) | Self::WouldDeadlock(entry) => entry,
        }
    }
}

impl<E> fmt::Debug for TryPublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<E> fmt::Debug for PublishTimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
            Self::WouldDeadlock(_) => "WouldDeadlock(..)",
        })
    }
}
