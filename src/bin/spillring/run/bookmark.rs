//! Remembers in the spill directory how far a followed file was read: the same command goes on there.
//!
//! A bookmark is written once all entries before it are safe. After SIGKILL more of them may be: the ring file has every
//! entry that was published, so the last number of the killed run gives their count. As many are skipped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spillring::{Publisher, RawEntry, Run, RunId, Ticket};

use super::lines::Lines;
use super::tail::Place;
use crate::console::{Problem, errln};

/// Its name in the spill directory.
const NAME: &str = "input.json";

/// The time between two of them.
const EVERY: Duration = Duration::from_millis(500);

/// The longest wait for entries to be safe when another file is begun.
const SAFE_MAX: Duration = Duration::from_secs(1);

/// What the file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    input: PathBuf,
    place: Place,
    /// The run that is under way; none after a clean end.
    run: Option<RunId>,
    /// How many entries after the place earlier runs have published.
    already: u64,
    /// How many entries of the run are before the place.
    entries: u64,
    /// What to add to a count of entries to get the number of the last: losses of earlier runs have numbers, too.
    offset: u64,
}

/// What the bookmark of the run before says.
#[derive(Debug)]
pub(super) struct Resume(Option<Saved>);

/// Keeps the bookmark of a run.
#[derive(Debug)]
pub(super) struct Bookmark {
    path: PathBuf,
    publisher: Publisher<RawEntry>,
    saved: Saved,
    /// Whether the file says what `saved` does.
    kept: bool,
    /// Where the last line ended.
    seen: Place,
    flushing: Option<(Ticket<()>, Place, u64)>,
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
    pub(super) fn place(&self) -> Option<Place> {
        self.0.as_ref().map(|saved| saved.place)
    }

    /// How many entries after the place the run before this one has published.
    pub(super) fn published(&self, run: &Run) -> u64 {
        let Some(saved) = &self.0 else { return 0 };
        let Some((id, previous)) = saved.run.zip(run.previous()) else {
            return saved.already;
        };
        // Nothing is anywhere of a run that the one before comes after.
        let unknown = previous.id > id || (previous.id == id && previous.last.is_none());
        if unknown {
            errln!(
                "how many lines were published after the last bookmark is not known: they are published again"
            );
        }
        let last = previous.last.filter(|_| previous.id == id);
        let published = last.map_or(0, |last| last.saturating_sub(saved.offset));
        saved.already + published.saturating_sub(saved.entries)
    }
}

impl Bookmark {
    /// The first one of a run, before anything is published: so many entries after the place are already.
    pub(super) fn begin(
        spill_dir: &Path,
        input: &Path,
        (place, already): (Place, u64),
        run: RunId,
        publisher: Publisher<RawEntry>,
    ) -> Self {
        let mut bookmark = Self {
            path: spill_dir.join(NAME),
            publisher,
            saved: Saved {
                input: input.to_owned(),
                place,
                already,
                run: Some(run),
                entries: 0,
                offset: 0,
            },
            kept: true,
            seen: place,
            flushing: None,
            next: Instant::now(),
        };
        bookmark.keep();
        bookmark
    }

    /// Entries are published up to where these lines are, so many in this run.
    pub(super) fn pass(&mut self, lines: &Lines, entries: u64) {
        let Some(place) = lines.place() else { return };
        let elsewhere = place.is_elsewhere(self.seen);
        self.seen = place;
        if elsewhere {
            // The place before may not be found again. After a kill the ring has what is not yet safe.
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
        if place.comes_after(self.saved.place) {
            let flush = self.publisher.flush();
            self.flushing = lines.mark().map(|place| (flush, place, entries));
        } else if !self.kept {
            self.keep();
        }
    }

    /// The last one, once the publisher has ended: all entries are somewhere.
    pub(super) fn end(mut self, place: Place) {
        self.saved.run = None;
        self.mark(Some(place), 0);
    }

    fn mark(&mut self, place: Option<Place>, entries: u64) {
        let Some(place) = place else { return };
        (self.saved.place, self.saved.already, self.saved.entries) = (place, 0, entries);
        self.flushing = None;
        self.keep();
    }

    fn keep(&mut self) {
        let stats = self.publisher.stats();
        if let Some(last) = stats.last {
            // Both are of one report.
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
