//! Faults of a disk.

/// How the disk treats calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    /// Nothing can be written, created, synced or removed.
    NoWrites,
    /// Nothing can be read or written.
    Away,
    /// No file can grow.
    Full,
}

/// One of the coming calls fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hiccup {
    /// After this many others.
    pub(super) after: u32,
    pub(super) kind: Kind,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Sync,
    Other,
}
