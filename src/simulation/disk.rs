//! The disk of a spill directory: its weather, the death of its process, and what a power cut leaves.
//!
//! It sits between `SQLite` and the files (the VFS of `crash-tests`), and between the spill's own writes and the files
//! ([`Change`]). Once the process is dead nothing has any effect: a process that was killed in the middle of an order
//! may run on until the order returns.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_tests::{Act, Call, SCALED, Verdict, Watch};
use fastrand::Rng;
use parking_lot::Mutex;

use super::breaks::Break;
use super::files::{Files, Op, SECTOR};
use super::weather::{Hiccup, Kind, Weather};
use crate::change::{Change, WatchChanges};

/// Pages are smaller than in production, so that a schedule of a few hundred entries has many.
const PAGE_SIZE: &str = "4096";

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: Files,
    weather: Weather,
    hiccup: Option<Hiccup>,
    /// The process dies at the call after this many changes.
    dying: Option<u32>,
    dead: bool,
    random: Rng,
    broken: Option<Break>,
    /// The files that a starting process sees.
    clock: Instant,
    /// Calls that have failed.
    faults: u64,
}

/// The fate of a call.
enum Fate {
    Passes,
    Fails(i32),
    /// The process dies with it; perhaps half of a write is done.
    Dies,
}

impl Disk {
    pub(super) fn new(dir: &Path, seed: u64, broken: Option<Break>) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.to_owned(),
            state: Mutex::new(State {
                files: Files::default(),
                weather: Weather::Fair,
                hiccup: None,
                dying: None,
                dead: false,
                random: Rng::with_seed(seed),
                broken,
                clock: Instant::now(),
                faults: 0,
            }),
        })
    }

    pub(super) fn set(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    pub(super) fn weather(&self) -> Weather {
        self.state.lock().weather
    }

    pub(super) fn hiccup(&self, hiccup: Option<Hiccup>) {
        self.state.lock().hiccup = hiccup;
    }

    /// The process dies after this many more changes; with none, at once.
    pub(super) fn die_after(&self, changes: u32) {
        let mut state = self.state.lock();
        if changes == 0 {
            state.dead = true;
        } else {
            state.dying = Some(changes);
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    pub(super) fn clock(&self) -> Instant {
        self.state.lock().clock
    }

    pub(super) fn set_clock(&self, now: Instant) {
        self.state.lock().clock = now;
    }

    /// How many calls have failed so far.
    pub(super) fn faults(&self) -> u64 {
        self.state.lock().faults
    }

    /// Another process begins, on a healthy disk.
    pub(super) fn revive(&self) {
        let mut state = self.state.lock();
        state.dead = false;
        state.dying = None;
        state.hiccup = None;
        state.weather = Weather::Fair;
    }

    /// The power fails while no file is open. Reports what happened to the unsynced calls.
    pub(super) fn cut_power(&self) -> String {
        let state = &mut *self.state.lock();
        let (left, said) = state.files.cut(&mut state.random);
        for name in list(&self.dir) {
            if state.files.knows(&name) {
                fs::remove_file(self.dir.join(name)).expect("a file");
            }
        }
        for (name, content) in &left {
            let path = self.dir.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).expect("a folder");
            }
            fs::write(path, content).expect("a file");
        }
        state.files = Files::of(left);
        said
    }

    fn below(&self, path: &Path) -> PathBuf {
        let path = self.dir.join(path);
        path.strip_prefix(&self.dir)
            .map_or(path.clone(), Path::to_owned)
    }

    fn fate(&self, kind: Kind, changes: bool, grows: bool) -> Fate {
        let state = &mut *self.state.lock();
        if state.dead {
            return Fate::Fails(EIO);
        }
        if let (true, Some(left)) = (changes, &mut state.dying) {
            *left -= 1;
            if *left == 0 {
                state.dead = true;
                return Fate::Dies;
            }
        }
        let hit = state.hiccup.as_mut().is_some_and(|hiccup| {
            let same = hiccup.kind == kind;
            let now = same && hiccup.after == 0;
            hiccup.after = hiccup.after.saturating_sub(u32::from(same));
            now
        });
        let fails = match state.weather {
            Weather::Fair => None,
            Weather::NoWrites => changes.then_some(EIO),
            Weather::Away => Some(EIO),
            Weather::Full => (grows && changes).then_some(ENOSPC),
        };
        let fails = if hit {
            state.hiccup = None;
            Some(EIO)
        } else {
            fails
        };
        state.faults += u64::from(fails.is_some());
        fails.map_or(Fate::Passes, Fate::Fails)
    }

    /// Perhaps writes half of what the dying process writes.
    fn tear(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        if bytes.len() <= SECTOR || state.random.bool() {
            return;
        }
        let half = &bytes[..bytes.len() / 2];
        let full = self.dir.join(path);
        if let Ok(file) = fs::OpenOptions::new().write(true).open(&full)
            && file.write_all_at(half, offset).is_ok()
        {
            let name = self.below(path);
            let op = Op::write(offset, half);
            state.files.add(&name, op);
        }
    }

    fn grows(&self, path: &Path, end: u64) -> bool {
        fs::metadata(self.dir.join(path)).is_ok_and(|file| file.len() < end)
    }
}

