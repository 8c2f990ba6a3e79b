//! Kills its own process in the midst of a call.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::call::{Act, Call, FileKind, Verdict, Watch};
use crate::vfs;

/// Kills this process at one call, after reporting where the kill lands.
#[derive(Debug)]
pub struct Killer {
    /// Where to land; anywhere if there is none.
    landing: Option<Landing>,
    /// At which of those calls, the first being 0.
    at: u64,
    seen: AtomicU64,
    /// Those that were opened and are not unlinked yet.
    segments: Mutex<BTreeSet<PathBuf>>,
    journal: Mutex<File>,
}

/// Where a kill has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Landing {
    /// A segment was made and is still empty: before `SQLite` opens it.
    Made,
    /// Before anything is done to a rollback journal, to a database that has no log yet, or to a log while tables are
    /// made.
    Tables,
    /// Before a write to the log of a segment, while entries are appended.
    BeforeAppend,
    /// With half of such a write done.
    WithinAppend,
    /// Before a sync of the log of a segment.
    Commit,
    /// Before a write of a checkpoint to a segment, or with half of it done.
    Checkpoint,
    /// Before a sync of a segment, after a checkpoint.
    SyncSegment,
    /// Before the log of a segment is cut: it is sealed.
    Seal,
    /// Before the log of a sealed segment is deleted.
    DeleteLog,
    /// A delivered segment was unlinked, and nothing else was done since.
    Unlinked,
    /// Before a write to the log of the index.
    BeforeIndex,
    /// With half of such a write done.
    WithinIndex,
    /// Before a sync of the log of the index.
    CommitIndex,
    /// Before anything that carries the log of the index into it, or deletes it.
    CheckpointIndex,
}

/// What the transaction that is open, or was last, does: as a number of [`PHASES`].
static PHASE: AtomicU8 = AtomicU8::new(0);
const PHASES: [Phase; 3] = [Phase::Other, Phase::Tables, Phase::Append];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Other,
    /// Makes tables.
    Tables,
    /// Appends entries to the backlog.
    Append,
}

impl Landing {
    /// Every one of them.
    pub const ALL: [Self; 14] = [
        Self::Made,
        Self::Tables,
        Self::BeforeAppend,
        Self::WithinAppend,
        Self::Commit,
        Self::Checkpoint,
        Self::SyncSegment,
        Self::Seal,
        Self::DeleteLog,
        Self::Unlinked,
        Self::BeforeIndex,
        Self::WithinIndex,
        Self::CommitIndex,
        Self::CheckpointIndex,
    ];

    fn of(call: Call<'_>, within: bool) -> Option<Self> {
        let kind = FileKind::of(call.path);
        let database = matches!(kind, FileKind::Segment | FileKind::Index);
        match call.act {
            Act::Read => return None,
            Act::Open { .. } => return is_made(kind, call.path).then_some(Self::Made),
            _ if kind == FileKind::Other => return None,
            _ if kind == FileKind::Journal || database && !has_log(call.path) => {
                return Some(Self::Tables);
            }
            Act::Write { .. } | Act::Sync if phase() == Phase::Tables && !database => {
                return Some(Self::Tables);
            }
            _ => {}
        }
        Some(match (call.act, kind) {
            (Act::Write { .. }, FileKind::SegmentLog) if within => Self::WithinAppend,
            (Act::Write { .. }, FileKind::SegmentLog) => Self::BeforeAppend,
            (Act::Write { .. }, FileKind::IndexLog) if within => Self::WithinIndex,
            (Act::Write { .. }, FileKind::IndexLog) => Self::BeforeIndex,
            (Act::Sync, FileKind::SegmentLog) => Self::Commit,
            (Act::Sync, FileKind::IndexLog) => Self::CommitIndex,
            (Act::Write { .. }, FileKind::Segment) => Self::Checkpoint,
            (Act::Sync, FileKind::Segment) => Self::SyncSegment,
            (Act::Truncate { .. }, FileKind::SegmentLog) => Self::Seal,
            (Act::Delete { .. }, FileKind::SegmentLog) => Self::DeleteLog,
            (_, FileKind::Index | FileKind::IndexLog) => Self::CheckpointIndex,
            _ => return None,
        })
    }

    fn is_within(self) -> Option<bool> {
        match self {
            Self::WithinAppend | Self::WithinIndex => Some(true),
            Self::BeforeAppend | Self::BeforeIndex => Some(false),
            _ => None,
        }
    }
}

impl Killer {
    /// Says where it has landed as a line of the journal: `killed <number>`, a number of [`Landing::ALL`].
    #[must_use]
    pub fn new(landing: Option<Landing>, at: u64, journal: File) -> Self {
        vfs::on_statement(note_phase);
        Self {
            landing,
            at,
            seen: AtomicU64::new(0),
            segments: Mutex::default(),
            journal: Mutex::new(journal),
        }
    }

    /// Whether a segment has been unlinked since the last call.
    fn has_unlinked(&self, call: Call<'_>) -> bool {
        let mut segments = self.segments.lock();
        let known = segments.len();
        segments.retain(|segment| segment.exists());
        let unlinked = segments.len() < known;
        if FileKind::of(call.path) == FileKind::Segment {
            segments.insert(call.path.to_owned());
        }
        unlinked
    }
}

impl Watch for Killer {
    fn before(&self, call: Call<'_>) -> Verdict {
        let bytes = match call.act {
            Act::Write { bytes, .. } => bytes.len(),
            _ => 0,
        };
        let seen = self.seen.load(Ordering::Relaxed);
        let within = match self.landing {
            Some(landing) => landing.is_within().unwrap_or(self.at % 2 == 1),
            None => seen % 2 == 1,
        };
        let landing = if self.has_unlinked(call) {
            Some(Landing::Unlinked)
        } else {
            Landing::of(call, within)
        };
        let Some(landing) = landing else {
            return Verdict::Pass;
        };
        if self.landing.is_some_and(|wanted| wanted != landing) {
            return Verdict::Pass;
        }
        self.seen.store(seen + 1, Ordering::Relaxed);
        if seen < self.at {
            return Verdict::Pass;
        }
        let number = Landing::ALL.iter().position(|&other| other == landing);
        let line = format!("killed {}\n", number.expect("one of them"));
        let mut journal = self.journal.lock();
        journal.write_all(line.as_bytes()).expect("the journal");
        let half = within && landing != Landing::Unlinked;
        Verdict::Die {
            after: if half { bytes / 2 } else { 0 },
        }
    }

    fn pragma(&self, name: &str) -> Option<&'static str> {
        crate::scaled(name)
    }
}

fn is_made(kind: FileKind, path: &Path) -> bool {
    kind == FileKind::Segment && fs::metadata(path).is_ok_and(|found| found.len() == 0)
}

fn has_log(database: &Path) -> bool {
    let mut log = database.to_owned().into_os_string();
    log.push("-wal");
    Path::new(&log).exists()
}

fn phase() -> Phase {
    PHASES[usize::from(PHASE.load(Ordering::Relaxed))]
}

fn note_phase(statement: &str) {
    let number = match statement.trim_start() {
        text if text.starts_with("BEGIN") => 0,
        text if text.starts_with("CREATE TABLE") => 1,
        text if text.starts_with("INSERT INTO rows") => 2,
        _ => return,
    };
    PHASE.store(number, Ordering::Relaxed);
}
