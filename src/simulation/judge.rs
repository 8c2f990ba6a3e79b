//! What was promised and what happened: an independent journal, checked while a schedule runs.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::FutureExt;

use super::entry::{Encoding, Entry, id_of};
use super::sinks::PositionKept;
use crate::control::Until;
use crate::event::{Key, Loss, LossReason, Record, Run, RunId};
use crate::ticket::Ticket;

/// What is wrong, in words; it ends the schedule.
pub(super) type Found = Result<(), String>;

/// An attempt to publish, and its result.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) process: usize,
    pub(super) at: Duration,
    pub(super) entry: Entry,
    pub(super) fate: Fate,
    /// The run that it was numbered in, and its number.
    pub(super) number: Option<(usize, u64)>,
    pub(super) stored: u32,
    /// On disk: by an append, or a clean end.
    pub(super) on_disk: bool,
    /// Promised: by a ticket, or a clean end.
    pub(super) promised: bool,
    /// It became a dead letter.
    pub(super) dead_lettered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Returned,
    Lost,
}

/// A run, and what happened to it.
#[derive(Debug, Clone)]
pub(super) struct RunFact {
    pub(super) local: u32,
    pub(super) process: usize,
    /// The newest number that the sink has.
    pub(super) last: u64,
    pub(super) stored: u64,
    pub(super) announced: BTreeMap<LossReason, u64>,
    /// If it ended clean: its last number, and how many losses were after the last entry.
    pub(super) ended: Option<(u64, u64)>,
    /// The process died while recording that.
    pub(super) maybe: Option<u64>,
    /// Its numbers that represent losses of earlier runs.
    pub(super) renumbered: u64,
    /// The spill has recorded that the stream may name it.
    pub(super) opened: bool,
}

/// A flush under way.
#[derive(Debug)]
struct Flush {
    ticket: Ticket<()>,
    until: Until,
    /// It covers entries before this one.
    before: usize,
    process: usize,
}

#[derive(Debug)]
pub(super) struct Judge {
    pub(super) facts: Vec<Fact>,
    pub(super) runs: Vec<RunFact>,
    pub(super) by_id: HashMap<RunId, usize>,
    flushes: Vec<Flush>,
    pub(super) memory: PositionKept,
    /// The newest place that the sink has.
    pub(super) newest: (usize, u64),
    /// Nothing up to these places may come again: after a kill, and after a power cut.
    pub(super) settled: (usize, u64),
    synced: (usize, u64),
    /// The first entry that may be in memory only.
    frontier: usize,
    pub(super) flushes_kept: u64,
    pub(super) doubles: u64,
}

impl Judge {
    pub(super) fn new(memory: PositionKept) -> Self {
        Self {
            facts: Vec::new(),
            runs: Vec::new(),
            by_id: HashMap::new(),
            flushes: Vec::new(),
            memory,
            newest: (0, 0),
            settled: (0, 0),
            synced: (0, 0),
            frontier: 0,
            flushes_kept: 0,
            doubles: 0,
        }
    }

    pub(super) fn begun(&mut self, run: &Run, process: usize) -> Found {
        if self.by_id.insert(run.id, self.runs.len()).is_some() {
            return Err("two runs have one id".to_owned());
        }
        self.runs.push(RunFact {
            local: run.local,
            process,
            last: 0,
            stored: 0,
            announced: BTreeMap::new(),
            ended: None,
            maybe: None,
            renumbered: 0,
            opened: false,
        });
        Ok(())
    }

    fn place_of(&self, key: Key) -> Option<(usize, u64)> {
        let local = key.local_run();
        let run = self.runs.iter().rposition(|run| run.local == local)?;
        Some((run, key.n()))
    }

    /// An entry has one number, and a number belongs to one entry, for good.
    fn numbered(&mut self, record: &Record) -> Result<usize, String> {
        let run = self
            .by_id
            .get(&record.run.id)
            .copied()
            .ok_or("a record of an unknown run")?;
        self.identify(run, record.n, &record.bytes)
    }

    pub(super) fn identify(&mut self, run: usize, n: u64, bytes: &[u8]) -> Result<usize, String> {
        let id = id_of(bytes).and_then(|id| usize::try_from(id).ok());
        let id = id
            .filter(|&id| id < self.facts.len())
            .ok_or("an entry that nobody published")?;
        let fact = &mut self.facts[id];
        if fact.fate != Fate::Accepted {
            return Err(format!("entry {id} was refused, and is there"));
        }
        match fact.number {
            None => fact.number = Some((run, n)),
            Some(known) if known == (run, n) => {}
            Some(known) => return Err(format!("entry {id} is {known:?} and {:?}", (run, n))),
        }
        if fact.entry.content() != bytes {
            return Err(format!("entry {id} has changed"));
        }
        Ok(id)
    }

    /// These records go to the disk; all are there if `done`.
    pub(super) fn appended(&mut self, records: &[Record], done: bool) -> Found {
        for record in records {
            let id = self.numbered(record)?;
            self.facts[id].on_disk |= done;
        }
        Ok(())
    }

