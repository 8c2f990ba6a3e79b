//! The ledger of a file of JSON lines. Implemented from its public description, sharing no code with the writer.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spillring::event::{Position, PublisherId, RunId};
use spillring::seal::Seal;

use super::trail::NUMBER_MAX;
use crate::console::Problem;

/// The newest known format.
const VERSION: u32 = 1;
/// The checksum before a line, and a space.
const PREFIX: usize = 9;

/// The parsed lines.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) before: Vec<(PublisherId, Position, Option<Seal>)>,
    pub(super) unaccounted: u64,
    /// With their line numbers.
    pub(super) ranges: Vec<(u64, Range)>,
    /// Renewed seals, which cover no new entries, with their line numbers.
    pub(super) renewed: Vec<(u64, PublisherId, Seal)>,
    /// Numbers of bad lines with good ones after them.
    pub(super) bad: Vec<u64>,
    /// The number of an incomplete last line.
    pub(super) torn: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Ledger {
        version: u32,
    },
    Before {
        publisher: PublisherId,
        run: RunId,
        last: u64,
        #[serde(default)]
        seal: Option<Seal>,
    },
    Unaccounted {
        bytes: u64,
    },
    Stored(Range),
    Sealed {
        publisher: PublisherId,
        seal: Seal,
    },
    /// Ignored.
    #[serde(other)]
    Else,
}

/// A range of bytes in the file, and the numbers of its entries and losses.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Range {
    pub(super) publisher: PublisherId,
    pub(super) run: RunId,
    pub(super) audit_run: Option<String>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) entries: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    #[serde(default)]
    pub(super) losses: Vec<Loss>,
    #[serde(default)]
    pub(super) requeued: Vec<Requeued>,
    pub(super) crc32: u32,
    #[serde(default)]
    pub(super) seal: Option<Seal>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Loss {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// `count` entries from `first` on: they had been dead letters of `run`, with numbers from `was` on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Requeued {
    first: u64,
    count: u64,
    run: RunId,
    was: u64,
}

impl Ledger {
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let text = fs::read(path).map_err(|error| {
            Problem::new(format_args!(
                "the ledger {} cannot be read: {error}; give the one of this file with `--ledger`",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|problem| {
            let path = path.display();
            Problem::new(format_args!("the ledger {path}: {problem}"))
        })
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let mut ledger = Self::default();
        let mut bad = Vec::new();
        let mut version = None;
        for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let Some(read) = checked(line) else {
                bad.push(number);
                continue;
            };
            ledger.bad.append(&mut bad);
            match read.map_err(|error| format!("line {number} cannot be parsed: {error}"))? {
                Line::Ledger { version: read } => version = Some(read),
                line => ledger.take(number, line),
            }
        }
        ledger.torn = bad.pop();
        ledger.bad.append(&mut bad);
        match version {
            Some(..=VERSION) => Ok(ledger),
            Some(newer) => Err(format!(
                "it has format {newer}, and this version of spillring reads up to {VERSION}: use a newer one"
            )),
            None => Err(
                "it is not a ledger of spillring: give the one of this file with `--ledger`"
                    .to_owned(),
            ),
        }
    }

    fn take(&mut self, number: u64, line: Line) {
        match line {
            Line::Before {
                publisher,
                run,
                last,
                seal,
            } => {
                let n = last.min(NUMBER_MAX);
                self.before.push((publisher, Position { run, n }, seal));
            }
            Line::Unaccounted { bytes } => self.unaccounted = bytes,
            Line::Sealed { publisher, seal } => self.renewed.push((number, publisher, seal)),
            Line::Stored(range) => self.ranges.push((number, range)),
            Line::Ledger { .. } | Line::Else => {}
        }
    }

    /// The end of the last range.
    pub(super) fn end(&self) -> u64 {
        self.ranges
            .last()
            .map_or(self.unaccounted, |(_, range)| range.end)
    }
}

impl Range {
    /// The numbers of its entries, each with the count of losses directly before it in this range.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut n = self.first;
        let mut losses = self.losses.iter().peekable();
        std::iter::from_fn(move || {
            let mut lost = 0;
            while let Some(loss) = losses.next_if(|loss| loss.first <= n) {
                lost += loss.count;
                n = n.max(loss.first + loss.count);
            }
            n += 1;
            (n - 1 <= self.last).then_some((n - 1, lost))
        })
    }

    /// The number that entry `n` had before it was requeued.
    pub(super) fn requeued(&self, n: u64) -> Option<Position> {
        let count = self.requeued.partition_point(|it| it.first <= n);
        let group = self.requeued[..count].last()?;
        let run = group.run;
        let at = n - group.first;
        (at < group.count).then(|| Position {
            run,
            n: group.was.saturating_add(at),
        })
    }

    pub(super) fn lost(&self) -> u64 {
        let counts = self.losses.iter().map(|loss| loss.count);
        counts.fold(0, u64::saturating_add)
    }

    /// Whether its counts are consistent.
    pub(super) fn is_sound(&self) -> bool {
        let in_order = |pair: &[Loss]| pair[0].first < pair[1].first;
        let within = |loss: &Loss| loss.first <= self.last && loss.count <= self.last;
        self.start <= self.end
            && (self.start == self.end) == (self.entries == 0)
            && (1..NUMBER_MAX).contains(&self.first)
            && (self.first..NUMBER_MAX).contains(&self.last)
            && self.losses.windows(2).all(in_order)
            && self.losses.iter().all(within)
            && self.entries.checked_add(self.lost()) == Some(self.last - self.first + 1)
    }
}

/// The path of a file's ledger. Symbolic links are resolved first.
pub(super) fn path_for(file: &Path) -> PathBuf {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut name = file.into_os_string();
    name.push(".ledger");
    name.into()
}

/// Parses a line whose checksum matches.
fn checked(line: &[u8]) -> Option<serde_json::Result<Line>> {
    let (prefix, body) = line.strip_suffix(b"\n")?.split_at_checked(PREFIX)?;
    let expected = format!("{:08x} ", crc32fast::hash(body));
    (prefix == expected.as_bytes()).then(|| serde_json::from_slice(body))
}
