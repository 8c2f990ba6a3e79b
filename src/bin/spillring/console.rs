//! What the binary says: sentences on stderr, results on stdout, and its exit codes.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use spillring::SpillError;

use crate::owner;

/// Writes one line to stderr. A stderr that takes nothing is no reason to stop.
macro_rules! errln {
    ($($message:tt)*) => {
        $crate::console::to_stderr(format_args!($($message)*))
    };
}
pub(crate) use errln;

/// How it ended, as the exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well, and all is delivered.
    Done = 0,
    /// The demo found a promise broken, a trail is not complete or not intact, or a spill is damaged.
    Broken = 1,
    /// It was asked for in a way that cannot work: the sentence on stderr says how to fix it.
    Usage = 2,
    /// Something is lost.
    Lost = 3,
    /// Nothing is lost, but a backlog or dead letters are left, or lines were no entries.
    Left = 4,
    /// A publisher is running, and has the spill to itself.
    InUse = 5,
    /// It could not start, or not read on. Another try may succeed.
    Failed = 6,
    /// Ended by the user.
    Interrupted = 130,
}

/// Why a command cannot be carried out: a sentence that says what and how to mend it.
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

/// Writes to stdout at once. If nobody can take it, stderr says so.
pub(crate) fn show(text: &str) {
    show_bytes(text.as_bytes());
}

/// The same for what may be no text.
pub(crate) fn show_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        errln!("cannot write to standard output: {error}");
    }
}

/// A publisher that runs is told with an exit code of its own, whatever else went wrong in a sentence.
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
