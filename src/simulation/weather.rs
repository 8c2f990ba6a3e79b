//! What may be wrong with a disk.

/// What the disk does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    /// Nothing can be written, made, synced or removed.
    NoWrites,
    /// Nothing can be read or written.
    Away,
    /// No file can grow.
    Full,
}

/// One call among those to come fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hiccup {
    /// After so many others.
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
