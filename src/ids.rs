//! Ids: of the publisher, of its runs, and of the entries in a run.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

/// Identifies a publisher for good: generated once per spill directory.
///
/// See the example of [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublisherId(pub Uuid);

/// Identifies one start of a publisher (`UUIDv7`). Random, so that a restored snapshot or a cloned volume never gives
/// two different entries the same identity.
///
/// See the example of [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

/// The place of an entry: the run, and its number in it, from 1. Displayed as the `Audit-Id`, `<run id>.<n>`; a sink
/// that keeps it serializes it.
///
/// As an answer of [`Sink::position`](crate::Sink::position) it is the last number that the sink has covered. See the
/// example of [`conformance`](crate::sink::conformance), a sink with a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The run.
    pub run: RunId,
    /// The number in the run, from 1.
    pub n: u64,
}

/// How a run ended, as far as the next one knows.
///
/// See the example of [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// A clean shutdown: its last number is known.
    Clean,
    /// Killed: entries that were in memory only are gone, and the last number is unknown, unless the run's ring
    /// survived.
    Killed,
}

/// The last earlier run of the same publisher that a reader may have seen: one of its entries may have reached the
/// stream or the spill, or it ended clean with a last number.
///
/// See the example of [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreviousRun {
    /// Its id.
    pub id: RunId,
    /// Its last number, entries and losses alike, if it ended clean, or if its [ring](crate::Config::ring_dir)
    /// survived.
    pub last: Option<u64>,
    /// How it ended.
    pub end: RunEnd,
}

/// One start of a publisher, as its first entry announces it in `Audit-Run`.
///
/// Displayed as the value of that header: `publisher=<id>`; then, unless it is the first run, `; previous=<run id>;
/// ended=clean` or `; previous=<run id>; ended=killed`, and `; last=<n>` if its last number is known; and `;
/// killed_starts=<count>` if there were any since the previous run.
///
/// ```
/// # use std::time::Duration;
/// use spillring::event::RunEnd;
/// use spillring::{RawEntry, testing};
///
/// let (drainer, _sink) = testing::start::<RawEntry>();
/// let run = drainer.run();
/// println!("run {} of publisher {}", run.id(), run.publisher());
/// if run.previous().is_some_and(|previous| previous.end == RunEnd::Killed) {
///     println!("the previous run was killed");
/// }
/// # drainer.shutdown(Duration::ZERO).wait(Duration::from_secs(10))?;
/// # Ok::<(), spillring::error::TicketError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub(crate) id: RunId,
    pub(crate) publisher: PublisherId,
    pub(crate) local: u32,
    pub(crate) previous: Option<PreviousRun>,
    pub(crate) killed_starts: u64,
}

/// The place of an entry in this publisher's order: `local run << 40 | n`. Also its row id in the spill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Key(u64);

/// A new `UUIDv7`, ordered within the process. If the wall clock is before 1970 its time is 0 (`Uuid::now_v7` would
/// panic).
pub(crate) fn fresh_uuid() -> Uuid {
    fresh_uuid_at(SystemTime::now())
}

fn fresh_uuid_at(now: SystemTime) -> Uuid {
    if now < UNIX_EPOCH {
        Uuid::new_v7(Timestamp::from_unix(NoContext, 0, 0))
    } else {
        Uuid::now_v7()
    }
}

impl Run {
    /// The only run of a publisher.
    pub(crate) fn alone(publisher: PublisherId) -> Arc<Self> {
        Arc::new(Self {
            id: RunId(fresh_uuid()),
            publisher,
            local: 1,
            previous: None,
            killed_starts: 0,
        })
    }

    /// The id of the run.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The publisher of the run.
    #[must_use]
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// The run before it, if there was one.
    #[must_use]
    pub fn previous(&self) -> Option<&PreviousRun> {
        self.previous.as_ref()
    }

    /// How many starts since the previous run, or ever if there is none, were killed before an entry of theirs could
    /// reach the stream or the spill. Entries that they accepted are gone.
    #[must_use]
    pub fn killed_starts(&self) -> u64 {
        self.killed_starts
    }
}

impl Position {
    pub(crate) const fn new(run: RunId, n: u64) -> Self {
        Self { run, n }
    }

    /// As in the spill: the run's id, and the number, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.run.0.as_bytes());
        bytes[16..].copy_from_slice(&self.n.to_be_bytes());
        bytes
    }

    /// From its display: `<run id>.<n>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (run, n) = text.rsplit_once('.')?;
        Some(Self::new(
            RunId(Uuid::try_parse(run).ok()?),
            n.parse().ok()?,
        ))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (run, n) = bytes.split_first_chunk()?;
        let n = u64::from_be_bytes(n.try_into().ok()?);
        Some(Self::new(RunId(Uuid::from_bytes(*run)), n))
    }
}

impl Key {
    /// Bits of the number within a run; a run ends at the last of them.
    const N_BITS: u32 = 40;
    /// The largest number of a run.
    pub(crate) const N_MAX: u64 = (1 << Self::N_BITS) - 1;

    pub(crate) fn new(local_run: u32, n: u64) -> Self {
        debug_assert!(n <= Self::N_MAX, "number {n} does not fit");
        Self(u64::from(local_run) << Self::N_BITS | n)
    }

    /// The key as one number, in the same order.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// From a row id of the spill; negative ones are not ours.
    pub(crate) fn from_row(row: i64) -> Option<Self> {
        u64::try_from(row).ok().map(Self)
    }

    pub(crate) fn row(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The place before this one: of the same run, or the end of the previous one.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The place this many after this one, which may be in a later run.
    pub(crate) fn after(self, count: u64) -> Self {
        Self(self.0.saturating_add(count).min(i64::MAX.unsigned_abs()))
    }

    /// How many places there are from this one up to another.
    pub(crate) fn distance(self, end: Self) -> u64 {
        end.0.saturating_sub(self.0)
    }

    pub(crate) fn local_run(self) -> u32 {
        u32::try_from(self.0 >> Self::N_BITS).unwrap_or(u32::MAX)
    }

    pub(crate) fn n(self) -> u64 {
        self.0 & Self::N_MAX
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.n)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publisher={}", self.publisher)?;
        match self.previous {
            None => {}
            Some(PreviousRun { id, last, end }) => {
                let end = match end {
                    RunEnd::Clean => "clean",
                    RunEnd::Killed => "killed",
                };
                write!(f, "; previous={id}; ended={end}")?;
                if let Some(last) = last {
                    write!(f, "; last={last}")?;
                }
            }
        }
        match self.killed_starts {
            0 => Ok(()),
            count => write!(f, "; killed_starts={count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_still_makes_ids() {
        let [one, two] = [(); 2].map(|()| fresh_uuid_at(UNIX_EPOCH - Duration::from_secs(1)));
        assert_ne!(one, two);
        let time = one.get_timestamp().map(|time| time.to_unix());
        assert_eq!((one.get_version_num(), time), (7, Some((0, 0))));
        assert!(fresh_uuid() < fresh_uuid());
    }
}
