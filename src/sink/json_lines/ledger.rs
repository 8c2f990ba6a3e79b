//! The lines of the ledger, and the account that they add up to. No files here.

use std::collections::{BTreeMap, HashMap};
use std::io;

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use crate::event::{LossReason, Position, PublisherId, RunId};

/// The version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Contiguous ranges are coalesced up to this size: the last one is read to see whether the output is the right one,
/// which must stay a matter of milliseconds.
pub(super) const RANGE_BYTES_MAX: u64 = 64 << 20;
/// The checksum in front of a line, and the space behind it.
const PREFIX: usize = 9;

/// A line of the ledger, as the docs of the module above tell it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Ledger {
        version: u32,
    },
    Before {
        publisher: PublisherId,
        run: RunId,
        last: u64,
    },
    Unaccounted {
        bytes: u64,
    },
    Stored(Range),
}

/// Bytes of the output, and the numbers that they deal with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) publisher: PublisherId,
    pub(super) run: RunId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audit_run: Option<String>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) entries: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) losses: Vec<Missing>,
    pub(super) crc32: u32,
}

/// Numbers that are not in the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missing {
    pub(super) first: u64,
    pub(super) count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<LossReason>,
}

/// What the ledger says.
#[derive(Debug, Default)]
pub(super) struct Account {
    before: BTreeMap<PublisherId, Position>,
    unaccounted: u64,
    ranges: Vec<Range>,
    cursors: HashMap<PublisherId, Position>,
}

/// A ledger that was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) account: Account,
    /// Where its last good line ends; 0 if there is none.
    pub(super) good: u64,
    pub(super) lines: usize,
}

/// Reads a ledger up to a torn end.
///
/// A bad line with a good one behind it is no torn write but damage: to believe only what stands before it would cut
/// acknowledged entries off the output. The error says what is wrong.
pub(super) fn read(text: &[u8]) -> Result<Read, String> {
    let mut read = Read::default();
    let mut bad = None;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(body) = checked(line) else {
            bad = bad.or(Some(index + 1));
            continue;
        };
        if let Some(number) = bad {
            return Err(format!("line {number} is damaged"));
        }
        let line_read = serde_json::from_slice(body)
            .map_err(|error| format!("line {} is not understood: {error}", index + 1))?;
        read.account.take(line_read)?;
        read.good += line.len() as u64;
        read.lines += 1;
    }
    if read.lines == 0 && !text.is_empty() {
        return Err("it is no ledger of spillring".into());
    }
    Ok(read)
}

/// Appends the lines of ranges to `out`.
pub(super) fn write_ranges(ranges: &[Range], out: &mut Vec<u8>) -> io::Result<()> {
    ranges
        .iter()
        .try_for_each(|range| Line::Stored(range.clone()).write(out))
}

