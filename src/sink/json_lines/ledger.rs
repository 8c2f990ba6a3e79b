//! The lines of the ledger, and the account that they add up to. No I/O here.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::event::{Position, PublisherId, RunId};
use crate::seal::Seal;

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// The checksum before a line, and the space after it.
const PREFIX: usize = 9;

/// A line of the ledger: see [`JsonLinesSink`](crate::JsonLinesSink).
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line {
    Ledger {
        version: u32,
    },
    Before {
        publisher: PublisherId,
        run: RunId,
        last: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seal: Option<Seal>,
    },
    Unaccounted {
        bytes: u64,
    },
    Begun(Birth),
    Stored(Range),
    Sealed {
        publisher: PublisherId,
        seal: Seal,
    },
}

/// Identifies a file. The number of a removed file is soon reused, its time of birth is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Birth {
    pub(super) inode: u64,
    pub(super) born_ns: u64,
}

/// The content of the ledger.
#[derive(Debug, Default)]
pub(super) struct Account {
    before: BTreeMap<PublisherId, Reached>,
    unaccounted: u64,
    /// The file that the first bytes go to, known before they are written; `None` once it is opened again.
    pub(super) begun: Option<Birth>,
    ranges: Vec<Range>,
    /// What the newest lines say.
    reached: BTreeMap<PublisherId, Reached>,
    /// Seals that are newer than the ranges.
    renewed: BTreeMap<PublisherId, Seal>,
}

/// How far a publisher has come.
#[derive(Debug, Clone)]
struct Reached {
    cursor: Position,
    /// The newest, with the certificates for its key.
    seal: Option<Seal>,
}

/// A ledger after reading.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) account: Account,
    /// Where its last good line ends; 0 if there is none.
    pub(super) good: u64,
    pub(super) lines: usize,
    /// Why only its positions can be trusted.
    pub(super) damage: Option<String>,
}

/// Reads a ledger up to a torn end. The error says why the text is not a readable ledger.
///
/// A bad line before a good one is damage, not a torn write. Trusting only what precedes it would cut acknowledged
/// entries off the output. The positions of the good lines are still trusted.
pub(super) fn read(text: &[u8]) -> Result<Read, String> {
    let mut read = Read::default();
    let (mut end, mut bad) = (0, None);
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        end += line.len() as u64;
        let Some(body) = checked(line) else {
            bad = bad.or(Some(number));
            continue;
        };
        let line = understood(body).map_err(|problem| format!("line {number} {problem}"))?;
        let taken = read.account.take(line);
        if let Some(number) = bad {
            read.damage.get_or_insert(format!("line {number} is bad"));
        } else if let Err(problem) = taken {
            read.damage.get_or_insert(problem);
        }
        read.good = end;
        read.lines += 1;
    }
    if read.lines == 0 && !text.is_empty() {
        return Err("it is not a ledger of spillring".into());
    }
    Ok(read)
}

