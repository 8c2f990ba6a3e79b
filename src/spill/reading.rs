//! Reading the backlog of a publisher that is not running, whatever state it is in, and changing nothing.
//!
//! What comes out is what a start would deliver: the rows of the database and of those that wait to be salvaged, in one
//! order, as far as they can be read, with what is missing told by the entry behind it.

use std::collections::VecDeque;

use crate::error::SpillError;
use crate::event::{Key, PublisherId, Record};

use super::Directory;
use super::fold::Fold;
use super::gaps::Gaps;
use super::mark::Level;
use super::read::{Found, record};
use super::runs::Runs;
use super::source::{Source, Way};

/// The backlog, entry by entry.
#[derive(Debug)]
pub(super) struct Reading<'d> {
    directory: &'d Directory,
    feeds: Vec<Feed>,
    runs: Runs,
    fold: Fold,
    gaps: Gaps,
    /// Ready to be folded.
    ready: VecDeque<Found>,
    /// What the mark says, until it has been compared with what is there.
    level: Option<Level>,
    tally: Tally,
}

/// What was found so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) entries: u64,
    /// As [`Record::size`] has it.
    pub(super) bytes: u64,
    /// When the oldest entry was popped.
    pub(super) oldest_popped_ms: Option<u64>,
    /// Rows that are not fit to be read.
    pub(super) damaged: u64,
    /// Numbers that nothing stands for, though something must have.
    pub(super) missing: u64,
    /// Databases of which a part cannot be read.
    pub(super) broken: u64,
}

/// The rows of one database, in order.
#[derive(Debug)]
struct Feed {
    source: Source,
    rows: VecDeque<Found>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Behind its hole.
    Broken,
    Done,
}

/// Why a feed came to no more rows on the way up.
enum Rupture {
    /// It can be read again behind the hole.
    Hole(Key, Key),
    End,
}

impl<'d> Reading<'d> {
    /// Of these databases; where two have the same row, the first counts. `level` is what the mark says, if it is to be
    /// heard, and `holds` that it knows more than the databases from the start.
    pub(super) fn new(
        directory: &'d Directory,
        publisher: PublisherId,
        sources: Vec<Source>,
        level: Option<Level>,
        holds: bool,
    ) -> Self {
        let connections = sources.iter().map(Source::connection);
        let mut reading = Self {
            directory,
            runs: Runs::gather(connections, publisher),
            feeds: sources.into_iter().map(Feed::new).collect(),
            fold: Fold::new(None),
            gaps: Gaps::default(),
            ready: VecDeque::new(),
            level,
            tally: Tally::default(),
        };
        if holds {
            let floor = level.unwrap_or_default().low;
            for feed in &mut reading.feeds {
                feed.source.skip_to(floor);
            }
            reading.expect_level(floor);
        }
        reading
    }

    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            missing: self.tally.missing + self.gaps.missing,
            ..self.tally
        }
    }

    /// The next entry. An error says that a publisher wants the directory.
    pub(super) fn next(&mut self) -> Result<Option<Record>, SpillError> {
        loop {
            let Some(found) = self.ready.pop_front() else {
                let found = self.take()?;
                self.gaps
                    .before(found.as_ref().map(|found| found.key), &mut self.ready);
                match found {
                    Some(found) => {
                        self.gaps.pass(&found);
                        self.ready.push_back(found);
                    }
                    None if self.ready.is_empty() => return Ok(None),
                    None => {}
                }
                continue;
            };
            if let Some(record) = self.fold(found) {
                return Ok(Some(record));
            }
        }
    }

    fn fold(&mut self, found: Found) -> Option<Record> {
        let key = found.key;
        let record = record(&self.runs, &mut self.fold, found);
        for damage in self.fold.damage.drain(..) {
            if damage.first == key {
                self.tally.damaged += 1;
            } else {
                self.tally.missing += damage.count;
            }
        }
        if let Some(record) = &record {
            self.tally.entries += 1;
            self.tally.bytes += record.size();
            let oldest = &mut self.tally.oldest_popped_ms;
            *oldest = oldest.or(Some(record.popped_ms));
        }
        record
    }

    /// The row with the lowest key.
    fn take(&mut self) -> Result<Option<Found>, SpillError> {
        for at in 0..self.feeds.len() {
            self.fill(at)?;
        }
        let heads = self.feeds.iter().filter_map(|feed| feed.rows.front());
        let Some(lowest) = heads.map(|found| found.key).min() else {
            return Ok(None);
        };
        let mut taken = None;
        for feed in &mut self.feeds {
            if feed.rows.front().is_some_and(|found| found.key == lowest) {
                let found = feed.rows.pop_front();
                taken = taken.or(found);
            }
        }
        Ok(taken)
    }

    fn fill(&mut self, at: usize) -> Result<(), SpillError> {
        while self.feeds[at].rows.is_empty() && self.feeds[at].state != State::Done {
            self.directory.give_way()?;
            let feed = &mut self.feeds[at];
            let Some(rupture) = feed.fill() else {
                continue;
            };
            let reached = feed.source.reached();
            self.tally.broken += 1;
            match rupture {
                Rupture::Hole(low, high) => {
                    self.gaps.expect(low, high);
                    self.expect_level(low);
                }
                Rupture::End => self.expect_level(reached),
            }
        }
        Ok(())
    }

    /// The mark tells of what cannot be read.
    fn expect_level(&mut self, reached: Key) {
        if let Some(level) = self.level.take()
            && level.entries > 0
        {
            self.gaps.expect(level.low.max(reached), level.high);
        }
    }
}

impl Feed {
    fn new(source: Source) -> Self {
        Self {
            source,
            rows: VecDeque::new(),
            state: State::Whole,
        }
    }

    /// One step up. If there is a row that cannot be read, goes to those behind it.
    fn fill(&mut self) -> Option<Rupture> {
        match self.source.way() {
            Way::Up => {
                let rows = &mut self.rows;
                step(&mut self.source, |found| rows.push_back(found));
                None
            }
            Way::Down => {
                let state = std::mem::replace(&mut self.state, State::Done);
                while state == State::Whole && self.source.way() == Way::Down {
                    step(&mut self.source, drop);
                }
                let hole = self.source.hole().filter(|_| state == State::Whole);
                let Some((low, high)) = hole else {
                    return Some(Rupture::End);
                };
                self.state = State::Broken;
                self.source.leap(high);
                Some(Rupture::Hole(low, high))
            }
            Way::Done => {
                self.state = State::Done;
                None
            }
        }
    }
}

fn step(source: &mut Source, mut take: impl FnMut(Found)) {
    let read = source.read(&mut |row| {
        take(Found::new(row));
        Ok::<(), std::convert::Infallible>(())
    });
    match read {
        Ok(step) => source.advance(&step),
    }
}
