//! The stream as a reader finds it: order, numbers, and what each record and run announces about those before.

use super::entry::Entry;
use super::judge::{Found, Judge};
use super::sinks::{PositionKept, Stored};
use crate::event::{Run, RunEnd};

impl Judge {
    /// The sink has stored a record.
    pub(super) fn stored(&mut self, stored: &Stored) -> Found {
        let run = self
            .by_id
            .get(&stored.run.id)
            .copied()
            .ok_or("a record of an unknown run")?;
        let id = self.identify(run, stored.n, &stored.bytes)?;
        if *stored.subject != *Entry::subject_of(id as u64) {
            return Err(format!("entry {id} has another subject"));
        }
        self.facts[id].stored += 1;
        let place = (run, stored.n);
        if place <= self.newest {
            return self.comes_again(id, place);
        }
        self.follows(run, stored)?;
        self.newest = place;
        Ok(())
    }

    fn comes_again(&mut self, id: usize, place: (usize, u64)) -> Found {
        self.doubles += 1;
        if self.facts[id].stored == 1 {
            return Err(format!(
                "entry {id}, {place:?}, was overtaken by {:?}",
                self.newest
            ));
        }
        if self.memory != PositionKept::Blind && !self.may_be_a_copy() {
            return Err(format!("entry {id}, {place:?}, is there twice"));
        }
        if place <= self.settled {
            return Err(format!(
                "entry {id}, {place:?}, comes again after it was settled"
            ));
        }
        Ok(())
    }

    /// The sink's cursor may be in a run that the disk never recorded: then the directory cannot recognise it as its
    /// own.
    fn may_be_a_copy(&self) -> bool {
        self.runs.iter().any(|run| run.stored > 0 && !run.opened)
    }

    fn follows(&mut self, run: usize, stored: &Stored) -> Found {
        let before = self.runs[run].last;
        let lost: u64 = stored.losses.iter().map(|loss| loss.count).sum();
        let first = stored.n.saturating_sub(lost);
        let exact = first == before + 1;
        // A blind sink does not report what it has.
        let overlaps = self.memory == PositionKept::Blind && first <= before + 1;
        if !exact && !overlaps {
            return Err(format!(
                "run {run}: {} with {:?} follows {before}",
                stored.n, stored.losses
            ));
        }
        if before == 0 {
            if !stored.opens {
                return Err(format!("run {run}: its first record does not open it"));
            }
            self.opened(run, &stored.run)?;
        }
        let fact = &mut self.runs[run];
        for loss in &stored.losses {
            *fact.announced.entry(loss.reason).or_default() += loss.count;
        }
        fact.last = stored.n;
        fact.stored += 1;
        Ok(())
    }

    /// What the first record of a run announces about the run before.
    fn opened(&self, run: usize, said: &Run) -> Found {
        // A disk that is slow to record that a run is open holds up no batch of it.
        let known = |run: &usize| self.runs[*run].stored > 0 && self.runs[*run].opened;
        let seen = (0..run).rev().find(known);
        let Some(previous) = said.previous else {
            return match seen {
                Some(seen) => Err(format!("run {run} does not name run {seen} before it")),
                None => Ok(()),
            };
        };
        let named = self.by_id.get(&previous.id).copied();
        let named = named.ok_or_else(|| format!("run {run} follows an unknown one"))?;
        if Some(named) < seen || named >= run {
            return Err(format!("run {run} names {named}, and {seen:?} was seen"));
        }
        let ended = self.runs[named].ended.map(|(last, _)| last);
        let said = match previous.end {
            RunEnd::Clean => previous.last,
            RunEnd::Killed => None,
        };
        if ended == said || (said.is_some() && said == self.runs[named].maybe) {
            Ok(())
        } else {
            Err(format!(
                "run {run} says that {named} ended with {said:?}; it was {ended:?}"
            ))
        }
    }
}
