//! Every public error.

use std::path::PathBuf;
use std::{fmt, io};

use crate::event::Position;

/// Why a [`Sink`](crate::Sink) stopped, in the terms that the drainer acts on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It cannot be reached: tried again at least every 500 ms.
    #[error("the sink cannot be reached: {0}")]
    Disconnected(String),
    /// It cannot store anything just now: tried again after a backoff.
    #[error("the sink is unavailable: {0}")]
    Unavailable(String),
    /// It will never take this record: it becomes a dead letter, and the next one is tried.
    #[error("the sink refuses the entry: {0}")]
    Rejected(String),
    /// It will take nothing until somebody mends the settings: tried again slowly, and told loudly.
    #[error("the sink is misconfigured: {0}")]
    Misconfigured(String),
    /// Whether the records were stored is not known: the sink is asked its position.
    #[error("the outcome of a delivery is unknown: {0}")]
    Unknown(String),
}

/// An entry could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the entry cannot be encoded: {0}")]
pub struct EncodeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// `try_publish` handed the entry back.
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
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishTimeoutError<E> {
    /// No room came up within the limit.
    #[error("the ring stayed full for the whole time limit")]
    Full(E),
    /// The publisher has been shut down.
    #[error("the publisher is closed")]
    Closed(E),
    /// Called on one of spillring's own threads, which would wait for itself.
    #[error("waiting for room on spillring's own thread would deadlock")]
    WouldDeadlock(E),
}

/// A ticket of `flush` or `shutdown` brought no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not done within the limit; the ticket can be waited for again.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct ConfigError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it and how to mend it; reads on after the key.
    pub problem: String,
}

/// `start` did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error("bad configuration: {0}")]
    Config(#[from] ConfigError),
    /// The spill cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The event buffer of the setting `import` cannot be used.
    #[error("cannot start with `import`: {0}")]
    Import(ImportError),
    /// The system would not start a thread or a runtime.
    #[error("cannot start the {what}: {source}")]
    Thread {
        /// Which one.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// The spill cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// Another publisher holds the directory, or others have been looking at it for a second without a pause.
    #[error("the spill directory {dir} is in use{}: give each publisher a directory of its own", holder(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process of that publisher, if it can be told.
        pid: Option<u32>,
    },
    /// There is no spill in the directory.
    #[error(
        "there is no spill in {dir}: give the directory that was passed as `spill_dir` or `--spill`"
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}{}", remedy(source.kind()))]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot {action} the spill database: {source}")]
    Database {
        /// What was being done, as a verb.
        action: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was made by another version of spillring, or by something else.
    #[error("the spill database has schema {found}, this version of spillring knows {known}")]
    Schema {
        /// The schema's number.
        found: i64,
        /// The one known here.
        known: i64,
    },
    /// The disk failed, or the database was found damaged or gone: it is being opened anew.
    #[error("the spill database is being opened anew")]
    GivenUp,
    /// The directory vanished, and the one that has taken its place belongs to another publisher.
    #[error(
        "the spill directory {dir} now belongs to another publisher: give each one a directory of its own"
    )]
    OtherPublisher {
        /// The directory.
        dir: PathBuf,
    },
    /// There are no dead letters with these numbers.
    #[error("there is no dead letter {}: nothing was changed", named(ids))]
    NoSuchDeadLetters {
        /// The numbers.
        ids: Vec<Position>,
    },
    /// Dead letters do not fit their checksums, or were imported and are no entries: they stay where they are, and can
    /// only be removed.
    #[error(
        "dead letters are damaged, or no entries, and stay where they are until they are removed: {}",
        named(ids)
    )]
    DamagedDeadLetters {
        /// Their numbers.
        ids: Vec<Position>,
    },
    /// The directory has seen as many starts as it can number.
    #[error(
        "the spill directory has seen {runs} starts and can number no more: let it be drained, then give a new one"
    )]
    RunsExhausted {
        /// How many.
        runs: u32,
    },
}

/// The backlog of an event buffer of Agent Assembly could not be imported. What was taken over until then is in the spill.
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
        "{file} is no event buffer of Agent Assembly, which has a table `events`, or its first page is damaged: give the path \
         of its `buffer.db`"
    )]
    NoBuffer {
        /// The file.
        file: PathBuf,
    },
    /// The file is damaged. What stands before the damage was taken over; what was copied from behind it can be imported
    /// from the copy, and what is in both is taken over once.
    #[error(
        "the event buffer {file} is damaged: {source}; copy what can be read (`sqlite3 {file} .dump | \
         sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 copy.db`), import the copy, and move this file away"
    )]
    Damaged {
        /// The buffer.
        file: PathBuf,
        /// How that was found out.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The buffer cannot be used.
    #[error("cannot {action} the event buffer {file}: {source}")]
    Buffer {
        /// What was being done, as a verb.
        action: &'static str,
        /// The buffer.
        file: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The spill cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

/// The backlog could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The spill cannot be read now.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// What was exported could not be written.
    #[error("cannot write what is exported: {0}")]
    Write(#[source] io::Error),
}

/// What can be done about it, where that can be told.
fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    match kind {
        AlreadyExists | NotADirectory => {
            "; a file stands in the way: give a directory that this user can write"
        }
        NotFound | PermissionDenied | ReadOnlyFilesystem => {
            "; give a directory that this user can write"
        }
        _ => "",
    }
}

fn named(ids: &[Position]) -> String {
    let ids: Vec<_> = ids.iter().map(Position::to_string).collect();
    ids.join(", ")
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
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
