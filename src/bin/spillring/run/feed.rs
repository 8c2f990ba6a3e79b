//! Publishes lines into the ring, with back-pressure.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use spillring::error::TryPublishError;
use spillring::{Publisher, RawEntry};

use super::bookmark::Bookmark;
use super::entries::{HashCheck, LineFormat};
use super::lines::{InputLines, Next};
use super::pace::InputPace;
use super::tail::FilePosition;
use crate::console::{Problem, errln};
use crate::latency::Stopwatch;
use crate::signals::Signals;

/// The first wait for room in the ring, and the longest.
const ROOM_POLL_MIN: Duration = Duration::from_micros(50);
const ROOM_POLL_MAX: Duration = Duration::from_millis(5);

/// The longest wait for the pace between two checks for signals.
const PACE_POLL_MAX: Duration = Duration::from_millis(50);

/// Parses lines and publishes their entries.
#[derive(Debug)]
pub(super) struct Feed {
    publisher: Publisher<RawEntry>,
    reading: LineFormat,
    pace: InputPace,
    signals: Signals,
    /// With `--follow`.
    bookmark: Option<Bookmark>,
    /// How many entries earlier runs have published already: they are skipped.
    skip: u64,
    /// The last line that was published, rejected, or blank.
    through: u64,
    /// The beginning of the line after it, with `--follow`.
    position: Option<FilePosition>,
    published: u64,
    pub(super) counts: FeedCounts,
}

/// Counts beyond those of the publisher.
#[derive(Debug)]
pub(super) struct FeedCounts {
    /// Lines that were published or rejected.
    pub(super) read: u64,
    pub(super) rejected: u64,
    /// Entries published although their hashes are wrong.
    pub(super) wrong_hashes: u64,
    pub(super) full_attempts: u64,
    pub(super) waited: Duration,
    pub(super) attempts: Stopwatch,
}

/// Why feeding ended.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// The input ended.
    Input,
    /// A signal came.
    Asked,
    /// The publisher is closed.
    Closed,
    Unreadable(io::Error),
}

/// The outcome for one entry.
enum Fed {
    Published,
    /// A signal came while it waited for its turn or for room. Its line counts as unread.
    Asked,
    /// The publisher is closed, and did not take it.
    Closed,
}

impl Feed {
    pub(super) fn new(
        publisher: Publisher<RawEntry>,
        reading: LineFormat,
        pace: InputPace,
        signals: Signals,
    ) -> Result<Self, Problem> {
        Ok(Self {
            publisher,
            reading,
            pace,
            signals,
            bookmark: None,
            skip: 0,
            through: 0,
            position: None,
            published: 0,
            counts: FeedCounts {
                read: 0,
                rejected: 0,
                wrong_hashes: 0,
                full_attempts: 0,
                waited: Duration::ZERO,
                attempts: Stopwatch::new()?,
            },
        })
    }

    /// Skips this many entries, and keeps the bookmark from then on.
    pub(super) fn follow(&mut self, skip: u64, bookmark: Bookmark) {
        (self.skip, self.bookmark) = (skip, Some(bookmark));
    }

    /// Writes the last bookmark: all published entries are delivered or spilled.
    pub(super) fn end(&mut self, lines: &InputLines) {
        let position = self.position.and_then(|position| lines.marked(position));
        if let (Some(bookmark), Some(position), 0) = (self.bookmark.take(), position, self.skip) {
            bookmark.end(position);
        }
    }

    /// The first line that was not published, rejected or blank.
    pub(super) fn next_line(&self) -> u64 {
        self.through + 1
    }

    /// Feeds until the input ends, or a signal or an error ends it. A line that could not be published counts as
    /// unread.
    pub(super) fn all_of(&mut self, lines: &mut InputLines) -> FeedEnd {
        loop {
            let line = match lines.next(&self.signals) {
                Next::Line(line) => self.reading.read(line),
                Next::TooLong(bytes) => Err(format!("it is longer than {bytes} bytes")),
                Next::Nothing => {
                    self.mark(lines);
                    continue;
                }
                Next::End => return FeedEnd::Input,
                Next::Asked => return FeedEnd::Asked,
                Next::Failed(error) => return FeedEnd::Unreadable(error),
            };
            match line {
                Ok(None) => {}
                Ok(Some(_)) if self.skip > 0 => self.skip -= 1,
                Ok(Some(read)) => {
                    match self.publish(read.entry) {
                        Fed::Published => self.counts.read += 1,
                        Fed::Asked => return FeedEnd::Asked,
                        Fed::Closed => return FeedEnd::Closed,
                    }
                    self.published += 1;
                    if read.hash == HashCheck::Wrong {
                        self.counts.wrong_hashes += 1;
                        errln!(
                            "line {}: its entry_hash is not the hash of its fields",
                            lines.number()
                        );
                    }
                }
                Err(reason) => {
                    self.counts.read += 1;
                    self.counts.rejected += 1;
                    errln!("line {} is not an entry: {reason}", lines.number());
                }
            }
            self.through = lines.number();
            self.mark(lines);
        }
    }

    fn mark(&mut self, lines: &InputLines) {
        self.position = lines.position();
        if let (Some(bookmark), 0) = (&mut self.bookmark, self.skip) {
            bookmark.pass(lines, self.published);
        }
    }

    /// Publishes, waiting for the pace and for room, until a signal comes.
    fn publish(&mut self, mut entry: RawEntry) -> Fed {
        self.keep_pace();
        if self.signals.asked() {
            return Fed::Asked;
        }
        let mut pause = ROOM_POLL_MIN;
        loop {
            let publisher = &self.publisher;
            entry = match self.counts.attempts.time(|| publisher.try_publish(entry)) {
                Ok(()) => return Fed::Published,
                Err(TryPublishError::Full(entry)) => entry,
                Err(TryPublishError::Closed(_)) => return Fed::Closed,
            };
            self.counts.full_attempts += 1;
            if self.signals.asked() {
                return Fed::Asked;
            }
            let start = Instant::now();
            thread::sleep(pause);
            self.counts.waited += start.elapsed();
            pause = (pause * 2).min(ROOM_POLL_MAX);
        }
    }

    fn keep_pace(&mut self) {
        while let Some(wait) = self.pace.hold() {
            if self.signals.asked() {
                break;
            }
            thread::sleep(wait.min(PACE_POLL_MAX));
        }
        self.pace.step();
    }
}
