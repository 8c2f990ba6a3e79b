//! From lines into the ring, with back-pressure.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{AuditEntry, Publisher, TryPublishError};

use super::lines::{Lines, Next};
use super::pace::Pace;
use crate::latency::Stopwatch;
use crate::signals::Signals;
use crate::telling::{Problem, tell};

/// The first wait for room in the ring, and the longest.
const ROOM_POLL_MIN: Duration = Duration::from_micros(50);
const ROOM_POLL_MAX: Duration = Duration::from_millis(5);

/// The longest wait for the pace between two looks at the signals.
const PACE_POLL_MAX: Duration = Duration::from_millis(50);

/// Parses lines and publishes what they hold.
#[derive(Debug)]
pub(super) struct Feed {
    publisher: Publisher<AuditEntry>,
    pace: Pace,
    signals: Signals,
    shutdown_max: Duration,
    pub(super) counts: Counts,
}

/// What the publisher itself does not count.
#[derive(Debug)]
pub(super) struct Counts {
    /// Lines, without the blank ones.
    pub(super) read: u64,
    pub(super) rejected: u64,
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

impl Feed {
    pub(super) fn new(
        publisher: Publisher<AuditEntry>,
        pace: Pace,
        signals: Signals,
        shutdown_max: Duration,
    ) -> Result<Self, Problem> {
        Ok(Self {
            publisher,
            pace,
            signals,
            shutdown_max,
            counts: Counts {
                read: 0,
                rejected: 0,
                full_attempts: 0,
                waited: Duration::ZERO,
                attempts: Stopwatch::new()?,
            },
        })
    }

    pub(super) fn all_of(&mut self, lines: &mut Lines) -> FeedEnd {
        loop {
            let line = match lines.next(&self.signals) {
                Next::Line(line) => parse(line),
                Next::TooLong(bytes) => Err(format!("it is longer than {bytes} bytes")),
                Next::End => return FeedEnd::Input,
                Next::Asked => return FeedEnd::Asked,
                Next::Failed(error) => return FeedEnd::Unreadable(error),
            };
            match line {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    self.counts.read += 1;
                    if !self.publish(entry) {
                        return FeedEnd::Closed;
                    }
                }
                Err(reason) => {
                    self.counts.read += 1;
                    self.counts.rejected += 1;
                    tell!("line {} is no entry: {reason}", lines.number());
                }
            }
        }
    }

    /// Publishes, waiting for the pace and for room; whether the publisher is still open.
    #[expect(clippy::result_large_err, reason = "it is the entry, handed back")]
    fn publish(&mut self, mut entry: AuditEntry) -> bool {
        self.keep_pace();
        let mut pause = ROOM_POLL_MIN;
        loop {
            let publisher = &self.publisher;
            entry = match self.counts.attempts.time(|| publisher.try_publish(entry)) {
                Ok(()) => return true,
                Err(TryPublishError::Full(entry)) => entry,
                Err(TryPublishError::Closed(entry)) => {
                    // A loss that is counted as one.
                    self.publisher.publish(entry);
                    return false;
                }
            };
            self.counts.full_attempts += 1;
            // Once an end was asked for, what had been read before is waited for with a limit.
            let left = self.signals.left(self.shutdown_max);
            if left.is_some_and(|left| left.is_zero()) {
                self.publisher.publish(entry);
                return true;
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

/// The entry of a line, if it is not blank.
fn parse(line: &[u8]) -> Result<Option<AuditEntry>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let reason = message.strip_suffix(&place).unwrap_or(&message);
        format!("{reason} (column {})", error.column())
    })
}
