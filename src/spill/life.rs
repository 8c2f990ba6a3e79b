//! The spill through its life: without a disk, opened anew, carried over, shrunk; and what that has cost.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, PublisherId, Record, Run};

use super::evict::Evictions;
use super::runs::Runs;
use super::store::Store;
use super::{Directory, Spill, rows};

/// What is in memory while the database is opened anew.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// What the sink has.
    pub(crate) settled: Option<Key>,
    /// What the spill has for certain. Behind that there may be entries of a commit that failed, which the sink has got
    /// from memory since.
    pub(crate) spilled: Option<Key>,
    /// How many entries of that the spill still had.
    pub(crate) unremoved: u64,
    /// How many entries more there will be than the spill had, once what is in memory has been written and what is
    /// settled removed.
    pub(crate) more: i64,
}

impl Spill {
    /// A spill that takes nothing, for a publisher that goes without; its id is for this time only.
    pub(crate) fn absent(dir: &Path) -> (Self, Arc<Run>) {
        let publisher = PublisherId(Uuid::now_v7());
        let run = Run::alone(publisher);
        let spill = Self {
            runs: Runs::of(&run),
            store: Store::absent(Directory::absent(dir)),
            cap: u64::MAX,
            bytes_max: u64::MAX,
            publisher,
            corrupt: 0,
            evictions: Evictions::default(),
        };
        (spill, run)
    }

    /// There is no disk, and there will be none.
    pub(crate) fn is_absent(&self) -> bool {
        self.store.is_absent()
    }

    /// Opens the database anew, if something spoke against it, and writes into it what is in memory, so that nothing is
    /// missing of which we know.
    pub(crate) fn mend<'r>(
        &mut self,
        memory: &Memory,
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Result<(), SpillError> {
        self.store.reopen(self.publisher)?;
        let runs = &self.runs;
        let removed = self.store.untrusted(|store| {
            store.append(|database| {
                database.transact("restore", |work| {
                    runs.restore(work)?;
                    let certain = memory.settled.min(memory.spilled);
                    let removed = work.remove_through(certain.unwrap_or_default())?;
                    work.remove_through(memory.settled.unwrap_or_default())?;
                    rows::insert(work, records)?;
                    Ok(removed)
                })
            })
        })?;
        // What the mark knows to be missing is counted by it.
        if self.store.stock().level().is_none() {
            self.count_told(removed.saturating_sub(memory.unremoved));
        }
        self.store.removed(memory.settled.unwrap_or_default());
        self.store.trust(memory.more)?;
        self.load_runs()
    }

    pub(super) fn load_runs(&mut self) -> Result<(), SpillError> {
        let publisher = self.publisher;
        self.runs = self
            .store
            .read(|database| Runs::load(database.connection(), publisher))?;
        Ok(())
    }

    /// Begins a run at a start, and answers how many losses it has to begin with.
    pub(crate) fn start(&mut self) -> Result<(Arc<Run>, u64), SpillError> {
        self.past_damage(|spill| {
            let run = spill.begin_run()?;
            let untold = spill.untold(&run)?;
            if untold > 0 {
                spill.tell_untold(&run, 1, untold)?;
            }
            Ok((run, untold))
        })
    }

    /// Begins a run for entries that come from no ring. It counts as ended from the beginning, and again with each page of
    /// them: whenever whoever appends them is killed, the run has ended clean with what is in it.
    pub(crate) fn begin_ended_run(&mut self) -> Result<Arc<Run>, SpillError> {
        self.past_damage(|spill| spill.begin(Some(0)))
    }

    /// A database that turns out to be damaged at a start is set aside, and the same is tried once more.
    pub(super) fn past_damage<T>(
        &mut self,
        mut action: impl FnMut(&mut Self) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        match action(self) {
            Err(_) if self.store.is_damaged() => {
                self.mend(&Memory::default(), [])?;
                action(self)
            }
            done => done,
        }
    }

