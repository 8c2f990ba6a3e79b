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
use super::{Directory, Spill, insert};

/// What is in memory while the database is opened anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What the sink has.
    pub(crate) settled: Option<Key>,
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
        records: impl IntoIterator<Item = &'r Record> + Clone,
    ) -> Result<(), SpillError> {
        self.store.reopen(self.publisher)?;
        let runs = &self.runs;
        self.store.write_again(|database| {
            database.transact("restore", |work| {
                runs.restore(work)?;
                if let Some(key) = memory.settled {
                    work.remove_through(key)?;
                }
                insert(work, records.clone())
            })
        })?;
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
            let untold = spill.tell_untold(&run, 1)?;
            Ok((run, untold))
        })
    }

    /// A database that turns out to be damaged at a start is set aside, and the same is tried once more.
    pub(super) fn past_damage<T>(
        &mut self,
        mut action: impl FnMut(&mut Self) -> Result<T, SpillError>,
    ) -> Result<T, SpillError> {
        match action(self) {
            Err(_) if self.store.is_damaged() => {
                let memory = Memory {
                    settled: None,
                    more: 0,
                };
                self.mend(&memory, [])?;
                action(self)
            }
            done => done,
        }
    }

    /// The database has to be opened anew, with [`mend`](Self::mend), before anything is written.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.store.is_distrusted()
    }

    /// Rows of a database that was set aside have to be carried over, with [`salvage_step`](Self::salvage_step).
    pub(crate) fn is_salvaging(&self) -> bool {
        self.store.is_salvaging()
    }

    /// Carries over some rows.
    pub(crate) fn salvage_step(&mut self) -> Result<(), SpillError> {
        self.store.salvage_step()
    }

    /// Entries of runs before this one that have vanished, and that no later entry of their run can tell of, become losses
    /// of this one, from the number `first_n` on. Answers how many.
    pub(crate) fn tell_untold(&mut self, run: &Run, first_n: u64) -> Result<u64, SpillError> {
        let mut earlier = self.runs.before(run.local);
        // A run whose row is gone as well.
        earlier.extend(Some(self.store.seen().newest).filter(|&newest| newest < run.local));
        self.store.write(|database| {
            database.transact("append losses to", |work| {
                let count = work.take_untold(earlier.iter().copied())?;
                let reason = LossReason::Corrupt;
                work.insert_losses(Key::new(run.local, first_n), &[Loss { count, reason }])?;
                Ok(count)
            })
        })
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

    /// Entries that were found damaged or missing since this spill was opened.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt + self.store.stock().corrupt()
    }
}
