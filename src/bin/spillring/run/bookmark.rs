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

use super::tail::Place;
use crate::telling::{Problem, tell};

/// Its name in the spill directory.
const NAME: &str = "input.json";

/// The time between two of them.
const EVERY: Duration = Duration::from_millis(500);

/// The longest wait for the first entry to be numbered.
const NUMBERED_MAX: Duration = Duration::from_secs(5);

/// What the file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    input: PathBuf,
    place: Place,
    run: RunId,
    /// How many entries after the place earlier runs have published.
    already: u64,
    /// How many entries of the run are before the place.
    entries: u64,
    /// What to add to a count of entries to get the number of the last. Known once the first entry has a number.
    offset: Option<i64>,
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
    flushing: Option<(Ticket<()>, Place, u64)>,
    next: Instant,
}

impl Saved {
    fn move_to(&mut self, place: Place, entries: u64) {
        (self.place, self.already, self.entries) = (place, 0, entries);
    }
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
        let previous = run.previous().filter(|previous| previous.id == saved.run);
        let Some(previous) = previous else {
            // Nothing of that run is anywhere.
            return saved.already;
        };
        let published = match (previous.last, saved.offset) {
            (Some(last), Some(offset)) => u64::try_from(last.cast_signed() - offset).unwrap_or(0),
            // Killed before the second entry.
            (Some(_), None) => 1,
            (None, _) => {
                tell!(
                    "how much of the input was published after its last bookmark is not known: up to that much is published again"
                );
                saved.entries
            }
        };
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
    ) -> Result<Self, Problem> {
        let bookmark = Self {
            path: spill_dir.join(NAME),
            publisher,
            saved: Saved {
                input: input.to_owned(),
                place,
                already,
                run,
                entries: 0,
                offset: None,
            },
            flushing: None,
            next: Instant::now(),
        };
        bookmark
            .write()
            .map_err(|error| Problem::new(format_args!("{}: {error}", bookmark.path.display())))?;
        Ok(bookmark)
    }

    /// Entries are published up to the place, so many in this run.
    pub(super) fn pass(&mut self, place: Place, entries: u64) {
        if self.saved.offset.is_none() && entries > 0 {
            self.saved.offset = self.number_offset();
            self.keep();
        }
        if let Some((ticket, at, count)) = &self.flushing {
            if ticket.wait(Duration::ZERO).is_err() {
                return;
            }
            self.saved.move_to(*at, *count);
            self.flushing = None;
            self.keep();
        }
        let now = Instant::now();
        if now >= self.next && place != self.saved.place {
            self.next = now + EVERY;
            self.flushing = Some((self.publisher.flush(), place, entries));
        }
    }

    /// The last one, once the publisher has ended: all entries are somewhere.
    pub(super) fn end(mut self, place: Place, entries: u64) {
        self.saved.move_to(place, entries);
        self.keep();
    }

    /// The number of the newest entry popped from the ring, minus how many were popped.
    fn number_offset(&self) -> Option<i64> {
        let until = Instant::now() + NUMBERED_MAX;
        loop {
            let stats = self.publisher.stats();
            let popped = stats.accepted - stats.in_ring;
            if let Some(last) = stats.last.filter(|_| popped > 0) {
                return Some(last.n.cast_signed() - popped.cast_signed());
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn keep(&self) {
        if let Err(error) = self.write() {
            tell!("{} cannot be written: {error}", self.path.display());
        }
    }

    fn write(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&self.saved)?)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}
