//! From lines into the ring, with back-pressure.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{Publisher, RawEntry, TryPublishError};

use super::bookmark::Bookmark;
use super::entries::{Hash, Reading};
use super::lines::{Lines, Next};
use super::pace::Pace;
use super::tail::Place;
use crate::console::{Problem, errln};
use crate::latency::Stopwatch;
use crate::signals::Signals;

/// The first wait for room in the ring, and the longest.
const ROOM_POLL_MIN: Duration = Duration::from_micros(50);
const ROOM_POLL_MAX: Duration = Duration::from_millis(5);

/// The longest wait for the pace between two looks at the signals.
const PACE_POLL_MAX: Duration = Duration::from_millis(50);

/// Parses lines and publishes what they hold.
#[derive(Debug)]
pub(super) struct Feed {
    publisher: Publisher<RawEntry>,
    reading: Reading,
    pace: Pace,
    signals: Signals,
    /// Of a file that is followed.
    bookmark: Option<Bookmark>,
    /// How many entries the run before this one has published already.
    passed_over: u64,
    /// The last line that was published, rejected, or blank.
    through: u64,
    /// Where the line after it begins, in a file that is followed.
    place: Option<Place>,
    published: u64,
    pub(super) counts: Counts,
}

/// What the publisher itself does not count.
#[derive(Debug)]
pub(super) struct Counts {
    /// Lines that were published or rejected.
    pub(super) read: u64,
    pub(super) rejected: u64,
    /// Entries published although their hashes are wrong.
    pub(super) wrong_hashes: u64,
    pub(super) full_attempts: u64,
    pub(super) waited: Duration,
    pub(super) attempts: Stopwatch,
}

/// Why nothing more is fed.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// The input is at its end.
    Input,
    /// A signal.
    Asked,
    /// The publisher takes nothing more.
    Closed,
    Unreadable(io::Error),
}

/// What became of an entry.
enum Fed {
    Published,
    /// A signal came while it waited for its turn or for room: as if its line had not been read.
    Asked,
    /// The publisher takes nothing more, and did not take it.
    Closed,
}

impl Feed {
    pub(super) fn new(
        publisher: Publisher<RawEntry>,
        reading: Reading,
        pace: Pace,
        signals: Signals,
    ) -> Result<Self, Problem> {
        Ok(Self {
            publisher,
            reading,
            pace,
            signals,
            bookmark: None,
            passed_over: 0,
            through: 0,
            place: None,
            published: 0,
            counts: Counts {
                read: 0,
                rejected: 0,
                wrong_hashes: 0,
                full_attempts: 0,
                waited: Duration::ZERO,
                attempts: Stopwatch::new()?,
            },
        })
    }

    /// Passes over so many entries, and keeps a bookmark from then on.
    pub(super) fn follow(&mut self, passed_over: u64, bookmark: Bookmark) {
        (self.passed_over, self.bookmark) = (passed_over, Some(bookmark));
    }

    /// All that was published is delivered or spilled.
    pub(super) fn end(&mut self, lines: &Lines) {
        let place = self.place.and_then(|place| lines.marked(place));
        if let (Some(bookmark), Some(place), 0) = (self.bookmark.take(), place, self.passed_over) {
            bookmark.end(place);
        }
    }

    /// The first line that was not fed.
    pub(super) fn next_line(&self) -> u64 {
        self.through + 1
    }

    /// Feeds until the input is at its end, or something else ends it. Nothing that was read is given up: the line that
    /// cannot be published any more counts as unread.
    pub(super) fn all_of(&mut self, lines: &mut Lines) -> FeedEnd {
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
                Ok(Some(_)) if self.passed_over > 0 => self.passed_over -= 1,
                Ok(Some(read)) => {
                    match self.publish(read.entry) {
                        Fed::Published => self.counts.read += 1,
                        Fed::Asked => return FeedEnd::Asked,
                        Fed::Closed => return FeedEnd::Closed,
                    }
                    self.published += 1;
                    if read.hash == Hash::Wrong {
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
                    errln!("line {} is no entry: {reason}", lines.number());
                }
            }
            self.through = lines.number();
            self.mark(lines);
        }
    }

    fn mark(&mut self, lines: &Lines) {
        self.place = lines.place();
        if let (Some(bookmark), 0) = (&mut self.bookmark, self.passed_over) {
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
