//! What the kernel says of processes and threads: time on a core, voluntary switches, memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Threads of this process.
#[derive(Debug, Clone)]
pub(crate) struct Threads(Vec<PathBuf>);

impl Threads {
    /// Those that run now under this name.
    pub(crate) fn named(wanted: &str) -> Self {
        let mut threads = Self::all();
        threads.0.retain(|task| {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            name.trim() == wanted
        });
        threads
    }

    /// Those that run now beside the calling one.
    pub(crate) fn others() -> Self {
        let own = fs::read_link("/proc/thread-self").expect("Linux tells the threads");
        let mut threads = Self::all();
        threads.0.retain(|task| task.file_name() != own.file_name());
        threads
    }

    fn all() -> Self {
        let tasks = fs::read_dir("/proc/self/task").expect("Linux tells the threads");
        Self(tasks.map(|task| task.expect("a thread").path()).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How long they have run on a core, all together.
    pub(crate) fn runtime(&self) -> Duration {
        self.0.iter().map(|task| runtime(task)).sum()
    }

    /// How often they have gone to sleep, and so were woken, all together.
    pub(crate) fn sleeps(&self) -> u64 {
        let sleeps = |task: &PathBuf| number(&task.join("status"), "voluntary_ctxt_switches:");
        self.0.iter().map(sleeps).sum()
    }
}

/// How long the calling thread has run on a core.
pub(crate) fn own_runtime() -> Duration {
    runtime(Path::new("/proc/thread-self"))
}

/// To the nanosecond; of a thread that has ended, nothing.
fn runtime(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// How long all threads of another process have run on a core, those that have ended included.
pub(crate) fn process_runtime(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // Behind the name, which may hold anything: the state is the third field, user and system time 14 and 15.
    let (_, behind) = text.rsplit_once(')').expect("a name");
    let ticks = behind.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|word| word.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

/// Memory of this process in MiB: `VmRSS`, `RssAnon`, or `VmHWM`, the most since [`forget_peak`].
pub(crate) fn memory(field: &str) -> f64 {
    let kib = number(Path::new("/proc/self/status"), field);
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process forget its peak");
}

/// The number behind the first word of a line.
fn number(path: &Path, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number.and_then(|word| word.parse().ok()).unwrap_or(0)
}
