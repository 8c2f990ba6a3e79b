//! Everything that changed the disk in a run, in its order.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::call::{Act, Call, Verdict, Watch};
use crate::disk::Portion;
use crate::faults::Faults;

/// The files of a folder that are small, by name.
pub(crate) type Small = BTreeMap<String, Vec<u8>>;

/// Files of the spill directory up to this length are kept with each event.
const SMALL_MAX: u64 = 64 << 10;

/// The folders of databases, the spill's and whatever a test puts there, which only `SQLite` may open: closing another
/// handle drops its locks.
const DATABASE_FOLDERS: [&str; 2] = ["db", "theirs"];

/// Records the calls on a spill directory.
#[derive(Debug)]
pub struct Trace {
    dir: PathBuf,
    faults: Arc<Faults>,
    events: Mutex<Vec<Event>>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it was.
    pub step: Step,
    /// The small files beside the database right after it.
    pub(crate) small: Arc<Small>,
}

/// What changes a disk, or the truth about it.
#[derive(Debug, Clone)]
pub enum Step {
    /// A file was opened.
    Open {
        /// Its path below the directory.
        file: PathBuf,
        /// Whether that made it.
        makes: bool,
    },
    /// Bytes were written.
    Write {
        /// Its path below the directory.
        file: PathBuf,
        /// Where the first of them went.
        offset: usize,
        /// All of them.
        bytes: Arc<[u8]>,
    },
    /// The file was cut, or extended.
    Truncate {
        /// Its path below the directory.
        file: PathBuf,
        /// In bytes.
        len: usize,
    },
    /// The file was synced.
    Sync {
        /// Its path below the directory.
        file: PathBuf,
    },
    /// The file was to be synced, which failed.
    SyncFailed {
        /// Its path below the directory.
        file: PathBuf,
    },
    /// The file was deleted.
    Delete {
        /// Its path below the directory.
        file: PathBuf,
        /// Whether its folder was synced.
        synced: bool,
    },
    /// Said by the test.
    Mark(Mark),
}

/// What the test knows from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// So many entries count as safe.
    Flushed(usize),
    /// The sink has stored so many records.
    Stored(usize),
}

impl Step {
    /// The bytes that a write goes to; none for anything else.
    pub(crate) fn extent(&self) -> Range<usize> {
        match self {
            Self::Write { offset, bytes, .. } => *offset..offset + bytes.len(),
            _ => 0..0,
        }
    }

    /// Does to the content of a file what a write or a cut does.
    pub(crate) fn apply(&self, content: &mut Vec<u8>, portion: Portion) {
        match self {
            Self::Write { offset, bytes, .. } => {
                let count = match portion {
                    Portion::Half => bytes.len() / 2,
                    Portion::Whole => bytes.len(),
                };
                let end = offset + count;
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(&bytes[..count]);
            }
            Self::Truncate { len, .. } => content.resize(*len, 0),
            other => unreachable!("{other:?}"),
        }
    }
}

impl Trace {
    /// Of an empty, existing directory.
    #[must_use]
    pub fn of(dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.canonicalize().expect("the directory"),
            faults: Faults::new(),
            events: Mutex::default(),
        })
    }

    /// What fails while it is recorded.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Notes that something is so from here on.
    pub fn mark(&self, mark: Mark) {
        self.push(Step::Mark(mark));
    }

    /// What has happened so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).expect("below it").to_owned()
    }

    fn push(&self, step: Step) {
        let mut events = self.events.lock();
        let small = small_files(&self.dir);
        let before = events.last().map(|event| &event.small);
        let small = match before {
            Some(before) if **before == small => Arc::clone(before),
            _ => Arc::new(small),
        };
        events.push(Event { step, small });
    }
}

impl Watch for Trace {
    fn before(&self, call: Call<'_>) -> Verdict {
        let verdict = self.faults.before(call);
        if let (Verdict::Fail(_), Act::Sync) = (verdict, call.act) {
            let file = self.below(call.path);
            self.push(Step::SyncFailed { file });
        }
        verdict
    }

    fn after(&self, call: Call<'_>) {
        let file = self.below(call.path);
        self.push(match call.act {
            Act::Read => return,
            Act::Open { makes } => Step::Open { file, makes },
            Act::Write { offset, bytes } => Step::Write {
                file,
                offset,
                bytes: bytes.into(),
            },
            Act::Truncate { len } => Step::Truncate { file, len },
            Act::Sync => Step::Sync { file },
            Act::Delete { synced } => Step::Delete { file, synced },
        });
    }

    fn pragma(&self, name: &str) -> Option<&'static str> {
        crate::scaled(name)
    }
}

/// All but those of databases. One that is being renamed at this moment is missing.
fn small_files(dir: &Path) -> Small {
    let mut small = Small::new();
    let folders = [dir.to_owned()].into_iter().chain(
        fs::read_dir(dir)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.is_dir() && !DATABASE_FOLDERS.iter().any(|name| path.ends_with(name))
            }),
    );
    for folder in folders {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let regular = fs::symlink_metadata(&path)
                .is_ok_and(|found| found.is_file() && found.len() <= SMALL_MAX);
            if let (true, Ok(content)) = (regular, fs::read(&path)) {
                let name = path.strip_prefix(dir).expect("below it");
                small.insert(name.to_string_lossy().into_owned(), content);
            }
        }
    }
    small
}