impl Watch for Disk {
    fn before(&self, call: Call<'_>) -> Verdict {
        let (kind, changes, grows) = match call.act {
            Act::Open { makes } => (Kind::Other, makes, makes),
            Act::Read => (Kind::Read, false, false),
            Act::Write { offset, bytes } => {
                let end = (offset + bytes.len()) as u64;
                (Kind::Write, true, self.grows(call.path, end))
            }
            Act::Truncate { .. } | Act::Delete { .. } => (Kind::Other, true, false),
            Act::Sync => (Kind::Sync, true, false),
        };
        match self.fate(kind, changes, grows) {
            Fate::Passes => Verdict::Pass,
            Fate::Fails(ENOSPC) => Verdict::Fail(13),
            Fate::Fails(_) => {
                if kind == Kind::Sync && !self.is_dead() {
                    self.state.lock().files.sync_failed(&self.below(call.path));
                }
                Verdict::Fail(match kind {
                    Kind::Read => 266,
                    Kind::Write => 778,
                    Kind::Sync => 1034,
                    Kind::Other => 10,
                })
            }
            Fate::Dies => {
                if let Act::Write { offset, bytes } = call.act {
                    self.tear(call.path, offset as u64, bytes);
                }
                Verdict::Fail(778)
            }
        }
    }

    fn after(&self, call: Call<'_>) {
        let name = self.below(call.path);
        let state = &mut *self.state.lock();
        match call.act {
            Act::Read | Act::Open { makes: false } => {}
            Act::Open { makes: true } => state.files.make(&name),
            Act::Write { offset, bytes } => state.files.add(&name, Op::write(offset as u64, bytes)),
            Act::Truncate { len } => state.files.add(&name, Op::Cut(len)),
            Act::Sync if state.broken == Some(Break::IgnoreSyncs) => {}
            Act::Sync => state.files.sync_with_name(&name),
            Act::Delete { synced } => {
                state.files.remove(&name);
                if synced {
                    state
                        .files
                        .sync_folder(name.parent().unwrap_or(Path::new("")));
                }
            }
        }
    }

    fn pragma(&self, name: &str) -> Option<&'static str> {
        if name == "page_size" {
            return Some(PAGE_SIZE);
        }
        let scaled = SCALED.iter().find(|(scaled, _)| *scaled == name);
        scaled.map(|&(_, value)| value)
    }
}

impl WatchChanges for Disk {
    fn before(&self, change: Change<'_>) -> io::Result<()> {
        let (kind, changes, grows) = match change {
            Change::Make(path) => (Kind::Other, true, !self.dir.join(path).exists()),
            Change::Write(path, offset, bytes) => {
                let end = offset + bytes.len() as u64;
                (Kind::Write, true, self.grows(path, end))
            }
            Change::Sync(_) | Change::SyncFolder(_) => (Kind::Sync, true, false),
            Change::Remove(_) | Change::Rename(..) => (Kind::Other, true, false),
            Change::Stat(_) => (Kind::Read, false, false),
        };
        match self.fate(kind, changes, grows) {
            Fate::Passes => Ok(()),
            Fate::Fails(code) => {
                if let (Change::Sync(path), false) = (change, self.is_dead()) {
                    self.state.lock().files.sync_failed(&self.below(path));
                }
                Err(io::Error::from_raw_os_error(code))
            }
            Fate::Dies => {
                if let Change::Write(path, offset, bytes) = change {
                    self.tear(path, offset, bytes);
                }
                Err(io::Error::from_raw_os_error(EIO))
            }
        }
    }

    fn now(&self) -> Instant {
        self.state.lock().clock
    }

    fn pause(&self, pause: Duration) {
        self.state.lock().clock += pause;
    }

    fn after(&self, change: Change<'_>) {
        let state = &mut *self.state.lock();
        match change {
            Change::Stat(_) => {}
            Change::Make(path) => state.files.make(&self.below(path)),
            Change::Write(path, offset, bytes) => {
                state.files.add(&self.below(path), Op::write(offset, bytes));
            }
            Change::Sync(path)
                if state.broken == Some(Break::LoseWatermarkSyncs)
                    && path.ends_with("watermark") => {}
            Change::Sync(path) => state.files.sync(&self.below(path)),
            Change::SyncFolder(path) => state.files.sync_folder(&self.below(path)),
            Change::Remove(path) => state.files.remove(&self.below(path)),
            Change::Rename(from, to) => {
                state.files.rename(&self.below(from), &self.below(to));
            }
        }
    }
}

/// Every file below a folder.
fn list(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).expect("below it").to_owned());
            }
        }
    }
    found
}
