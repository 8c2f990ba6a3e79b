//! The parts of a trail, in a file or a stream: entries with their places, and accounts of a publisher's progress.

use std::fmt;

use indicatif::HumanCount;
use serde::{Deserialize, Deserializer, Serialize};
use spillring::event::{Position, PublisherId, RunId};

/// Far above any number that a run can reach.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// A place in a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum TrailPlace {
    /// A message of a stream.
    Sequence { sequence: u64 },
    /// A line of a file, from 1, and the offset of its first byte.
    Line { line: u64, byte: u64 },
    /// An offset in a file.
    Byte { byte: u64 },
    /// A line of the ledger, from 1.
    Ledger { ledger_line: u64 },
}

impl TrailPlace {
    /// A sort key: the ledger comes before its file.
    pub(super) fn order(self) -> (u64, u64, u64) {
        match self {
            Self::Ledger { ledger_line } => (0, ledger_line, 0),
            Self::Sequence { sequence } => (1, sequence, 0),
            Self::Byte { byte } => (1, byte, 0),
            Self::Line { line, byte } => (1, byte, line),
        }
    }
}

/// How entries were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In batches with a cursor or a ledger line.
    WithAccount,
    /// One by one.
    Alone,
}

/// An entry, as read from the trail.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub(super) place: TrailPlace,
    pub(super) id: Position,
    /// How many numbers directly before it are announced as lost.
    pub(super) lost: u64,
    pub(super) opening: Option<Opening>,
    /// Its number as a dead letter.
    pub(super) requeued: Option<Position>,
    /// On the first entry of a run: how far its publisher had come before.
    pub(super) after: Option<RunAccount>,
    /// If the ledger names it.
    pub(super) publisher: Option<PublisherId>,
    /// Without the prefix.
    pub(super) subject: Option<&'a str>,
    pub(super) way: Way,
    pub(super) bytes: &'a [u8],
}

/// The header on the first entry of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) publisher: PublisherId,
    pub(super) previous: Option<Previous>,
    /// How many runs between the two were killed before any of their entries was stored.
    pub(super) killed_starts: u64,
}

/// The run before, according to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) run: RunId,
    pub(super) end: AnnouncedEnd,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnnouncedEnd {
    /// The last number.
    Clean(u64),
    /// The last number, if its ring survived.
    Killed(Option<u64>),
}

impl AnnouncedEnd {
    /// Its last number, if known.
    pub(super) fn last(self) -> Option<u64> {
        match self {
            Self::Clean(last) => Some(last),
            Self::Killed(last) => last,
        }
    }
}

/// How far a publisher came: numbers `first` to `last` of the run, `lost` of them lost, if known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunAccount {
    pub(super) run: RunId,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) lost: Option<u64>,
    /// Entries of an unfinished batch may come after it.
    #[serde(
        default,
        rename = "state",
        deserialize_with = "is_open",
        skip_serializing
    )]
    pub(super) open: bool,
}

/// A cursor without a state covers its whole batch.
fn is_open<'de, D: Deserializer<'de>>(state: D) -> Result<bool, D::Error> {
    let state = serde_json::Value::deserialize(state)?;
    Ok(state.is_object())
}

impl Opening {
    /// Parses `publisher=<id>; previous=<run id>; ended=clean; last=<n>; killed_starts=<count>`. Only the first field
    /// is required; unknown fields are ignored.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let publisher = uuid(value_of(text, "publisher")?).map(PublisherId)?;
        let last = match value_of(text, "last") {
            None => None,
            Some(last) => Some(last.parse().ok().filter(|last| *last < NUMBER_MAX)?),
        };
        let previous = match value_of(text, "previous") {
            None => None,
            Some(run) => Some(Previous {
                run: uuid(run).map(RunId)?,
                end: match (value_of(text, "ended")?, last) {
                    ("clean", Some(last)) => AnnouncedEnd::Clean(last),
                    ("killed", last) => AnnouncedEnd::Killed(last),
                    _ => return None,
                },
            }),
        };
        let killed_starts = match value_of(text, "killed_starts") {
            None => 0,
            Some(count) => count.parse().ok()?,
        };
        Some(Self {
            publisher,
            previous,
            killed_starts,
        })
    }
}

impl RunAccount {
    /// Parses `<run id>.<n>; first=<n>; lost=<k>`. Only the first part is required.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (position, rest) = text.split_once("; ").unwrap_or((text, ""));
        let Position { run, n } = progress_of(position)?;
        let number = |key| value_of(rest, key).map(str::parse).transpose().ok();
        Some(Self {
            run,
            first: number("first")?.unwrap_or(1),
            last: n,
            lost: number("lost")?,
            open: false,
        })
    }

    /// How many entries it counts.
    pub(super) fn entries(&self) -> u64 {
        let numbers = (self.last + 1).saturating_sub(self.first);
        numbers.saturating_sub(self.lost.unwrap_or(0))
    }

    /// Whether its numbers are consistent.
    pub(super) fn is_sound(&self) -> bool {
        self.first > 0
            && self.first - 1 <= self.last
            && self.last < NUMBER_MAX
            && self.lost.unwrap_or(0) <= self.last - (self.first - 1)
    }
}

/// Parses `<run id>.<n>`; numbers begin with 1.
pub(crate) fn position_of(text: &str) -> Option<Position> {
    progress_of(text).filter(|position| position.n > 0)
}

/// The same, with 0 before the first number.
fn progress_of(text: &str) -> Option<Position> {
    let (run, n) = text.split_once('.')?;
    let n = n.parse().ok().filter(|n| *n < NUMBER_MAX)?;
    let run = uuid(run).map(RunId)?;
    Some(Position { run, n })
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = text.split("; ").filter_map(|field| field.split_once('='));
    fields.find_map(|(name, value)| (name == key).then_some(value))
}

fn uuid(text: &str) -> Option<uuid::Uuid> {
    uuid::Uuid::try_parse(text).ok()
}

impl fmt::Display for TrailPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sequence { sequence } => write!(f, "message {}", HumanCount(sequence)),
            Self::Line { line, byte } => {
                write!(f, "line {}, byte {}", HumanCount(line), HumanCount(byte))
            }
            Self::Byte { byte } => write!(f, "byte {}", HumanCount(byte)),
            Self::Ledger { ledger_line } => {
                write!(f, "line {} of the ledger", HumanCount(ledger_line))
            }
        }
    }
}