impl Account {
    /// The bytes of the output that the ledger knows of.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(self.unaccounted, |last| last.end)
    }

    pub(super) fn cursor(&self, of: &PublisherId) -> Option<Position> {
        self.cursors.get(of).copied()
    }

    /// The last range that has bytes.
    pub(super) fn last_bytes(&self) -> Option<&Range> {
        self.ranges
            .iter()
            .rev()
            .find(|range| range.start < range.end)
    }

    /// How many lines it takes.
    pub(super) fn lines(&self) -> usize {
        1 + self.before.len() + usize::from(self.unaccounted > 0) + self.ranges.len()
    }

    /// The account of an output of which nothing is known but its length: every cursor stays.
    pub(super) fn start_over(self, unaccounted: u64) -> Self {
        Self {
            before: self.cursors.iter().map(|(of, at)| (*of, *at)).collect(),
            unaccounted,
            ranges: Vec::new(),
            cursors: self.cursors,
        }
    }

    /// Adds a range behind the others, as one with the last where they are contiguous.
    pub(super) fn push(&mut self, range: Range) {
        let cursor = Position {
            run: range.run,
            n: range.last,
        };
        if let Some(known) = self.cursors.insert(range.publisher, cursor)
            && known.run == range.run
            && range.first <= known.n
        {
            self.retell(&range);
        }
        match self.ranges.last_mut() {
            Some(last) if last.is_continued_by(&range) => last.absorb(range),
            _ => self.ranges.push(range),
        }
    }

    /// The losses at the end of the run so far are told again by `by`, with their reasons.
    fn retell(&mut self, by: &Range) {
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
        for (&publisher, &Position { run, n }) in &self.before {
            let last = n;
            Line::Before {
                publisher,
                run,
                last,
            }
            .write(out)?;
        }
        if self.unaccounted > 0 {
            let bytes = self.unaccounted;
            Line::Unaccounted { bytes }.write(out)?;
        }
        write_ranges(&self.ranges, out)
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Ledger { version } if version > VERSION => {
                return Err(format!(
                    "it has format {version}, this version of spillring knows up to {VERSION}: use a newer one"
                ));
            }
            Line::Ledger { .. } => {}
            Line::Before {
                publisher,
                run,
                last,
            } => {
                let at = Position { run, n: last };
                self.before.insert(publisher, at);
                self.cursors.insert(publisher, at);
            }
            Line::Unaccounted { bytes } => self.unaccounted = bytes,
            Line::Stored(range) if range.start == self.end() && range.is_sound() => {
                self.push(range);
            }
            Line::Stored(range) => {
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

impl Range {
    /// A range of nothing yet that begins at byte `start` and number `first`.
    pub(super) fn begin(publisher: PublisherId, run: RunId, start: u64, first: u64) -> Self {
        Self {
            publisher,
            run,
            audit_run: None,
            start,
            end: start,
            entries: 0,
            first,
            last: first - 1,
            losses: Vec::new(),
            crc32: 0,
        }
    }

    /// Tells `count` numbers after `last` as missing.
    pub(super) fn lose(&mut self, count: u64, reason: Option<LossReason>) {
        let first = self.last + 1;
        self.last += count;
        match self.losses.last_mut() {
            Some(before) if before.reason == reason && before.first + before.count == first => {
                before.count += count;
            }
            _ => self.losses.push(Missing {
                first,
                count,
                reason,
            }),
        }
    }

    fn is_sound(&self) -> bool {
        self.start <= self.end
            && 1 <= self.first
            && self.first <= self.last
            && self
                .losses
                .iter()
                .all(|missing| self.first <= missing.first)
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.publisher == next.publisher
            && self.run == next.run
            && self.last + 1 == next.first
            && next.end - self.start <= RANGE_BYTES_MAX
    }

    fn absorb(&mut self, next: Self) {
        let mut crc = Hasher::new_with_initial_len(self.crc32, self.end - self.start);
        crc.combine(&Hasher::new_with_initial_len(
            next.crc32,
            next.end - next.start,
        ));
        self.crc32 = crc.finalize();
        for missing in next.losses {
            // `lose` counts on from `last`: bring it to the loss, over the entries before it.
            self.last = missing.first - 1;
            self.lose(missing.count, missing.reason);
        }
        self.audit_run = self.audit_run.take().or(next.audit_run);
        self.entries += next.entries;
        self.end = next.end;
        self.last = next.last;
    }

    /// Takes back the losses from number `n` on.
    fn end_before(&mut self, n: u64) {
        self.losses.retain(|missing| missing.first < n);
        if let Some(last) = self.losses.last_mut() {
            last.count = last.count.min(n - last.first);
        }
        self.last = n - 1;
    }
}

impl Line {
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        out.extend_from_slice(prefix(&body).as_bytes());
        out.extend_from_slice(&body);
        out.push(b'\n');
        Ok(())
    }
}

/// The JSON of a line that is whole.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (prefix_read, body) = line.strip_suffix(b"\n")?.split_at_checked(PREFIX)?;
    (prefix_read == prefix(body).as_bytes()).then_some(body)
}

fn prefix(body: &[u8]) -> String {
    format!("{:08x} ", crc32fast::hash(body))
}
