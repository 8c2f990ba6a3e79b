//! A control group with little memory: the kernel's OOM killer ends what wants more.

use std::fs;
use std::path::{Path, PathBuf};

use test_support::skipped::skipped;

/// How much its processes may have.
const BYTES: &str = "134217728";
/// Where groups are made, and the file that bounds their memory: of both versions.
const ROOTS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup", "memory.max"),
];
const PROCESSES: &str = "cgroup.procs";

pub(crate) struct Group(PathBuf);

impl Group {
    /// None where this user may make none.
    pub(crate) fn new() -> Option<Self> {
        ROOTS.into_iter().find_map(|(root, limit)| {
            let dir = Path::new(root).join(format!("spillring-test-{}", std::process::id()));
            fs::create_dir(&dir).ok()?;
            let group = Self(dir);
            fs::write(group.0.join(limit), BYTES).ok()?;
            Some(group)
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// This process is in the group from now on.
    pub(crate) fn join(dir: &Path) {
        fs::write(dir.join(PROCESSES), std::process::id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not a folder like others: it has files that nobody can remove.
        if let Err(error) = fs::remove_dir(&self.0) {
            skipped(&format!("{} is left: {error}", self.0.display()));
        }
    }
}
