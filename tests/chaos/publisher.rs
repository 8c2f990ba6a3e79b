//! A publisher under test, seen from outside: its process, its proxy, and how each of its starts has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use crate::child::{SHUTDOWN_MAX, THREADS, Task};
use crate::entries::Whose;
use crate::journal::{self, Noted};
use test_support::child::Process;
use test_support::eventually::eventually_within;
use test_support::proxy::Proxy;

/// How a start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Killed,
}

/// It outlives its process: all starts have one spill.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) proxy: Proxy,
    task: Task,
    process: Option<Process>,
    /// The process ends by itself when this is closed.
    pipe: Option<ChildStdin>,
    /// Of all starts that have ended.
    pub(crate) ends: Vec<End>,
}

impl Publisher {
    pub(crate) fn new(publisher: usize, rate: u32, dir: &Path, nodes: &[u16]) -> Self {
        let dir: PathBuf = dir.join(format!("publisher {publisher}"));
        fs::create_dir(&dir).expect("a directory can be made");
        let proxy = Proxy::new(nodes);
        let task = Task {
            publisher,
            start: 0,
            rate,
            urls: proxy.urls(),
            dir,
        };
        Self {
            proxy,
            task,
            process: None,
            pipe: None,
            ends: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self) {
        self.task.start = self.ends.len();
        let (process, pipe) = self.task.start();
        (self.process, self.pipe) = (Some(process), Some(pipe));
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            self.ends.push(End::Killed);
        }
    }

    /// Tells it to end by itself.
    pub(crate) fn end(&mut self) {
        self.pipe = None;
    }

    /// Waits until it has ended by itself, which it does well once everything is delivered.
    pub(crate) fn until_ended(&mut self) {
        let mut child = self.process.take().expect("it was started");
        let status = eventually_within(SHUTDOWN_MAX * 2, "the publisher ends", || {
            child.try_wait().expect("it can be asked")
        });
        assert!(status.success(), "{status}: {}", self.said());
        self.ends.push(End::Clean);
    }

    pub(crate) fn assert_lives(&mut self) {
        let child = self.process.as_mut().expect("it was started");
        let ended = child.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "{}", self.said());
    }

    /// The last lines of its log.
    pub(crate) fn said(&self) -> String {
        let file = self.task.dir.join(format!("said {}", self.task.start));
        let said = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The lines of all logs that name an error of ours: there is no reason for one.
    pub(crate) fn errors(&self) -> Vec<String> {
        let logs = (0..self.ends.len()).map(|start| self.task.dir.join(format!("said {start}")));
        let logs = logs.map(|file| fs::read_to_string(file).expect("a log"));
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        lines
            .filter(|line| line.contains("ERROR spillring"))
            .collect()
    }

    /// What each thread of each start that has ended has noted.
    pub(crate) fn journals(&self) -> impl Iterator<Item = (Whose, Noted, End)> {
        let all = (0..THREADS).flat_map(|thread| {
            let starts = self.ends.iter().enumerate();
            starts.map(move |(start, end)| (start, thread, *end))
        });
        all.map(|(start, thread, end)| {
            let whose = Whose {
                publisher: self.task.publisher,
                start,
                thread,
            };
            (whose, journal::read(&self.task.dir, whose), end)
        })
    }
}
