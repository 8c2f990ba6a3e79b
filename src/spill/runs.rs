//! The starts of this publisher: numbered here, identified by something random everywhere else. In memory; index and
//! segments keep copies.

mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::event::{Key, Position, PreviousRun, PublisherId, Run, RunEnd, RunId};
pub(super) use rows::{read_all, save, write_to_segment};

/// A run's local number has the bits of a row id that the number within the run leaves.
pub(super) const LOCAL_MAX: u32 = (1 << 23) - 1;

/// Opened runs that are kept for a sink that has not been asked for long.
const RUNS_KEPT: usize = 64;

/// A run, and what has come of it.
#[derive(Debug, Clone)]
pub(super) struct RunState {
    pub(super) run: Arc<Run>,
    /// An entry of it may be in the stream.
    pub(super) opened: bool,
    /// The sink's cursor was seen in it.
    pub(super) cursor_seen: bool,
    /// Its last number, if that is known: it ended clean, or was killed and has left its ring.
    pub(super) last_n: Option<u64>,
    pub(super) end: RunEnd,
    /// Its newest number that was written to a segment.
    pub(super) spilled_n: u64,
}

/// All that are known.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_local: BTreeMap<u32, RunState>,
    /// Runs that differ from the copy in the index.
    pub(super) unsaved: BTreeSet<u32>,
}

/// Where positions of the sink lie in this publisher's order.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownRuns {
    by_id: HashMap<RunId, u32>,
    newest: Option<RunId>,
}

impl KnownRuns {
    /// Where a position lies; `None` if the run is none of this directory's.
    pub(crate) fn key_of(&self, position: &Position) -> Option<Key> {
        let &local = self.by_id.get(&position.run)?;
        (position.n <= Key::N_MAX).then(|| Key::new(local, position.n))
    }

    /// The newest run before the present one.
    pub(crate) fn newest(&self) -> Option<RunId> {
        self.newest
    }

    /// Another run has begun.
    pub(crate) fn add(&mut self, run: &Run) {
        self.by_id.insert(run.id, run.local);
    }
}

impl RunState {
    pub(super) fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            opened: false,
            cursor_seen: false,
            last_n: None,
            end: RunEnd::Killed,
            spilled_n: 0,
        }
    }

    /// Records its last number, and how it ended.
    pub(super) fn end_at(&mut self, last_n: u64, end: RunEnd) {
        (self.last_n, self.end) = (Some(last_n), end);
    }

    /// Whether a reader of the stream may know of it, now or later.
    fn is_reported(&self) -> bool {
        self.opened || self.last_n.is_some_and(|last| last > 0) || self.spilled_n > 0
    }
}

impl Runs {
    /// Of this run alone.
    pub(super) fn of(run: &Arc<Run>) -> Self {
        let mut runs = Self::default();
        runs.load(RunState::new(Arc::clone(run)));
        runs
    }

    /// Adds a run as read from a database. The first database to name it wins, but later ones may add to its state.
    pub(super) fn load(&mut self, known: RunState) {
        match self.by_local.get_mut(&known.run.local) {
            Some(old) if old.run.id == known.run.id => {
                old.opened |= known.opened;
                old.cursor_seen |= known.cursor_seen;
                if old.last_n.is_none() {
                    (old.last_n, old.end) = (known.last_n, known.end);
                }
                old.spilled_n = old.spilled_n.max(known.spilled_n);
            }
            Some(_) => {}
            None => drop(self.by_local.insert(known.run.local, known)),
        }
    }

