//! Entries of a session that others of it have overtaken: two threads of a host publish it, and one was slower, or a dead
//! letter came again. If they come later, and hold one another's hashes, nothing is wrong.

use std::collections::BTreeMap;

use spillring::AuditEntry;
use spillring::assembly::SessionId;
use spillring::event::RunId;

use super::chains::Source;
use super::trail::Place;

/// How many gaps of a session are watched, and how many entries a watched gap has at the most.
const GAPS_MAX: usize = 256;
const ENTRIES_MAX: u64 = 1_000;

/// The gaps of a session.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    gaps: Vec<Gap>,
}

#[derive(Debug)]
pub(super) struct Gap {
    pub(super) session: SessionId,
    pub(super) first: u64,
    /// The one after the last.
    pub(super) end: u64,
    /// The hash of the entry before it, and what the entry after it says of the one before.
    pub(super) before: [u8; 32],
    pub(super) after: [u8; 32],
    /// Those that have come since: what each says of the one before it, and its own hash.
    pub(super) late: BTreeMap<u64, ([u8; 32], [u8; 32])>,
    /// Of the entry after it.
    pub(super) source: Source,
    pub(super) run: Option<RunId>,
    pub(super) place: Place,
    /// How many numbers were not there, and how many kills there had been, at the entry before it.
    pub(super) absent: u64,
    pub(super) kills: u64,
    pub(super) watch: Watch,
    /// The session has more than one publisher.
    pub(super) shared: bool,
}

/// Whether an unfilled gap is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Told,
    /// Its entries may be elsewhere.
    Untold,
}

/// What an entry did for a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Well,
    /// Those that fill it do not hold one another's hashes.
    Wrongly,
}

impl Gap {
    /// How many entries are not there.
    pub(super) fn open(&self) -> u64 {
        (self.end - self.first).saturating_sub(self.late.len() as u64)
    }

    fn has_room_for(&self, seq: u64) -> bool {
        (self.first..self.end).contains(&seq) && !self.late.contains_key(&seq)
    }

    /// Whether those that are there hold one another's hashes, where one directly follows another.
    fn is_linked(&self) -> bool {
        let mut last = (self.first.checked_sub(1), self.before);
        let linked = self.late.iter().all(|(seq, (before, own))| {
            let follows = last.0 == seq.checked_sub(1);
            let fits = !follows || *before == last.1;
            last = (Some(*seq), *own);
            fits
        });
        linked && (last.0 != self.end.checked_sub(1) || last.1 == self.after)
    }
}

impl Overtaken {
    /// Watches a gap. Those that are too many or too large come back.
    pub(super) fn watch(&mut self, gap: Gap) -> Vec<Gap> {
        if gap.end - gap.first > ENTRIES_MAX {
            return vec![gap];
        }
        self.gaps.push(gap);
        let surplus = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..surplus).collect()
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Gap> {
        self.gaps.drain(..)
    }

    pub(super) fn has_gap_at(&self, seq: u64) -> bool {
        self.gaps.iter().any(|gap| gap.has_room_for(seq))
    }

    /// Takes an entry that comes late, if it is in a gap, and is not there yet.
    pub(super) fn take_late(&mut self, entry: &AuditEntry) -> Option<Filled> {
        let seq = entry.seq();
        let at = self.gaps.iter().position(|gap| gap.has_room_for(seq))?;
        let gap = &mut self.gaps[at];
        let hashes = (*entry.previous_hash(), *entry.entry_hash());
        gap.late.insert(seq, hashes);
        if gap.open() > 0 {
            return Some(Filled::Well);
        }
        let linked = self.gaps.remove(at).is_linked();
        Some(if linked {
            Filled::Well
        } else {
            Filled::Wrongly
        })
    }
}
