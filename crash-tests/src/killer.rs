//! Kills its own process in the midst of a call.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::call::{Act, Call, FileKind, Verdict, Watch};
use crate::vfs;

/// Kills this process at one call, and says before where it has landed.
#[derive(Debug)]
pub struct Killer {
    /// Where to land; anywhere if there is none.
    landing: Option<Landing>,
    /// At which of those calls, the first being 0.
    at: u64,
    seen: AtomicU64,
    journal: Mutex<File>,
}

/// Where a kill has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Landing {
    /// Before a write to the WAL.
    BeforeWal(Phase),
    /// With half of a write to the WAL done.
    WithinWal(Phase),
    /// Before a write to the database, or with half of it done: of a checkpoint, once there is a WAL.
    Checkpoint,
    /// Before a sync of the WAL.
    SyncWal,
    /// Before a sync of the database.
    SyncDatabase,
    /// Before the WAL is cut.
    Truncate,
    /// Before the WAL is deleted.
    Delete,
    /// Before anything is done to the rollback journal, or to a database that has no WAL yet.
    Making,
}

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Anything else, such as beginning a run.
    Other,
    /// Appends entries to the backlog.
    Append,
    /// Removes what was delivered.
    Remove,
}

/// The transaction that is open, or was last: as a number of [`PHASES`].
static PHASE: AtomicU8 = AtomicU8::new(0);
const PHASES: [Phase; 3] = [Phase::Other, Phase::Append, Phase::Remove];

impl Landing {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::BeforeWal(Phase::Other),
        Self::BeforeWal(Phase::Append),
        Self::BeforeWal(Phase::Remove),
        Self::WithinWal(Phase::Other),
        Self::WithinWal(Phase::Append),
        Self::WithinWal(Phase::Remove),
        Self::Checkpoint,
        Self::SyncWal,
        Self::SyncDatabase,
        Self::Truncate,
        Self::Delete,
        Self::Making,
    ];

    fn of(call: Call<'_>, within: bool) -> Option<Self> {
        let kind = FileKind::of(call.path);
        if kind == FileKind::Journal || (kind == FileKind::Database && !has_wal(call.path)) {
            return Some(Self::Making);
        }
        Some(match (call.act, kind) {
            (Act::Write { .. }, FileKind::Wal) if within => Self::WithinWal(phase()),
            (Act::Write { .. }, FileKind::Wal) => Self::BeforeWal(phase()),
            (Act::Write { .. }, _) => Self::Checkpoint,
            (Act::Sync, FileKind::Wal) => Self::SyncWal,
            (Act::Sync, _) => Self::SyncDatabase,
            (Act::Truncate { .. }, FileKind::Wal) => Self::Truncate,
            (Act::Delete { .. }, FileKind::Wal) => Self::Delete,
            _ => return None,
        })
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
            journal: Mutex::new(journal),
        }
    }
}

impl Watch for Killer {
    fn before(&self, call: Call<'_>) -> Verdict {
        let bytes = match call.act {
            Act::Open { .. } | Act::Read => return Verdict::Pass,
            Act::Write { bytes, .. } => bytes.len(),
            Act::Truncate { .. } | Act::Sync | Act::Delete { .. } => 0,
        };
        let seen = self.seen.load(Ordering::Relaxed);
        let within = match self.landing {
            Some(Landing::WithinWal(_)) => true,
            Some(Landing::BeforeWal(_)) => false,
            Some(_) => self.at % 2 == 1,
            None => seen % 2 == 1,
        };
        let Some(landing) = Landing::of(call, within) else {
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
        let after = if within { bytes / 2 } else { 0 };
        Verdict::Die { after }
    }

    fn pragma(&self, name: &str) -> Option<&'static str> {
        crate::scaled(name)
    }
}

fn has_wal(database: &Path) -> bool {
    let mut wal = database.to_owned().into_os_string();
    wal.push("-wal");
    Path::new(&wal).exists()
}

fn phase() -> Phase {
    PHASES[usize::from(PHASE.load(Ordering::Relaxed))]
}

fn note_phase(statement: &str) {
    let number = match statement {
        text if text.starts_with("BEGIN") => 0,
        text if text.starts_with("INSERT INTO rows") => 1,
        text if text.starts_with("DELETE FROM rows") => 2,
        _ => return,
    };
    PHASE.store(number, Ordering::Relaxed);
}
