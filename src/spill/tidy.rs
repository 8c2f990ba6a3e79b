//! Giving room back to the file system once a backlog has gone, in steps that leave the ring watched.

use std::time::{Duration, Instant};

use crate::error::SpillError;

use super::database::Database;

/// How long nothing must have been written before the room counts as spare.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// Pages that a step gives back, 16 MiB: some ten milliseconds.
const STEP_PAGES: u64 = 1_024;

/// When there is something to give back.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    due: Option<Instant>,
}

impl Tidy {
    pub(super) fn written(&mut self) {
        self.due = Some(Instant::now() + SPARE_AFTER);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// One step; the log is cut to nothing with the last.
    pub(super) fn step(&mut self, database: &Database) -> Result<(), SpillError> {
        // Whatever comes of it, a failing disk is not asked again and again.
        let due = self.due.take();
        if database.free_pages()? > 0 {
            shrink(database)?;
            self.due = due;
            return Ok(());
        }
        database.checkpoint()
    }
}

/// Gives back some pages.
pub(super) fn shrink(database: &Database) -> Result<(), SpillError> {
    database.shrink(STEP_PAGES)
}
