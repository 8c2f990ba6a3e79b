//! Checks after everything has been drained: each entry, each number.

use std::collections::BTreeSet;

use super::entry::{Encoding, id_of};
use super::judge::{Fate, Found, Judge, RunFact};
use crate::event::LossReason;

/// Losses that a schedule may have caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Excuses {
    /// The newest entries on disk may be gone: they were not synced.
    pub(super) unsynced: bool,
    /// Rows of an append that was not carried out may have been there for a while.
    pub(super) torn: bool,
    /// Entries were evicted.
    pub(super) evicted: u64,
    /// Dead letters were dropped at the cap.
    pub(super) letters_dropped: bool,
}

impl Judge {
    /// Everything is drained. `letters` are the contents of the dead letters.
    pub(super) fn conclude(&self, letters: &[Vec<u8>], excuses: Excuses) -> Found {
        let letters: BTreeSet<_> = letters.iter().filter_map(|letter| id_of(letter)).collect();
        for (id, fact) in self.facts.iter().enumerate() {
            let works = fact.entry.encoding == Encoding::Works;
            if fact.fate != Fate::Accepted || !works || fact.stored > 0 {
                continue;
            }
            let kept = letters.contains(&(id as u64));
            if fact.dead_lettered && !kept && !excuses.letters_dropped {
                return Err(format!("dead letter {id} is lost"));
            }
            if kept || fact.dead_lettered {
                continue;
            }
            if (fact.promised || fact.on_disk) && !self.is_excused(fact.number, excuses) {
                return Err(format!(
                    "entry {id} {:?} is lost (promised: {}, on disk: {})",
                    fact.number, fact.promised, fact.on_disk
                ));
            }
        }
        (0..self.runs.len()).try_for_each(|run| self.conclude_run(run, &letters, excuses))
    }

    /// Evicted or not synced: then the loss is announced, or comes after the last announcement.
    fn is_excused(&self, number: Option<(usize, u64)>, excuses: Excuses) -> bool {
        let Some((run, n)) = number else {
            return excuses.unsynced;
        };
        let fact = &self.runs[run];
        // A dead letter at the end of a killed run takes the losses before it along.
        let later = |entry: &super::judge::Fact| {
            entry.dead_lettered && entry.number.is_some_and(|(of, at)| of == run && at > n)
        };
        let is_known = n < fact.last
            || fact.ended.is_some_and(|(last, _)| n <= last)
            || self.facts.iter().any(later);
        (excuses.evicted > 0 && is_known) || excuses.unsynced
    }

    fn conclude_run(&self, run: usize, letters: &BTreeSet<u64>, excuses: Excuses) -> Found {
        let fact = &self.runs[run];
        let count = |reason| fact.announced.get(&reason).copied().unwrap_or(0);
        let of_process = || {
            self.facts
                .iter()
                .filter(|entry| entry.process == fact.process)
        };
        let lost = of_process()
            .filter(|entry| entry.fate == Fate::Lost)
            .count() as u64;
        let refused = [
            LossReason::QueueFull,
            LossReason::SpillFull,
            LossReason::AlreadyShutdown,
        ];
        let announced: u64 = refused.into_iter().map(count).sum();
        if announced > lost {
            return Err(format!(
                "run {run} announces {announced} refused entries of {lost}"
            ));
        }
        let failing = of_process().filter(|entry| {
            entry.fate == Fate::Accepted && entry.entry.encoding != Encoding::Works
        });
        let failing = failing.count() as u64;
        if count(LossReason::EncodeError) > failing {
            return Err(format!(
                "run {run} announces more encode errors than {failing}"
            ));
        }
        if count(LossReason::Corrupt) > 0 && !excuses.unsynced && !excuses.torn {
            return Err(format!(
                "run {run} announces {} corrupt",
                count(LossReason::Corrupt)
            ));
        }
        if count(LossReason::SpillEvicted) > excuses.evicted {
            return Err(format!("run {run} announces more evicted than there were"));
        }
        self.check_letters(run, count(LossReason::DeadLettered), letters)?;
        self.check_numbers(run, fact, lost, excuses)
    }

    fn check_letters(&self, run: usize, announced: u64, letters: &BTreeSet<u64>) -> Found {
        let fact = &self.runs[run];
        let mine = self.facts.iter().filter(|entry| {
            let dead_lettered = entry.dead_lettered || letters.contains(&entry.entry.id);
            dead_lettered
                && entry
                    .number
                    .is_some_and(|(of, n)| of == run && n < fact.last)
        });
        let mine = mine.count() as u64;
        if announced == mine || self.memory == super::sinks::PositionKept::Blind {
            Ok(())
        } else {
            Err(format!(
                "run {run} announces {announced} dead letters; there are {mine}"
            ))
        }
    }

    /// A clean end knows the last number: each one up to it is stored, announced, or lost after the last entry.
    fn check_numbers(&self, run: usize, fact: &RunFact, lost: u64, excuses: Excuses) -> Found {
        let Some((ended_at, trailing)) = fact.ended else {
            return Ok(());
        };
        let accepted = self
            .facts
            .iter()
            .filter(|entry| entry.process == fact.process && entry.fate == Fate::Accepted);
        let accepted = accepted.count() as u64;
        if ended_at < accepted || ended_at > accepted + lost + fact.renumbered {
            return Err(format!(
                "run {run} has {ended_at} numbers for {accepted} entries, {lost} lost"
            ));
        }
        // A dead letter after the last stored entry takes the losses before it along.
        let letters = self.facts.iter().filter(|entry| entry.dead_lettered);
        let letters = letters
            .filter_map(|entry| entry.number)
            .filter(|&(of, _)| of == run);
        let reach = letters.map(|(_, n)| n).fold(fact.last, u64::max);
        if reach + trailing < ended_at && !excuses.unsynced {
            return Err(format!(
                "run {run} ends at {ended_at}, and the sink has it up to {}",
                fact.last
            ));
        }
        Ok(())
    }
}
