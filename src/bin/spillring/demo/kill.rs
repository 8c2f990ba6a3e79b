//! `demo --kill`: kills a process with SIGKILL while it publishes at full rate, starts again, and shows that nothing is
//! missing.
//!
//! After each `publish` the process stores the count of returned calls in shared memory.

use std::env;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use spillring::config::SpillDurability;
use spillring::{AuditEntry, Config, JsonLinesSink};
use spillring_mapping::Mapping;

use super::entries::{Author, THREADS_MAX, agent as agent_of};
use super::workspace::Scratch;
use crate::console::{Exit, Problem, show};

/// An upper bound on the disk space of an entry.
const ENTRY_BYTES: u64 = 1_100;
/// The longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// The directories, the threads and the shared counters.
#[derive(Debug)]
struct Stage {
    dir: PathBuf,
    ring_dir: PathBuf,
    threads: usize,
    /// For each thread, the count of returned `publish` calls.
    returned: Mapping,
}

impl Stage {
    fn new(dir: &Path, ring_dir: PathBuf, threads: usize) -> Result<Self, Problem> {
        let path = dir.join("returned");
        let made = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true);
            let file = options.open(&path)?;
            file.set_len((THREADS_MAX * size_of::<u64>()) as u64)?;
            Mapping::new(&file, THREADS_MAX)
        };
        let returned = made().map_err(|error| {
            Problem::new(format_args!("cannot use {}: {error}", path.display()))
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            ring_dir,
            threads,
            returned,
        })
    }

    fn returned(&self) -> Vec<u64> {
        let words = self.returned.words().iter().take(self.threads);
        words.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn output(&self) -> PathBuf {
        self.dir.join("audit.jsonl")
    }

    fn start(&self) -> Result<spillring::Drainer<AuditEntry>, Problem> {
        let mut config = Config::new(self.dir.join("spill"));
        config.ring_dir = Some(self.ring_dir.clone());
        config.spill_durability = SpillDurability::ProcessCrash;
        let sink = JsonLinesSink::new(self.output()).durability(SpillDurability::ProcessCrash);
        spillring::start_durable(config, sink).map_err(Problem::new)
    }

    fn child(&self) -> Result<Child, Problem> {
        let spawned = env::current_exe().and_then(|binary| {
            Command::new(binary)
                .arg("demo")
                .arg("--publish-in")
                .arg(&self.dir)
                .arg("--ring-dir")
                .arg(&self.ring_dir)
                .args(["--threads", &self.threads.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        });
        spawned.map_err(|error| Problem::new(format_args!("the process does not start: {error}")))
    }
}

/// A directory for the ring: in memory, if there is a tmpfs.
pub(super) fn ring_dir(given: Option<PathBuf>, scratch: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    given.unwrap_or_else(|| {
        if memory.is_dir() {
            memory.to_owned()
        } else {
            scratch.join("ring")
        }
    })
}

/// The process to kill: it publishes until then.
pub(super) fn publish(dir: &Path, ring_dir: PathBuf, threads: usize) -> Result<Exit, Problem> {
    let stage = Stage::new(dir, ring_dir, threads)?;
    let drainer = stage.start()?;
    thread::scope(|scope| {
        for (thread, returned) in (0..threads).zip(stage.returned.words()) {
            let publisher = drainer.publisher();
            scope.spawn(move || {
                let mut author = Author::new(thread);
                for made in 1.. {
                    if publisher.publish_timeout(author.next(), LIMIT).is_err() {
                        return;
                    }
                    returned.store(made, Ordering::Relaxed);
                }
            });
        }
    });
    Ok(Exit::Lost)
}

/// Kills the process once this many entries are published, starts again, and checks.
pub(super) fn main(entries: u64, threads: usize, ring: Option<PathBuf>) -> Result<Exit, Problem> {
    let scratch = Scratch::make(entries * ENTRY_BYTES)?;
    let dir = scratch.path();
    let stage = Stage::new(dir, ring_dir(ring, dir), threads)?;
    show(&format!(
        "{threads} threads publish as fast as they can, into a ring in {}.\nAfter {} entries their process is killed with \
         SIGKILL.\n\n",
        stage.ring_dir.display(),
        HumanCount(entries)
    ));
    let mut child = stage.child()?;
    let killed = kill(&stage, &mut child, entries)?;
    let returned = stage.returned();
    let before = lines(&stage.output())?;
    let drainer = stage.start()?;
    let inherited = drainer.stats().inherited;
    let ended = drainer.shutdown(LIMIT).wait(LIMIT * 2);
    ended.map_err(|error| Problem::new(format_args!("the shutdown failed: {error}")))?;
    let found = check(&stage.output(), threads)?;
    let account = KillReport {
        killed,
        returned,
        before,
        inherited,
        found,
    };
    show(&account.describe());
    Ok(if account.holds() {
        Exit::Done
    } else {
        Exit::Broken
    })
}

fn kill(stage: &Stage, child: &mut Child, entries: u64) -> Result<u32, Problem> {
    let start = Instant::now();
    while stage.returned().iter().sum::<u64>() < entries {
        let ended = child.try_wait().is_ok_and(|status| status.is_some());
        if ended || start.elapsed() > LIMIT {
            child.kill().ok();
            return Err(Problem::new(
                "the process does not publish: see its error above",
            ));
        }
        thread::sleep(POLL);
    }
    let ended = child.kill().and_then(|()| child.wait());
    ended.map_err(|error| Problem::new(format_args!("it cannot be killed: {error}")))?;
    Ok(child.id())
}

fn lines(path: &Path) -> Result<u64, Problem> {
    let mut count = 0;
    for_each(path, |_| count += 1)?;
    Ok(count)
}

fn for_each(path: &Path, mut line: impl FnMut(&str)) -> Result<(), Problem> {
    let read = || {
        let file = match OpenOptions::new().read(true).open(path) {
            // The process was killed before it delivered anything.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        BufReader::new(file).lines().try_for_each(|next| {
            line(&next?);
            Ok::<_, std::io::Error>(())
        })
    };
    let mut read = read;
    read().map_err(|error| {
        Problem::new(format_args!(
            "the delivered entries cannot be read: {error}"
        ))
    })
}

/// The number of entries that were delivered per thread; and the first line that is not the next entry of its thread.
fn check(path: &Path, threads: usize) -> Result<(Vec<u64>, Option<String>), Problem> {
    let mut authors: Vec<_> = (0..threads)
        .map(|thread| (Author::new(thread), 0))
        .collect();
    let mut fault = None;
    for_each(path, |line| {
        let entry = serde_json::from_str::<AuditEntry>(line).ok();
        let agent = entry.as_ref().map(AuditEntry::agent_id);
        let author = authors
            .iter_mut()
            .enumerate()
            .find(|(thread, _)| agent == Some(agent_of(*thread)));
        let next = author.map(|(_, (author, count))| {
            *count += 1;
            author.next()
        });
        if next.is_none() || next != entry {
            fault.get_or_insert_with(|| line.to_owned());
        }
    })?;
    Ok((authors.into_iter().map(|(_, count)| count).collect(), fault))
}

struct KillReport {
    /// The process id.
    killed: u32,
    returned: Vec<u64>,
    /// Entries delivered before the kill.
    before: u64,
    inherited: u64,
    found: (Vec<u64>, Option<String>),
}

impl KillReport {
    fn holds(&self) -> bool {
        let (found, fault) = &self.found;
        let complete =
            |(returned, found): (&u64, &u64)| returned <= found && *found <= returned + 1;
        fault.is_none() && self.returned.iter().zip(found).all(complete)
    }

    fn describe(&self) -> String {
        let mut out = String::new();
        let count = |n: u64| HumanCount(n).to_string();
        let returned: u64 = self.returned.iter().sum();
        let found: u64 = self.found.0.iter().sum();
        let mut row = |name: &str, text: String| writeln!(out, "{name:<12} {text}").is_ok();
        row("killed", format!("process {}, in full flight", self.killed));
        row(
            "published",
            format!("{} entries: publish had returned", count(returned)),
        );
        row(
            "delivered",
            format!("{} before the kill", count(self.before)),
        );
        row(
            "found",
            format!("{} in the ring and the spill", count(self.inherited)),
        );
        row(
            "delivered",
            format!(
                "{} now; {} were being published",
                count(found),
                found.saturating_sub(returned)
            ),
        );
        match &self.found.1 {
            Some(line) => row("WRONG", format!("not the next entry of its thread: {line}")),
            None if self.holds() => {
                row("checked", "each once, in order, none is missing".to_owned())
            }
            None => row("WRONG", "entries are missing".to_owned()),
        };
        out
    }
}
