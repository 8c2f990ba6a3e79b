//! The demo's temporary directory, and its stream with `--nats`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use indicatif::HumanBytes;
use spillring::{JetStreamSink, JsonLinesSink, NatsConfig, Sink};

use super::entries::DemoPlan;
use super::links::Blocks;
use super::readback::{DemoStream, FileBlocks};
use crate::console::{Problem, errln};

/// An upper bound on the disk space of an entry, delivered and spilled.
const ENTRY_BYTES: u64 = 1_100;

/// The demo's own subjects: no stream for real entries has them.
pub(super) const SUBJECT_PREFIX: &str = "spillring.demo";
const CURSOR_PREFIX: &str = "spillring.demo-cursor";

/// What the demo creates while it runs.
#[derive(Debug)]
pub(super) struct Workspace {
    scratch: Scratch,
    server: Option<DemoStream>,
}

/// A temporary directory. Dropping it removes the directory.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Workspace {
    pub(super) fn prepare(
        nats: Option<&str>,
        stream: &str,
        plan: &DemoPlan,
    ) -> Result<Self, Problem> {
        let server = nats.map(|url| DemoStream::find(url, stream)).transpose()?;
        let scratch = Scratch::make(plan.entries() * ENTRY_BYTES)?;
        Ok(Self { scratch, server })
    }

    pub(super) fn spill_dir(&self) -> PathBuf {
        self.scratch.path.join("spill")
    }

    fn output(&self) -> PathBuf {
        self.scratch.path.join("audit.jsonl")
    }

    pub(super) fn sink(&self) -> Result<Box<dyn Sink>, Problem> {
        let Some(server) = &self.server else {
            return Ok(Box::new(JsonLinesSink::new(self.output())));
        };
        let mut settings = NatsConfig::from_env()
            .map_err(|error| Problem::new(format_args!("in the environment {error}")))?;
        server.stream().clone_into(&mut settings.stream);
        SUBJECT_PREFIX.clone_into(&mut settings.subject_prefix);
        CURSOR_PREFIX.clone_into(&mut settings.cursor_prefix);
        settings.urls = vec![server.url().into()];
        let sink = JetStreamSink::new(settings).map_err(Problem::new)?;
        Ok(Box::new(sink))
    }

    /// The delivered lines.
    pub(super) fn blocks(&self) -> Result<Blocks, Problem> {
        match &self.server {
            Some(server) => Ok(Box::new(server.blocks()?)),
            None => FileBlocks::open(&self.output())
                .map(|blocks| Box::new(blocks) as Blocks)
                .map_err(|error| {
                    Problem::new(format_args!(
                        "the delivered entries cannot be read: {error}"
                    ))
                }),
        }
    }

    /// Removes what the demo has created.
    pub(super) fn clean_up(self) {
        if let Some(problem) = self.server.and_then(|server| server.clean_up().err()) {
            errln!("{problem}");
        }
    }

    /// Keeps everything for inspection. Returns a sentence that says where.
    pub(super) fn keep(self) -> String {
        let kept = format!(
            "Everything is kept in {} for inspection.\n",
            self.scratch.path.display()
        );
        std::mem::forget(self.scratch);
        kept
    }
}

impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => server.fmt(f),
            None => write!(f, "{}", self.output().display()),
        }
    }
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn make(needed: u64) -> Result<Self, Problem> {
        let parent = env::temp_dir();
        let path = parent.join(format!("spillring-demo-{:016x}", fastrand::u64(..)));
        let made = || -> io::Result<u64> {
            let disk = rustix::fs::statvfs(&parent)?;
            DirBuilder::new().mode(0o700).create(&path)?;
            Ok(disk.f_bavail * disk.f_frsize)
        };
        let free = made().map_err(|error| {
            Problem::new(format_args!(
                "{} cannot be used: {error}; set TMPDIR to another directory",
                parent.display()
            ))
        })?;
        let scratch = Self { path };
        if free < needed {
            return Err(Problem::new(format_args!(
                "{} has {} free, and the demo may need {}: set TMPDIR to another directory, or give fewer `--entries`",
                parent.display(),
                HumanBytes(free),
                HumanBytes(needed)
            )));
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            errln!("{} cannot be removed: {error}", self.path.display());
        }
    }
}
