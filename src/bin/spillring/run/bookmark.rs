//! Remembers in the spill directory how far a followed file was read, so that the same command resumes there.
//!
//! A bookmark is written once all entries before it are safe. After SIGKILL, later entries may have been published too:
//! the ring file has all of them, so the last number of the killed run gives their count. The next run skips that many.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spillring::event::{Run, RunId};
use spillring::{Publisher, RawEntry, Ticket};

use super::lines::InputLines;
use super::tail::FilePosition;
use crate::console::{Problem, errln};

/// The name of the bookmark in the spill directory.
const NAME: &str = "input.json";

/// Time between two bookmarks.
const EVERY: Duration = Duration::from_millis(500);

/// The longest wait for entries to be safe when reading moves to another file.
const SAFE_MAX: Duration = Duration::from_secs(1);

/// The contents of the bookmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    input: PathBuf,
    #[serde(rename = "place")]
    position: FilePosition,
    /// The current run; none after a clean end.
    run: Option<RunId>,
    /// How many entries after the position were published by earlier runs.
    already: u64,
    /// How many entries of the run are before the position.
    entries: u64,
    /// Difference between the last entry's number and the count of entries: losses of earlier runs have numbers, too.
    offset: u64,
}

/// The bookmark of the run before.
#[derive(Debug)]
pub(super) struct Resume(Option<Saved>);

/// Keeps the bookmark of a run.
#[derive(Debug)]
pub(super) struct Bookmark {
    path: PathBuf,
    publisher: Publisher<RawEntry>,
    saved: Saved,
    /// Whether the last write succeeded.
    kept: bool,
    /// The end of the last line.
    seen: FilePosition,
    flushing: Option<(Ticket<()>, FilePosition, u64)>,
    next: Instant,
}

impl Resume {
    pub(super) fn read(spill_dir: &Path, input: &Path) -> Result<Self, Problem> {
        let path = spill_dir.join(NAME);
        let saved: Option<Saved> = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
                Problem::new(format_args!(
                    "{} cannot be read ({error}): remove it to read the input from its beginning",
                    path.display()
                ))
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Problem::new(format_args!("{}: {error}", path.display())));
            }
        };
        Ok(Self(saved.filter(|saved| saved.input == input)))
    }

    /// Where to begin.
    pub(super) fn position(&self) -> Option<FilePosition> {
        self.0.as_ref().map(|saved| saved.position)
    }

    /// How many entries after the position are published already.
    pub(super) fn published(&self, run: &Run) -> u64 {
        let Some(saved) = &self.0 else { return 0 };
        let Some((id, previous)) = saved.run.zip(run.previous()) else {
            return saved.already;
        };
        // If the previous run is older than the bookmark's, the bookmark's run has published nothing.
        let unknown = previous.id > id || (previous.id == id && previous.last.is_none());
        if unknown {
            errln!(
                "it is not known how many lines were published after the last bookmark: they are published again"
            );
        }
        let last = previous.last.filter(|_| previous.id == id);
        let published = last.map_or(0, |last| last.saturating_sub(saved.offset));
        saved.already + published.saturating_sub(saved.entries)
    }
}

impl Bookmark {
    /// Writes the first bookmark of a run, before it publishes anything. Earlier runs have published `already` entries
    /// after the position.
    pub(super) fn begin(
        spill_dir: &Path,
        input: &Path,
        (position, already): (FilePosition, u64),
        run: RunId,
        publisher: Publisher<RawEntry>,
    ) -> Self {
        let mut bookmark = Self {
            path: spill_dir.join(NAME),
            publisher,
            saved: Saved {
                input: input.to_owned(),
                position,
                already,
                run: Some(run),
                entries: 0,
                offset: 0,
            },
            kept: true,
            seen: position,
            flushing: None,
            next: Instant::now(),
        };
        bookmark.keep();
        bookmark
    }

    /// `entries` entries of this run are published, up to the current position of `lines`.
    pub(super) fn pass(&mut self, lines: &InputLines, entries: u64) {
        let Some(position) = lines.position() else {
            return;
        };
        let elsewhere = position.is_elsewhere(self.seen);
        self.seen = position;
        if elsewhere {
            // The old position may be gone. After a kill the ring has the entries that are not yet safe.
            self.publisher.flush().wait(SAFE_MAX).unwrap_or_default();
            return self.mark(lines.mark(), entries);
        }
        if let Some((ticket, at, count)) = &self.flushing {
            if ticket.wait(Duration::ZERO).is_err() {
                return;
            }
            let (at, count) = (*at, *count);
            return self.mark(Some(at), count);
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        if position.comes_after(self.saved.position) {
            let flush = self.publisher.flush();
            self.flushing = lines.mark().map(|position| (flush, position, entries));
        } else if !self.kept {
            self.keep();
        }
    }

    /// Writes the last bookmark, after the shutdown: all entries are delivered or spilled.
    pub(super) fn end(mut self, position: FilePosition) {
        self.saved.run = None;
        self.mark(Some(position), 0);
    }

    fn mark(&mut self, position: Option<FilePosition>, entries: u64) {
        let Some(position) = position else { return };
        (self.saved.position, self.saved.already, self.saved.entries) = (position, 0, entries);
        self.flushing = None;
        self.keep();
    }

    fn keep(&mut self) {
        let stats = self.publisher.stats();
        if let Some(last) = stats.last {
            // Both come from one report.
            let popped = stats.accepted - stats.in_ring;
            self.saved.offset = last.n.saturating_sub(popped);
        }
        let written = self.write();
        if let (true, Err(error)) = (self.kept, &written) {
            errln!("{} cannot be written: {error}", self.path.display());
        }
        self.kept = written.is_ok();
    }

    fn write(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&self.saved)?)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}
