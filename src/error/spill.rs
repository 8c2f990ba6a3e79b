//! Why the spill cannot be used.

use std::io;
use std::path::PathBuf;

use crate::ids::Position;

/// The spill cannot be used.
///
/// See the example of [`StartError`](super::StartError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// Another publisher uses the directory, or others have been inspecting it for a second without a pause.
    #[error("the spill directory {dir} is in use{}: give each publisher its own directory", holder(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process of that publisher, if known.
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
    /// The spill is encrypted, and no key was given. Nothing was touched.
    #[error(
        "the spill directory {dir} is encrypted: {}",
        if cfg!(feature = "encryption") {
            "give its key as `spill_key` (the binary: `--spill-key-file`, SPILLRING_SPILL_KEY, or `spill_key_file`)"
        } else {
            "build spillring with the feature `encryption`, and give its key"
        }
    )]
    Encrypted {
        /// The directory.
        dir: PathBuf,
    },
    /// The spill is encrypted with another key. Nothing was touched.
    #[error(
        "the spill directory {dir} is encrypted with another key: give the key that it was encrypted with"
    )]
    WrongKey {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {action} {path}: {source}{}", remedy(source.kind()))]
    Io {
        /// The action, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database failed.
    #[error("cannot {action} the spill database: {source}")]
    Database {
        /// The action, as a verb.
        action: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was made by another version of spillring, or by something else.
    #[error("the spill database has schema {found}, this version of spillring knows {known}")]
    Schema {
        /// The number of its schema.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A killed publisher has left entries in its ring, which come before anything that is added.
    #[error(
        "the ring {ring} has entries of a publisher that was killed: start that publisher once, which recovers them, then try again"
    )]
    RingLeft {
        /// The ring's file.
        ring: PathBuf,
    },
    /// The index of the spill failed, and is being reopened.
    #[error("the index of the spill is being reopened")]
    GivenUp,
    /// The spill could not be used at the start, and the publisher runs without one.
    #[error("there is no spill: it could not be used at the start")]
    Absent,
    /// A file of the spill was moved or deleted while it was in use.
    #[error("{file} was moved or deleted while it was in use")]
    Vanished {
        /// The file.
        file: PathBuf,
    },
    /// The directory vanished, and the one in its place belongs to another publisher.
    #[error(
        "the spill directory {dir} now belongs to another publisher: give each one its own directory"
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
    /// Dead letters do not match their checksums, or were imported and are not entries: they stay, and can only be
    /// removed.
    #[error(
        "dead letters are damaged, or not entries, and stay until they are removed: {}",
        named(ids)
    )]
    DamagedDeadLetters {
        /// Their numbers.
        ids: Vec<Position>,
    },
    /// The directory has seen as many starts as it can number.
    #[error(
        "the spill directory has seen {runs} starts and can number no more: drain it, then use a new one"
    )]
    RunsExhausted {
        /// How many.
        runs: u32,
    },
}

impl SpillError {
    /// Whether the disk has failed, perhaps only for a moment: a failed read can look like damage to `SQLite`.
    pub(crate) fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
        match self {
            Self::Io { source, .. } => {
                source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
            }
            _ => matches!(
                self.sqlite_code(),
                Some(CannotOpen | DatabaseCorrupt | NotADatabase | SystemIoFailure)
            ),
        }
    }

    /// Whether the disk is full, or this user's quota.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => self.sqlite_code() == Some(rusqlite::ErrorCode::DiskFull),
        }
    }

    fn sqlite_code(&self) -> Option<rusqlite::ErrorCode> {
        let Self::Database { source, .. } = self else {
            return None;
        };
        let error = source.downcast_ref::<rusqlite::Error>();
        error.and_then(rusqlite::Error::sqlite_error_code)
    }
}

/// The remedy, if known.
fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    match kind {
        AlreadyExists | NotADirectory => {
            "; a file is in the way: give a directory that this user can write"
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
