//! A range whose bytes do not match the ledger.

use std::io;

use super::{FileReader, RecordedRun, observed};
use crate::verify::counted;
use crate::verify::finding::Kind;
use crate::verify::ledger::Range;
use crate::verify::trail::{Observed, Opening, RunAccount, TrailPlace};

impl FileReader {
    /// The shift of the range after a mismatched one.
    pub(super) fn shift_after<'a>(
        &mut self,
        range: &Range,
        mut next: impl Iterator<Item = &'a Range>,
        shift: i64,
        end: u64,
    ) -> io::Result<i64> {
        let total =
            i64::try_from(i128::from(self.output.length) - i128::from(end)).unwrap_or(shift);
        let (from, to) = (
            range.start.saturating_add_signed(shift),
            range.end.saturating_add_signed(shift),
        );
        let moved = match next.find(|next| next.start < next.end) {
            Some(next) => !self.output.matches(next, shift)? && self.output.matches(next, total)?,
            None => to > self.output.length || self.output.count(from, to)? != range.entries,
        };
        Ok(if moved { total } else { shift })
    }

    pub(super) fn mismatched(
        &mut self,
        range: &Range,
        before: RecordedRun,
        after: Option<RunAccount>,
        (from, to): (u64, u64),
    ) -> io::Result<()> {
        let (run, entries) = (range.run, range.entries);
        let lines = self.output.count(from, to)?;
        let place = Some(TrailPlace::Byte { byte: from });
        if lines == entries {
            let text = format!("the bytes up to {to} do not match the checksum in the ledger");
            self.judge
                .find(Kind::ChecksumMismatch, Some(run), place, text);
            return self.numbered(range, before, after, (from, to));
        }
        let seen = Observed {
            place: TrailPlace::Byte { byte: from },
            opening: range.audit_run.as_deref().and_then(Opening::parse),
            after,
            ..observed(range, range.first, range.first - 1)
        };
        let account = RunAccount {
            run,
            first: range.first,
            last: range.last,
            lost: Some(range.lost()),
            open: false,
        };
        self.judge.pass(&seen, &account, lines.min(entries));
        let gaps = self.judge.chain_gaps();
        self.lines(from, to, |judge, place, line| {
            judge.take_unnumbered(place, Some(run), line);
        })?;
        let recorded = format!(
            "the ledger records {} in the bytes",
            counted(entries, "line")
        );
        let text = format!(
            "{recorded} from {} to {}, {lines} are there",
            range.start, range.end
        );
        let is_tail = to == self.output.length && gaps == self.judge.chain_gaps();
        let (kind, place) = match lines < entries {
            true if is_tail => (Kind::TailMissing, Some(TrailPlace::Byte { byte: to })),
            true => (Kind::LinesMissing, place),
            false => (Kind::LinesExtra, place),
        };
        self.judge.find(kind, Some(run), place, text);
        if let Some(written) = self.written.get_mut(&run) {
            written.entry = range.last;
        }
        Ok(())
    }
}
