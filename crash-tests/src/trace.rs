//! Everything that changed the disk in a run, in its order.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
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

/// Records the calls on a spill directory.
#[derive(Debug)]
pub struct Trace {
    dir: PathBuf,
    faults: Arc<Faults>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    /// Files that `SQLite` has opened, and their inodes.
    there: BTreeMap<PathBuf, u64>,
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
    /// A file was opened for the first time, and had just been made, by `SQLite` or by spillring.
    Open {
        /// Its path below the directory.
        file: PathBuf,
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
    /// The file was deleted, by `SQLite` or by spillring.
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
    /// The file that it is about.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Open { file }
            | Self::Write { file, .. }
            | Self::Truncate { file, .. }
            | Self::Sync { file }
            | Self::SyncFailed { file }
            | Self::Delete { file, .. } => Some(file),
            Self::Mark(_) => None,
        }
    }

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
            state: Mutex::default(),
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
        self.state.lock().events.clone()
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).expect("below it").to_owned()
    }

    fn push(&self, step: Step) {
        let mut state = self.state.lock();
        self.note_unlinked(&mut state);
        self.add(&mut state, step);
    }

    /// What spillring deletes itself is noticed with the next call; the log after its database.
    fn note_unlinked(&self, state: &mut State) {
        let is_there = |file: &Path, inode| inode_of(&self.dir.join(file)) == Some(inode);
        let files = std::mem::take(&mut state.there);
        let (there, gone) = files
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(file, inode)| is_there(file, *inode));
        state.there = there;
        for file in gone.into_keys() {
            let synced = false;
            self.add(state, Step::Delete { file, synced });
        }
    }

    fn add(&self, state: &mut State, step: Step) {
        let small = small_files(&self.dir);
        let before = state.events.last().map(|event| &event.small);
        let small = match before {
            Some(before) if **before == small => Arc::clone(before),
            _ => Arc::new(small),
        };
        state.events.push(Event { step, small });
    }

    fn note_opened(&self, file: PathBuf) {
        let mut state = self.state.lock();
        self.note_unlinked(&mut state);
        let inode = inode_of(&self.dir.join(&file)).expect("an open file");
        if state.there.insert(file.clone(), inode).is_none() {
            self.add(&mut state, Step::Open { file });
        }
    }
}

impl Watch for Trace {
    fn before(&self, call: Call<'_>) -> Verdict {
        let verdict = self.faults.before(call);
        let file = self.below(call.path);
        match (verdict, call.act) {
            (Verdict::Fail(_), Act::Sync) => self.push(Step::SyncFailed { file }),
            (Verdict::Pass, Act::Delete { .. }) => {
                self.state.lock().there.remove(&file);
            }
            _ => {}
        }
        verdict
    }

    fn after(&self, call: Call<'_>) {
        let file = self.below(call.path);
        self.push(match call.act {
            Act::Read => return,
            Act::Open { .. } => return self.note_opened(file),
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

fn inode_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// All but databases, which only `SQLite` may open: closing another handle drops its locks. One that is being renamed
/// at this moment is missing.
fn small_files(dir: &Path) -> Small {
    let mut small = Small::new();
    for entry in fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(dir).expect("below it").to_string_lossy();
        let regular = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && found.len() <= SMALL_MAX);
        let database = name.contains(".sqlite3");
        if regular
            && !database
            && let Ok(content) = fs::read(&path)
        {
            small.insert(name.into_owned(), content);
        }
    }
    small
}
