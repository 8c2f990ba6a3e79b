//! Entries that later entries of their session have overtaken: two threads publish the session and one was slower, or a
//! dead letter was requeued. If they arrive later and their hashes link up, nothing is wrong.

use std::collections::BTreeMap;

use spillring::AuditEntry;
use spillring::assembly::SessionId;
use spillring::event::RunId;

use super::chains::Counter;
use super::trail::TrailPlace;

/// Bounds on the gaps that are watched: how many of a session, and how many entries in each.
const GAPS_MAX: usize = 256;
const ENTRIES_MAX: u64 = 1_000;

/// The gaps of a session.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    gaps: Vec<SessionGap>,
}

#[derive(Debug)]
pub(super) struct SessionGap {
    pub(super) session: SessionId,
    pub(super) first: u64,
    /// One past the last.
    pub(super) end: u64,
    /// The hash of the entry before the gap, and the previous hash in the entry after it.
    pub(super) before: [u8; 32],
    pub(super) after: [u8; 32],
    /// Entries that arrived since, by seq: previous hash and own hash.
    pub(super) late: BTreeMap<u64, ([u8; 32], [u8; 32])>,
    /// Of the entry after the gap.
    pub(super) source: Counter,
    pub(super) run: Option<RunId>,
    pub(super) place: TrailPlace,
    /// `numbers` and `kills` of [`AbsentEntries`](super::chains::AbsentEntries), at the entry before the gap.
    pub(super) absent: u64,
    pub(super) kills: u64,
    pub(super) unfilled: Unfilled,
    /// The session has more than one publisher.
    pub(super) shared: bool,
}

/// Whether an unfilled gap is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfilled {
    Reported,
    /// Its entries may be outside of this trail.
    Ignored,
}

/// Whether a late entry fits into its gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LateEntry {
    Fits,
    /// The hashes do not link up.
    Breaks,
}

impl SessionGap {
    /// How many entries are still missing.
    pub(super) fn open(&self) -> u64 {
        (self.end - self.first).saturating_sub(self.late.len() as u64)
    }

    fn has_room_for(&self, seq: u64) -> bool {
        (self.first..self.end).contains(&seq) && !self.late.contains_key(&seq)
    }

    /// Whether the hashes link up wherever one entry directly follows another.
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
    /// Watches a gap. Returns the gaps that exceed the bounds.
    pub(super) fn watch(&mut self, gap: SessionGap) -> Vec<SessionGap> {
        if gap.end - gap.first > ENTRIES_MAX {
            return vec![gap];
        }
        self.gaps.push(gap);
        let surplus = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..surplus).collect()
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = SessionGap> {
        self.gaps.drain(..)
    }

    pub(super) fn has_gap_at(&self, seq: u64) -> bool {
        self.gaps.iter().any(|gap| gap.has_room_for(seq))
    }

    /// Takes a late entry, if it fills a gap.
    pub(super) fn take_late(&mut self, entry: &AuditEntry) -> Option<LateEntry> {
        let seq = entry.seq();
        let at = self.gaps.iter().position(|gap| gap.has_room_for(seq))?;
        let gap = &mut self.gaps[at];
        let hashes = (*entry.previous_hash(), *entry.entry_hash());
        gap.late.insert(seq, hashes);
        if gap.open() > 0 {
            return Some(LateEntry::Fits);
        }
        let linked = self.gaps.remove(at).is_linked();
        Some(if linked {
            LateEntry::Fits
        } else {
            LateEntry::Breaks
        })
    }
}