    pub(super) fn get(&self, local: u32) -> Option<&RunState> {
        self.by_local.get(&local)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &RunState> {
        self.by_local.values()
    }

    /// The last number of a run that must be accounted for, as far as it is known.
    pub(super) fn tail(&self, local: u32) -> u64 {
        let known = self.by_local.get(&local);
        known.map_or(0, |known| known.last_n.unwrap_or(0).max(known.spilled_n))
    }

    /// All runs by id, and the newest one before `present`.
    pub(super) fn known(&self, present: &Run) -> KnownRuns {
        let earlier = self.by_local.range(..present.local);
        KnownRuns {
            by_id: self
                .iter()
                .map(|known| (known.run.id, known.run.local))
                .collect(),
            newest: earlier
                .map(|(_, known)| known.run.id)
                .max_by_key(|id| id.0.into_bytes()),
        }
    }

    pub(super) fn change(&mut self, local: u32, change: impl FnOnce(&mut RunState)) {
        if let Some(known) = self.by_local.get_mut(&local) {
            change(known);
            self.unsaved.insert(local);
        }
    }

    /// They are another publisher's from now on.
    pub(super) fn rename(&mut self, publisher: PublisherId) {
        for known in self.by_local.values_mut() {
            Arc::make_mut(&mut known.run).publisher = publisher;
        }
    }

    /// Adds a run after all known runs, even those known only by number. `newest` is the newest entry ever written.
    pub(super) fn begin(
        &mut self,
        publisher: PublisherId,
        id: Uuid,
        newest: Key,
        delivered: Key,
    ) -> Arc<Run> {
        self.change(newest.local_run(), |known| {
            known.spilled_n = known.spilled_n.max(newest.n());
            // An import or a requeue was killed before it could note the end.
            known.last_n = known.last_n.map(|last| last.max(newest.n()));
        });
        let (previous, killed_starts) = self.follow();
        let last = self.by_local.keys().next_back().copied().unwrap_or(0);
        let run = Arc::new(Run {
            id: RunId(id),
            publisher,
            local: last.max(newest.max(delivered).local_run()) + 1,
            previous,
            killed_starts,
        });
        self.by_local
            .insert(run.local, RunState::new(Arc::clone(&run)));
        self.unsaved.insert(run.local);
        run
    }

    /// What the next run reports: the last run that a reader may know of, and how many starts since then were killed. A
    /// start that ended cleanly without a number does not count.
    ///
    /// What a run itself says may be out of date: rows of the one before it may have come to light since.
    fn follow(&self) -> (Option<PreviousRun>, u64) {
        let mut killed = 0;
        let mut next: Option<&RunState> = None;
        for known in self.by_local.values().rev() {
            if known.is_reported() {
                let previous = as_previous(known.run.id, known.last_n, known.end);
                let forgotten =
                    next.filter(|next| next.run.previous.map(|run| run.id) == Some(previous.id));
                let forgotten = forgotten.map_or(0, |next| next.run.killed_starts);
                return (Some(previous), killed + forgotten);
            }
            killed += u64::from(known.last_n.is_none());
            next = Some(known);
        }
        next.map_or((None, 0), |oldest| {
            (oldest.run.previous, killed + oldest.run.killed_starts)
        })
    }

    /// Forgets runs before `present` that nothing refers to: those that never opened, and all but the last opened ones,
    /// up to the newest in which the sink's cursor was seen. `oldest_used` has entries in a segment.
    pub(super) fn prune(&mut self, present: u32, oldest_used: u32) {
        let earlier = || self.by_local.range(..present.min(oldest_used));
        let opened = earlier().filter(|(_, known)| known.opened).rev();
        let kept_from = opened.map(|(&local, _)| local).nth(RUNS_KEPT - 1);
        let cursor_seen = self.by_local.values().filter(|known| known.cursor_seen);
        let cursor_seen = cursor_seen.map(|known| known.run.local).max();
        let limit = kept_from.unwrap_or(0).min(cursor_seen.unwrap_or(u32::MAX));
        let recent = present.saturating_sub(u32::try_from(RUNS_KEPT).unwrap_or(u32::MAX));
        let goes = |(local, known): &(&u32, &RunState)| {
            let local = **local;
            local < limit || (!known.opened && local < recent && known.spilled_n == 0)
        };
        let gone: Vec<_> = earlier().filter(goes).map(|(&local, _)| local).collect();
        for local in gone {
            self.by_local.remove(&local);
            self.unsaved.insert(local);
        }
    }

    /// Takes back the newest run: it could not be begun.
    pub(super) fn take_back(&mut self, local: u32) {
        self.by_local.remove(&local);
        self.unsaved.insert(local);
    }

    /// Marks all runs as unsaved.
    pub(super) fn forget_saved(&mut self) {
        self.unsaved = self.by_local.keys().copied().collect();
    }
}

fn as_previous(id: RunId, last: Option<u64>, end: RunEnd) -> PreviousRun {
    PreviousRun { id, last, end }
}
