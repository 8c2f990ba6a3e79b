//! Lets calls fail.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::call::{Act, Call, FileKind, Verdict, Watch};

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// On which file.
    pub file: FileKind,
    /// Doing what.
    pub act: ActKind,
    /// With which result code of `SQLite`.
    pub code: i32,
}

/// What is done to a file, without how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActKind {
    /// It is opened.
    Open,
    /// Read.
    Read,
    /// Written to.
    Write,
    /// Cut.
    Truncate,
    /// Synced.
    Sync,
    /// Deleted.
    Delete,
}

/// Lets calls fail as the test says, in real time.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The fault, how many of its calls are let through first, and how many then fail.
    armed: Vec<(Fault, u64, u64)>,
    hits: u64,
    segments: BTreeSet<PathBuf>,
}

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on one call fails: the first after so many of the same kind.
    pub fn once(&self, fault: Fault, after: u64) {
        self.0.lock().armed.push((fault, after, 1));
    }

    /// From now on they all fail.
    pub fn always(&self, fault: Fault) {
        self.0.lock().armed.push((fault, 0, u64::MAX));
    }

    /// From now on none fails.
    pub fn none(&self) {
        self.0.lock().armed.clear();
    }

    /// How many segments have been opened so far.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.0.lock().segments.len()
    }

    /// How many calls have failed.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.lock().hits
    }
}

impl Watch for Faults {
    fn before(&self, call: Call<'_>) -> Verdict {
        let act = match call.act {
            Act::Open { .. } => ActKind::Open,
            Act::Read => ActKind::Read,
            Act::Write { .. } => ActKind::Write,
            Act::Truncate { .. } => ActKind::Truncate,
            Act::Sync => ActKind::Sync,
            Act::Delete { .. } => ActKind::Delete,
        };
        let file = FileKind::of(call.path);
        let mut state = self.0.lock();
        let State {
            armed,
            hits,
            segments,
        } = &mut *state;
        if (file, act) == (FileKind::Segment, ActKind::Open) {
            segments.insert(call.path.to_owned());
        }
        for (fault, after, times) in armed.iter_mut() {
            if (fault.file, fault.act) != (file, act) || *times == 0 {
                continue;
            }
            if *after > 0 {
                *after -= 1;
                continue;
            }
            *times -= 1;
            *hits += 1;
            return Verdict::Fail(fault.code);
        }
        Verdict::Pass
    }

    fn pragma(&self, name: &str) -> Option<&'static str> {
        crate::scaled(name)
    }
}
