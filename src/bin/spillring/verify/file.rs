//! Reads a file of JSON lines, range by range of its ledger.
//!
//! If the bytes of a range do not match the ledger, the reader searches for the next range: at its recorded offset, or
//! shifted by the difference between the file's length and the ledger's. The lines in between are counted, and each is
//! checked by its hash and its chain.

mod mismatch;
mod output;
mod seals;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use spillring::event::{Position, PublisherId, RunId};

use super::counted;
use super::finding::Kind;
use super::judge::{Judge, Judgement};
use super::ledger::{self, Ledger, Range};
use super::progress::VerifyProgress;
use super::seals::{Covers, Seals};
use super::trail::{Observed, Opening, RunAccount, TrailPlace, Way};
use crate::console::Problem;
use output::Output;

/// Feeds the file to `judge`.
pub(super) fn read(
    path: &Path,
    ledger: Option<&Path>,
    judge: Judge,
    seals: Seals,
) -> Result<Judgement, Problem> {
    let ledger_path = ledger.map_or_else(|| ledger::path_for(path), PathBuf::from);
    let unreadable = |error: io::Error| {
        let path = path.display();
        Problem::new(format_args!(
            "{path} cannot be read: {error}; give a file of JSON lines"
        ))
    };
    let file = File::open(path).map_err(unreadable)?;
    let ledger = Ledger::read(&ledger_path)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let reading = FileReader {
        output: Output { file, length },
        line: 0,
        judge,
        seals,
        written: HashMap::new(),
        latest: HashMap::new(),
        progress: VerifyProgress::new(length),
    };
    reading.through(&ledger).map_err(unreadable)
}

struct FileReader {
    output: Output,
    /// Lines read.
    line: u64,
    judge: Judge,
    seals: Seals,
    written: HashMap<RunId, RecordedRun>,
    latest: HashMap<PublisherId, RunId>,
    progress: VerifyProgress,
}

/// What the ledger has recorded of a run so far.
#[derive(Debug, Clone, Copy, Default)]
struct RecordedRun {
    first: u64,
    /// The number of the last entry.
    entry: u64,
    /// The last number, whether an entry or lost.
    last: u64,
    lost: u64,
}

impl FileReader {
    fn through(mut self, ledger: &Ledger) -> io::Result<Judgement> {
        self.begin(ledger)?;
        let (mut shift, mut expected) = (0, ledger.unaccounted);
        let mut renewed = ledger.renewed.iter().peekable();
        for (at, (line, range)) in ledger.ranges.iter().enumerate() {
            if range.start != expected || !range.is_sound() {
                let text = "the range does not follow the one before it".to_owned();
                self.complain(*line, text);
            }
            expected = range.end;
            while let Some((at, publisher, seal)) = renewed.next_if(|(at, ..)| at < line) {
                self.renewed(*at, *publisher, seal);
            }
            if range.is_sound() {
                let next = ledger.ranges[at + 1..].iter().map(|(_, range)| range);
                self.seals
                    .range(range.publisher, range.seal.as_ref(), range.entries);
                shift = self.range(range, next, shift, ledger.end())?;
                self.sealed(*line, range);
            }
        }
        for (at, publisher, seal) in renewed {
            self.renewed(*at, *publisher, seal);
        }
        let end = ledger.end().saturating_add_signed(shift);
        if self.output.length > end {
            let text = format!(
                "the last {} are not acknowledged: a crash left them, or they are being written now",
                counted(self.output.length - end, "byte")
            );
            let place = Some(TrailPlace::Byte { byte: end });
            self.judge.find(Kind::Unacknowledged, None, place, text);
            let lines = self.output.count(end, self.output.length)?;
            self.seals.stray(lines);
        }
        for (publisher, run) in &self.latest {
            if let Some(written) = self.written.get(run) {
                self.judge.cursor(*publisher, written.account(*run), None);
            }
        }
        Ok(self.judge.finish(self.seals))
    }

    /// Takes what the ledger says of the trail before this file.
    fn begin(&mut self, ledger: &Ledger) -> io::Result<()> {
        for (publisher, at, seal) in &ledger.before {
            let (publisher, at) = (*publisher, *at);
            self.judge.before(publisher, at);
            if seal.is_some() {
                self.seal(0, publisher, seal.as_ref(), at, Covers::Earlier);
            }
            let written = RecordedRun {
                first: at.n.saturating_add(1),
                entry: at.n,
                last: at.n,
                lost: 0,
            };
            self.written.insert(at.run, written);
            self.latest.insert(publisher, at.run);
        }
        for line in &ledger.bad {
            self.complain(*line, "its checksum does not match".to_owned());
        }
        if let Some(ledger_line) = ledger.torn {
            let place = Some(TrailPlace::Ledger { ledger_line });
            let text = "the last line is incomplete, and is ignored".to_owned();
            self.judge.find(Kind::LedgerTorn, None, place, text);
        }
        let bytes = ledger.unaccounted;
        if bytes > 0 {
            let count = counted(bytes, "byte");
            let text = format!("the ledger does not cover the first {count}");
            let place = Some(TrailPlace::Byte { byte: 0 });
            self.judge.find(Kind::Unaccounted, None, place, text);
            let mut lines = 0;
            self.lines(0, bytes, |judge, place, line| {
                judge.take_unnumbered(place, None, line);
                lines += 1;
            })?;
            self.seals.stray(lines);
        }
        Ok(())
    }

