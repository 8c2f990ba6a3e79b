//! The test's end of `shim.c`: rules for calls on files, which it may change while the process runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;

use test_support::bench::eventually;

/// Names the file with the rules, for the shim.
pub(crate) const CONTROL: &str = "SPILLRING_SHIM";

const RULES: usize = 32;
const RULE_BYTES: usize = 256;
const PATH_AT: usize = 128;

/// Calls that a rule is about. They can be added up.
pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;
pub(crate) const SYNC: u32 = 4;
/// Making a file or a folder that is not there.
pub(crate) const CREATE: u32 = 8;
pub(crate) const OPEN: u32 = 16;
pub(crate) const RENAME: u32 = 32;
pub(crate) const UNLINK: u32 = 64;
pub(crate) const STAT: u32 = 128;

/// All that changes the disk.
pub(crate) const CHANGE: u32 = WRITE | SYNC | CREATE | RENAME | UNLINK;
pub(crate) const EVERYTHING: u32 = READ | CHANGE | OPEN | STAT;

/// What shall go wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    calls: u32,
    path: String,
    error: i32,
    hang: Duration,
    skip: u32,
    hits: u32,
    lasting: Duration,
    rounds: u32,
    bytes: std::ops::Range<u64>,
}

impl Rule {
    /// Calls on files whose path matches fail: `*` is anything, `/` included.
    pub(crate) fn fail(calls: u32, error: Errno, path: impl Into<String>) -> Self {
        Self {
            calls,
            path: path.into(),
            error: error.raw_os_error(),
            ..Self::default()
        }
    }

    /// Calls hang until the rule is lifted, and then go on.
    pub(crate) fn hang(calls: u32, path: impl Into<String>) -> Self {
        Self {
            calls,
            path: path.into(),
            hang: Duration::from_secs(10 * 60),
            ..Self::default()
        }
    }

    /// So many calls pass before each fault.
    pub(crate) fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Each fault hits so many calls.
    pub(crate) fn hitting(self, hits: u32) -> Self {
        Self { hits, ..self }
    }

    /// Each fault lasts so long from the first call that it hits.
    pub(crate) fn lasting(self, lasting: Duration) -> Self {
        Self { lasting, ..self }
    }

    /// There are so many faults.
    pub(crate) fn rounds(self, rounds: u32) -> Self {
        Self { rounds, ..self }
    }

    /// Only reads and writes that touch these bytes of the file.
    pub(crate) fn bytes(self, bytes: std::ops::Range<u64>) -> Self {
        Self { bytes, ..self }
    }

    /// As the shim reads it, but for the calls: they switch it on.
    fn encode(&self) -> [u8; RULE_BYTES] {
        let mut rule = [0; RULE_BYTES];
        let mut put = |at: usize, number: u32| {
            rule[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        };
        put(4, self.error.cast_unsigned());
        put(8, millis(self.hang));
        put(12, self.skip);
        put(16, self.hits);
        put(20, millis(self.lasting));
        put(24, self.rounds);
        rule[32..40].copy_from_slice(&self.bytes.start.to_ne_bytes());
        rule[40..48].copy_from_slice(&self.bytes.end.to_ne_bytes());
        let path = self.path.as_bytes();
        assert!(path.len() < RULE_BYTES - PATH_AT, "too long: {}", self.path);
        rule[PATH_AT..PATH_AT + path.len()].copy_from_slice(path);
        rule
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap()
}

/// The rules of one process.
#[derive(Debug)]
pub(crate) struct Shim {
    control: PathBuf,
    file: File,
    used: Mutex<[bool; RULES]>,
}

impl Shim {
    /// For a process that is about to be started, with its rules in this file.
    pub(crate) fn new(control: PathBuf) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&control)
            .unwrap();
        file.set_len((RULES * RULE_BYTES) as u64).unwrap();
        Self {
            control,
            file,
            used: Mutex::new([false; RULES]),
        }
    }

    /// For the process itself that the shim was loaded into.
    pub(crate) fn own() -> Self {
        Self::new(std::env::var_os(CONTROL).unwrap().into())
    }

    /// The process will have the shim loaded.
    pub(crate) fn load_into(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env(CONTROL, &self.control);
    }

    /// From now on the rule counts.
    pub(crate) fn begin(&self, rule: &Rule) -> Fault<'_> {
        let mut used = self.used.lock();
        let slot = used.iter().position(|used| !used).expect("a free rule");
        used[slot] = true;
        let fault = Fault {
            shim: self,
            slot,
            at: (slot * RULE_BYTES) as u64,
            since: Instant::now(),
        };
        self.file.write_all_at(&rule.encode(), fault.at).unwrap();
        fault.switch(rule.calls);
        fault
    }
}

/// A rule that counts until it is lifted, or dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Fault<'s> {
    shim: &'s Shim,
    slot: usize,
    at: u64,
    since: Instant,
}

impl Fault<'_> {
    fn switch(&self, calls: u32) {
        let calls = calls.to_ne_bytes();
        self.shim.file.write_all_at(&calls, self.at).unwrap();
    }

    fn number(&self, at: u64) -> u32 {
        let mut number = [0; 4];
        self.shim
            .file
            .read_exact_at(&mut number, self.at + at)
            .unwrap();
        u32::from_ne_bytes(number)
    }

    /// Calls that were hit.
    pub(crate) fn hits(&self) -> u32 {
        self.number(48)
    }

    /// Faults that are over.
    pub(crate) fn over(&self) -> u32 {
        self.number(28)
    }

    /// Calls that hang now.
    pub(crate) fn hanging(&self) -> u32 {
        self.number(72)
    }

    /// Waits until a call has been hit.
    #[track_caller]
    pub(crate) fn until_hit(&self) {
        eventually("a call is hit", || self.hits() > 0);
    }

    pub(crate) fn is_old(&self, age: Duration) -> bool {
        self.since.elapsed() >= age
    }

    /// Waits until the rule has counted for so long.
    pub(crate) fn until_old(&self, age: Duration) {
        eventually("the fault has lasted", || self.is_old(age));
    }

    /// Answers how many calls were hit.
    pub(crate) fn lift(self) -> u32 {
        self.hits()
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        self.switch(0);
        // A call that has not yet seen the end of its hang would take the next rule for its own.
        self.shim.used.lock()[self.slot] = self.hanging() > 0;
    }
}

/// The shim, compiled once in each process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = folder.join(format!("shim-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let compiler = Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1"])
            .args(["-shared", "-fPIC", "-o"])
            .arg(&made)
            .arg(source)
            .output()
            .expect("tests/faults needs a C compiler that is called `cc`");
        assert!(
            compiler.status.success(),
            "the C compiler does not take {source}: {}",
            String::from_utf8_lossy(&compiler.stderr)
        );
        // Other runs of these tests may be using the one before.
        let library = folder.join("shim.so");
        std::fs::rename(&made, &library).unwrap();
        library
    })
}
