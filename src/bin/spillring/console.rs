//! The binary's output: messages on stderr, results on stdout, and exit codes.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use spillring::error::SpillError;

use crate::owner;

/// Writes one line to stderr. Errors are ignored: the command goes on without its messages.
macro_rules! errln {
    ($($message:tt)*) => {
        $crate::console::to_stderr(format_args!($($message)*))
    };
}
pub(crate) use errln;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success: everything is delivered.
    Done = 0,
    /// A check of the demo failed, a trail is not complete or not intact, or a spill is damaged.
    Broken = 1,
    /// Bad usage: the message on stderr says how to fix it.
    Usage = 2,
    /// Entries are lost.
    Lost = 3,
    /// Nothing is lost, but a backlog or dead letters are left, or lines were rejected.
    Left = 4,
    /// A publisher is running: its spill is locked.
    InUse = 5,
    /// It could not start, or its input failed. Another try may succeed.
    Failed = 6,
    /// Ended by the user.
    Interrupted = 130,
}

/// Why a command failed: a sentence that says what is wrong and how to fix it.
#[derive(Debug)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(sentence: impl fmt::Display) -> Self {
        Self(sentence.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Writes to stdout, and flushes. An error is reported on stderr.
pub(crate) fn show(text: &str) {
    show_bytes(text.as_bytes());
}

/// Like [`show`], for bytes that may not be text.
pub(crate) fn show_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        errln!("cannot write to standard output: {error}");
    }
}

/// A running publisher has an exit code of its own. Any other error becomes a [`Problem`].
pub(crate) fn refused(error: &SpillError) -> Result<Exit, Problem> {
    match error {
        SpillError::InUse { dir, pid } => {
            let by = pid.map_or_else(String::new, |pid| format!(" by process {pid}"));
            errln!(
                "error: the spill directory {} is in use{by}: stop the publisher first",
                dir.display()
            );
            Ok(Exit::InUse)
        }
        error => Err(owner::problem(error)),
    }
}

pub(crate) fn to_stderr(message: fmt::Arguments<'_>) {
    writeln!(io::stderr().lock(), "{message}").unwrap_or_default();
}