    fn complain(&mut self, ledger_line: u64, text: String) {
        let place = Some(TrailPlace::Ledger { ledger_line });
        self.judge.find(Kind::LedgerDamaged, None, place, text);
    }

    /// Reads a range at `shift` bytes from its recorded offset, and returns the shift of the next one.
    fn range<'a>(
        &mut self,
        range: &Range,
        next: impl Iterator<Item = &'a Range>,
        shift: i64,
        end: u64,
    ) -> io::Result<i64> {
        let after = self.account_before(range);
        let written = self.written.entry(range.run).or_insert(RecordedRun {
            first: 1,
            ..RecordedRun::default()
        });
        // A range may repeat the losses at the end of the one before.
        let taken_back = (written.last + 1).saturating_sub(range.first.max(written.entry + 1));
        written.lost = written.lost.saturating_sub(taken_back);
        written.last = written.last.saturating_sub(taken_back);
        let before = *written;
        written.last = range.last.max(written.last);
        written.lost += range.lost();
        self.latest.insert(range.publisher, range.run);
        if range.start == range.end {
            return Ok(shift);
        }
        let from = range
            .start
            .saturating_add_signed(shift)
            .min(self.output.length);
        if self.output.matches(range, shift)? {
            let to = range.end.saturating_add_signed(shift);
            self.numbered(range, before, after, (from, to))?;
            return Ok(shift);
        }
        let shift = self.shift_after(range, next, shift, end)?;
        let to = range
            .end
            .saturating_add_signed(shift)
            .min(self.output.length);
        self.mismatched(range, before, after, (from, to))?;
        Ok(shift)
    }

    /// The account of the run before, if this range begins another.
    fn account_before(&self, range: &Range) -> Option<RunAccount> {
        let latest = self.latest.get(&range.publisher);
        let latest = latest.filter(|latest| **latest != range.run)?;
        Some(self.written.get(latest)?.account(*latest))
    }

    /// Takes the lines as the entries of the range.
    fn numbered(
        &mut self,
        range: &Range,
        before: RecordedRun,
        mut after: Option<RunAccount>,
        (from, to): (u64, u64),
    ) -> io::Result<()> {
        let mut numbers = range.numbers();
        let mut opening = range.audit_run.as_deref();
        let mut lost_before = before
            .last
            .min(range.first - 1)
            .saturating_sub(before.entry);
        let (mut entry, mut extra) = (before.entry, 0);
        let mut seals = std::mem::take(&mut self.seals);
        self.lines(from, to, |judge, place, line| {
            let Some((n, gone)) = numbers.next() else {
                extra += 1;
                return;
            };
            let mut seen = observed(range, n, gone + std::mem::take(&mut lost_before));
            seen.place = place;
            seen.bytes = line;
            let text = opening.take();
            if let Some(text) = text {
                seen.after = after.take();
                seen.opening = Opening::parse(text);
                if seen.opening.is_none() {
                    let text = format!("`{text}` does not describe the beginning of a run");
                    judge.find(Kind::BadHeader, Some(range.run), Some(place), text);
                }
            }
            judge.take(&seen);
            seals.entry(judge, &seen, text);
            entry = n;
        })?;
        self.seals = seals;
        if extra > 0 {
            self.seals.stray(extra);
            let count = counted(extra, "line");
            let text = format!("{count} more than the ledger records, up to byte {to}");
            let place = Some(TrailPlace::Byte { byte: from });
            self.judge
                .find(Kind::LinesExtra, Some(range.run), place, text);
        }
        if let Some(written) = self.written.get_mut(&range.run) {
            written.entry = entry;
        }
        Ok(())
    }

    /// Passes the lines of these bytes to `take`, without their line feeds. An unfinished line is left out.
    fn lines(
        &mut self,
        from: u64,
        to: u64,
        mut take: impl FnMut(&mut Judge, TrailPlace, &[u8]),
    ) -> io::Result<()> {
        let mut reader = self.output.reader(from, to)?;
        let (mut byte, mut line) = (from, Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            self.line += 1;
            if let Some(entry) = line.strip_suffix(b"\n") {
                let number = self.line;
                take(
                    &mut self.judge,
                    TrailPlace::Line { line: number, byte },
                    entry,
                );
            }
            byte += line.len() as u64;
            self.progress.step(line.len() as u64);
            line.clear();
        }
        Ok(())
    }
}

impl RecordedRun {
    fn account(&self, run: RunId) -> RunAccount {
        RunAccount {
            run,
            first: self.first,
            last: self.last,
            lost: Some(self.lost),
            open: false,
        }
    }
}

fn observed(range: &Range, n: u64, lost: u64) -> Observed<'static> {
    Observed {
        place: TrailPlace::Byte { byte: range.start },
        id: Position { run: range.run, n },
        lost,
        opening: None,
        requeued: range.requeued(n),
        after: None,
        publisher: Some(range.publisher),
        subject: None,
        way: Way::WithAccount,
        bytes: &[],
    }
}
