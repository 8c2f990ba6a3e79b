//! What a killed run has left in its ring.

use std::sync::Arc;

use crate::error::SpillError;
use crate::event::{Key, Loss, Record, Run, RunEnd, RunId};

use super::runs::RunState;
use super::{APPEND_ROWS_MAX, Spill};

/// The rest of a run, from its ring.
#[derive(Debug)]
pub(crate) struct KilledRun {
    pub(crate) run: Arc<Run>,
    pub(crate) records: Vec<Record>,
    /// Its last number, losses included.
    pub(crate) last_n: u64,
    /// Losses after the last entry, and the number of the first.
    pub(crate) first_n: u64,
    pub(crate) losses: Vec<Loss>,
}

impl Spill {
    /// The run that a ring belongs to; `None` if it was moved already, or ended cleanly. If the spill has since
    /// continued without that ring, its entries cannot keep their numbers: returns a new run that has already ended.
    /// `id` is `None` if the killed process had begun a second run.
    pub(crate) fn run_of_ring(
        &mut self,
        id: Option<RunId>,
        local: u32,
    ) -> Result<Option<Arc<Run>>, SpillError> {
        let present = self.present_run();
        let known = self.index.runs.get(local);
        let known = known.filter(|known| id.is_none_or(|id| known.run.id == id));
        match (known, id) {
            (Some(known), _) if known.last_n.is_some() => Ok(None),
            (Some(known), _) if present == local => Ok(Some(Arc::clone(&known.run))),
            // The index has forgotten it.
            (None, Some(id)) if present < local => {
                let run = Arc::new(Run {
                    id,
                    publisher: self.publisher,
                    local,
                    previous: None,
                    killed_starts: 0,
                });
                self.index.runs.load(RunState::new(Arc::clone(&run)));
                Ok(Some(run))
            }
            _ => self.begin_ended_run().map(Some),
        }
    }

    /// The newest entry of a run that the spill has, or a place before all of them.
    pub(crate) fn newest_of(&self, local: u32) -> Key {
        let known = self.index.runs.get(local);
        let spilled_n = known.map_or(0, |known| known.spilled_n);
        Key::new(local, spilled_n).max(if self.newest.local_run() == local {
            self.newest
        } else {
            Key::default()
        })
    }

    /// Appends what the spill does not have yet, and notes the run's end. Both survive the death of the process once
    /// this has returned.
    pub(crate) fn take_killed_run(&mut self, left: &KilledRun) -> Result<(), SpillError> {
        // An entry that became a dead letter without being spilled must not be delivered.
        let absent = |record: &&Record| self.index.absent.at(record.key()).is_some();
        let records = left.records.iter().filter(|record| !absent(record));
        let records: Vec<_> = records.cloned().collect();
        for some in records.chunks(APPEND_ROWS_MAX) {
            self.append(some)?;
        }
        let (last_n, first_n) = (left.last_n, left.first_n);
        self.end_run(
            left.run.local,
            RunEnd::Killed,
            last_n,
            first_n,
            &left.losses,
        )
    }
}
