//! Entries of a session that others of it have overtaken: two threads of a host publish it, and one was slower. If they come
//! later, and hold one another's hashes, nothing is wrong.

use std::collections::BTreeMap;

use spillring::{AuditEntry, RunId};

use super::finding::Kind;
use super::trail::Place;

/// How many gaps of a session are watched, and how many entries a watched gap has at the most.
const GAPS_MAX: usize = 16;
const ENTRIES_MAX: u64 = 64;

/// A finding, and where it belongs.
pub(super) type Found = (Option<RunId>, Place, (Kind, String));

/// The gaps of a session.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    gaps: Vec<Gap>,
}

#[derive(Debug)]
pub(super) struct Gap {
    pub(super) first: u64,
    /// The one after the last.
    pub(super) end: u64,
    /// The hash of the entry before it, and what the entry after it says of the one before.
    pub(super) before: [u8; 32],
    pub(super) after: [u8; 32],
    /// Those that have come since: what each says of the one before it, and its own hash.
    pub(super) late: BTreeMap<u64, ([u8; 32], [u8; 32])>,
    /// What it is if it stays.
    pub(super) found: Found,
}

/// What an entry did for a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Partly,
    Whole,
    /// Those that fill it do not hold one another's hashes.
    Wrongly,
}

impl Overtaken {
    pub(super) fn watch(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// Those that are not watched any longer.
    pub(super) fn forget(&mut self) -> impl Iterator<Item = Found> {
        let surplus = self.gaps.len().saturating_sub(GAPS_MAX);
        let mut oldest = 0..surplus;
        let gone = self.gaps.extract_if(.., move |gap| {
            oldest.next().is_some() || gap.end - gap.first > ENTRIES_MAX
        });
        gone.map(|gap| gap.found).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Found> {
        self.gaps.drain(..).map(|gap| gap.found)
    }

    /// Takes an entry that comes late, if it is in a gap, and is not there yet.
    pub(super) fn take_late(&mut self, entry: &AuditEntry) -> Option<Filled> {
        let seq = entry.seq();
        let holds = |gap: &Gap| (gap.first..gap.end).contains(&seq) && !gap.late.contains_key(&seq);
        let at = self.gaps.iter().position(holds)?;
        let gap = &mut self.gaps[at];
        let hashes = (*entry.previous_hash(), *entry.entry_hash());
        gap.late.insert(seq, hashes);
        if gap.late.len() as u64 != gap.end - gap.first {
            return Some(Filled::Partly);
        }
        let gap = self.gaps.remove(at);
        let mut hash = gap.before;
        let linked = gap.late.values().all(|(before, own)| {
            let fits = *before == hash;
            hash = *own;
            fits
        });
        Some(if linked && hash == gap.after {
            Filled::Whole
        } else {
            Filled::Wrongly
        })
    }
}