    /// Runs up to this one may be in the stream.
    pub(super) fn runs_opened(&mut self, local: u32) {
        // A run that was never recorded may have had the same number.
        let newest = self.runs.iter().rposition(|run| run.local == local);
        let on_disk = |entry: &&Fact| entry.on_disk;
        let spilled = self
            .facts
            .iter()
            .filter(on_disk)
            .filter_map(|entry| entry.number);
        let spilled: std::collections::BTreeSet<_> = spilled.map(|(run, _)| run).collect();
        for (at, run) in self.runs.iter_mut().enumerate() {
            let before = run.local < local && spilled.contains(&at);
            run.opened |= Some(at) == newest || before;
        }
    }

    pub(super) fn renumbered(&mut self, count: u64) {
        if let Some(run) = self.runs.last_mut() {
            run.renumbered += count;
        }
    }

    /// The process died while the end of the run was being recorded.
    pub(super) fn may_have_ended(&mut self, last_n: u64) {
        if let Some(run) = self.runs.last_mut() {
            run.maybe = Some(last_n);
        }
    }

    pub(super) fn dead_lettered(&mut self, record: &Record, done: bool) -> Found {
        let id = self.numbered(record)?;
        self.facts[id].dead_lettered |= done;
        Ok(())
    }

    pub(super) fn settled(&mut self, through: Key) {
        self.settled = self.settled.max(self.place_of(through).unwrap_or_default());
    }

    pub(super) fn synced(&mut self) {
        self.synced = self.settled;
    }

    /// What was settled since the last sync may come again.
    pub(super) fn power_failed(&mut self) {
        self.settled = self.synced;
    }

    pub(super) fn ended(&mut self, last_n: u64, losses: &[Loss]) {
        let trailing = losses.iter().map(|loss| loss.count).sum();
        if let Some(run) = self.runs.last_mut() {
            run.ended = Some((last_n, trailing));
        }
    }

    pub(super) fn flush(&mut self, ticket: Ticket<()>, until: Until, process: usize) {
        let before = self.facts.len();
        self.flushes.push(Flush {
            ticket,
            until,
            before,
            process,
        });
    }

    /// Checks every ticket. One that has succeeded must be true.
    pub(super) fn check_tickets(&mut self, evicted: u64) -> Found {
        for mut flush in std::mem::take(&mut self.flushes) {
            match (&mut flush.ticket).now_or_never() {
                None => self.flushes.push(flush),
                Some(Err(_)) => {}
                Some(Ok(())) => {
                    self.flushes_kept += 1;
                    match flush.until {
                        Until::Safe => self.check_flush(&flush)?,
                        Until::Delivered => self.check_delivered(&flush, evicted)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn check_flush(&mut self, flush: &Flush) -> Found {
        for (id, fact) in self.facts[..flush.before].iter_mut().enumerate().rev() {
            if fact.process != flush.process {
                break;
            }
            if fact.fate == Fate::Accepted && !fact.is_safe() {
                return Err(format!(
                    "a flush was kept, and entry {id} is neither stored nor on disk"
                ));
            }
            fact.promised |= fact.fate == Fate::Accepted;
        }
        Ok(())
    }

    /// It is unknown which entries were evicted: there may be this many.
    fn check_delivered(&self, flush: &Flush, evicted: u64) -> Found {
        let meant = self.facts[..flush.before].iter().rev();
        let waiting = meant
            .take_while(|fact| fact.process == flush.process)
            .filter(|fact| fact.is_expected());
        let waiting = waiting.count() as u64;
        if waiting > evicted {
            return Err(format!(
                "delivery was promised, {waiting} entries are not stored, and {evicted} were evicted"
            ));
        }
        Ok(())
    }

    /// This process's run has ended with everything in its place.
    pub(super) fn accounted(&mut self, process: usize) -> Found {
        for (id, fact) in self.facts.iter_mut().enumerate().rev() {
            if fact.process != process {
                break;
            }
            if fact.fate == Fate::Accepted && !fact.is_safe() {
                return Err(format!(
                    "a clean end, and entry {id} is neither stored nor on disk"
                ));
            }
            fact.promised |= fact.fate == Fate::Accepted;
        }
        Ok(())
    }

    /// No entry has been in memory only for too long, if the disk has been healthy.
    pub(super) fn check_age(
        &mut self,
        well_since: Duration,
        max: Duration,
        now: Duration,
    ) -> Found {
        while self.facts.get(self.frontier).is_some_and(Fact::is_safe) {
            self.frontier += 1;
        }
        let Some(fact) = self.facts.get(self.frontier) else {
            return Ok(());
        };
        let age = now.saturating_sub(fact.at.max(well_since));
        if age > max {
            return Err(format!(
                "entry {} is in memory only for {age:?}",
                self.frontier
            ));
        }
        Ok(())
    }

    /// Whatever was in memory only is gone.
    pub(super) fn died(&mut self) {
        self.flushes.clear();
        self.frontier = self.facts.len();
    }
}

impl Fact {
    /// The sink must have it, but does not.
    fn is_expected(&self) -> bool {
        self.fate == Fate::Accepted
            && self.entry.encoding == Encoding::Works
            && self.stored == 0
            && !self.dead_lettered
    }

    pub(super) fn is_safe(&self) -> bool {
        !self.is_expected() || self.on_disk
    }
}