    /// The database has to be opened anew, with [`mend`](Self::mend), before anything is written.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.store.is_distrusted()
    }

    /// Nothing can be written before it is opened anew, and not for damage, which a start gets over.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_distrusted() && !self.store.is_damaged()
    }

    /// Backlog and dead letters together are at the cap.
    pub(crate) fn is_at_cap(&self) -> bool {
        let totals = self.totals();
        totals.bytes + totals.dead_letter_bytes >= self.bytes_max()
    }

    /// Rows of a database that was set aside have to be carried over, with [`salvage_step`](Self::salvage_step).
    pub(crate) fn is_salvaging(&self) -> bool {
        self.store.is_salvaging()
    }

    /// Carries over some rows.
    pub(crate) fn salvage_step(&mut self) -> Result<(), SpillError> {
        self.store.salvage_step()
    }

    /// How many entries of runs before this one have vanished that no later entry of their run can tell of: they have to
    /// become losses of this one.
    pub(crate) fn untold(&mut self, run: &Run) -> Result<u64, SpillError> {
        let earlier = self.earlier(run);
        self.store.write(|database| {
            database.transact("read", |work| {
                let found = work.untold(&earlier)?;
                Ok(found.iter().map(|(_, loss)| loss.count).sum())
            })
        })
    }

    /// Makes them losses of this run, from the number `first_n` on. After an error it is to be repeated with the same
    /// numbers, whatever has become of it.
    pub(crate) fn tell_untold(
        &mut self,
        run: &Run,
        first_n: u64,
        count: u64,
    ) -> Result<(), SpillError> {
        let earlier = self.earlier(run);
        self.store.write(|database| {
            database.transact("append losses to", |work| {
                for (first, _) in work.untold(&earlier)? {
                    work.remove_rows(first, first)?;
                }
                let reason = LossReason::Corrupt;
                work.insert_losses(Key::new(run.local, first_n), &[Loss { count, reason }])
            })
        })
    }

    fn earlier(&self, run: &Run) -> Vec<u32> {
        let mut earlier = self.runs.before(run.local);
        // A run whose row is gone as well.
        let newest = self.store.seen().newest;
        if newest < run.local && earlier.last() != Some(&newest) {
            earlier.push(newest);
        }
        earlier
    }

    /// What is lost of this run up to the number `last_n`, with nothing behind it.
    pub(crate) fn lost_before(
        &mut self,
        run: &Run,
        last_n: u64,
    ) -> Result<Option<Loss>, SpillError> {
        let found = self.store.write(|database| {
            database.transact("read", |work| {
                work.stretch_at_or_before(Key::new(run.local, Key::N_MAX))
            })
        })?;
        let lost = found.filter(|&(first, loss)| {
            loss.reason == LossReason::Corrupt && first.n() + loss.count == last_n + 1
        });
        Ok(lost.map(|(_, loss)| loss))
    }

    /// Nothing more is to be appended before the disk has room again.
    pub(crate) fn disk_is_full(&self) -> bool {
        self.store.disk_is_full()
    }

    /// To be called once a second.
    pub(crate) fn tick(&mut self) {
        self.store.tick();
        self.widen();
    }

    /// The disk may have had little room when this spill was opened, and has more now.
    fn widen(&mut self) {
        if self.bytes_max < self.cap
            && let Ok(free) = self.store.directory.half_of_free_bytes()
        {
            self.bytes_max = self.bytes_max.max(self.cap.min(free));
        }
    }

    /// To be called when there is nothing else to do: gives some of the room that a backlog took back to the disk. Says
    /// whether there was anything to do.
    pub(crate) fn tidy(&mut self, now: Instant) -> bool {
        self.store.tidy(now)
    }

    /// Entries of the backlog when it was opened, those that were found to be missing included.
    pub(crate) fn inherited(&self) -> u64 {
        self.store.expected()
    }

    /// Entries that were carried over and that nobody had known of.
    pub(crate) fn surplus(&self) -> u64 {
        self.store.stock().surplus()
    }

    /// So many entries were damaged, and told, but stayed as they were on a disk that took nothing, until they were
    /// removed with the others.
    pub(crate) fn count_told(&mut self, entries: u64) {
        self.corrupt += entries;
    }

    /// Entries that were found damaged or missing since this spill was opened.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt + self.store.stock().corrupt()
    }
}