impl Account {
    /// The bytes of the output that the ledger covers.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(self.unaccounted, |last| last.end)
    }

    pub(super) fn cursor(&self, of: &PublisherId) -> Option<Position> {
        self.reached.get(of).map(|reached| reached.cursor)
    }

    /// The newest seal of a publisher.
    pub(super) fn seal(&self, of: &PublisherId) -> Option<&Seal> {
        self.reached.get(of)?.seal.as_ref()
    }

    /// Replaces the seal by another one of the same entries.
    pub(super) fn renew(&mut self, of: PublisherId, seal: Seal) {
        if let Some(cursor) = self.cursor(&of) {
            self.reach(of, cursor, Some(&seal));
        }
        self.renewed.insert(of, seal);
    }

    /// Moves to this cursor, and returns the one before.
    fn reach(
        &mut self,
        of: PublisherId,
        cursor: Position,
        seal: Option<&Seal>,
    ) -> Option<Position> {
        let before = self.reached.remove(&of);
        let cursor_before = before.as_ref().map(|before| before.cursor);
        let seal_before = before.and_then(|before| before.seal);
        let seal = seal.map(|seal| seal.clone().following(seal_before));
        self.reached.insert(of, Reached { cursor, seal });
        cursor_before
    }

    /// The last range that has bytes.
    pub(super) fn last_bytes(&self) -> Option<&Range> {
        self.ranges
            .iter()
            .rev()
            .find(|range| range.start < range.end)
    }

    /// Whether it covers any number.
    pub(super) fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// How many lines it takes without `begun`.
    pub(super) fn lines(&self) -> usize {
        let others = usize::from(self.unaccounted > 0) + self.renewed.len();
        1 + self.before.len() + others + self.ranges.len()
    }

    /// The account of an output with this length and unknown content: every cursor stays.
    pub(super) fn start_over(self, unaccounted: u64) -> Self {
        Self {
            before: self.reached.clone(),
            unaccounted,
            reached: self.reached,
            ..Self::default()
        }
    }

    /// Adds a range after the others, merged with the last one if contiguous.
    pub(super) fn push(&mut self, range: Range) {
        if let Some(known) = self.reach(range.publisher, range.cursor(), range.seal.as_ref())
            && known.run == range.run
            && range.first <= known.n
        {
            self.replace_trailing_losses(&range);
        }
        self.renewed.remove(&range.publisher);
        match self.ranges.last_mut() {
            Some(last) if last.is_continued_by(&range) => last.absorb(range),
            _ => self.ranges.push(range),
        }
    }

    /// `by` repeats the losses at the end of the run so far, with their reasons.
    fn replace_trailing_losses(&mut self, by: &Range) {
        let same_run = |range: &Range| range.publisher == by.publisher && range.run == by.run;
        let Some(at) = self.ranges.iter().rposition(same_run) else {
            return;
        };
        self.ranges[at].end_before(by.first);
        if self.ranges[at].last < self.ranges[at].first {
            self.ranges.remove(at);
        }
    }

    /// The whole ledger.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        Line::Ledger { version: VERSION }.write(out)?;
        for (&publisher, Reached { cursor, seal }) in &self.before {
            Line::Before {
                publisher,
                run: cursor.run,
                last: cursor.n,
                seal: seal.clone(),
            }
            .write(out)?;
        }
        if self.unaccounted > 0 {
            let bytes = self.unaccounted;
            Line::Unaccounted { bytes }.write(out)?;
        }
        if let Some(birth) = self.begun
            && self.last_bytes().is_none()
        {
            Line::Begun(birth).write(out)?;
        }
        self.ranges
            .iter()
            .try_for_each(|range| Line::Stored(range.clone()).write(out))?;
        self.renewed.iter().try_for_each(|(&publisher, seal)| {
            let seal = seal.clone();
            Line::Sealed { publisher, seal }.write(out)
        })
    }

    /// Adds a line. The error says why it does not follow the others; its position counts all the same.
    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Ledger { .. } => {}
            Line::Before {
                publisher,
                run,
                last,
                seal,
            } => {
                let cursor = Position::new(run, last);
                self.reach(publisher, cursor, seal.as_ref());
                self.before.insert(publisher, Reached { cursor, seal });
            }
            Line::Unaccounted { bytes } => self.unaccounted = bytes,
            Line::Begun(birth) => self.begun = Some(birth),
            Line::Sealed { publisher, seal } => self.renew(publisher, seal),
            Line::Stored(range) if range.start == self.end() && range.is_sound() => {
                self.push(range);
            }
            Line::Stored(range) => {
                self.reach(range.publisher, range.cursor(), range.seal.as_ref());
                return Err(format!(
                    "the range of bytes {} to {} does not follow on byte {}",
                    range.start,
                    range.end,
                    self.end()
                ));
            }
        }
        Ok(())
    }
}

impl Line {
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        out.extend_from_slice(prefix(&body).as_bytes());
        out.extend_from_slice(&body);
        out.push(b'\n');
        Ok(())
    }
}

/// The JSON of a line with a valid checksum.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (prefix_read, body) = line.strip_suffix(b"\n")?.split_at_checked(PREFIX)?;
    (prefix_read == prefix(body).as_bytes()).then_some(body)
}

fn understood(body: &[u8]) -> Result<Line, String> {
    match serde_json::from_slice(body) {
        Ok(Line::Ledger { version }) if version > VERSION => Err(format!(
            "has format {version}, this version of spillring knows up to {VERSION}: use a newer one"
        )),
        Ok(line) => Ok(line),
        Err(error) => Err(format!("is not understood: {error}")),
    }
}

fn prefix(body: &[u8]) -> String {
    format!("{:08x} ", crc32fast::hash(body))
}
