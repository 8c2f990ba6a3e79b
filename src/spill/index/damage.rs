//! An index that is damaged: waited for, then set aside and made again.

use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use crate::change;
use crate::error::SpillError;
use crate::event::unix_ms;
use crate::host::log;
use crate::metrics::Metrics;
use crate::spill::files::{answers, io_error, rename_database};
use crate::spill::tally::Tally;
use crate::spill::{salvage, schema};

use super::{Index, PATIENCE};

/// How often a start tries to open an index that is damaged.
const RETRY: Duration = Duration::from_millis(200);

impl Index {
    /// At a start an index that is damaged is waited for, until another can be made of what can be read of it.
    pub(in crate::spill) fn wait_for_damage(
        &mut self,
        error: SpillError,
    ) -> Result<(), SpillError> {
        let mut done = Err(error);
        while let Err(error) = &done
            && (is_damage(error) || self.path.is_dir())
            && self
                .trouble
                .is_some_and(|since| change::now() < since + 2 * PATIENCE)
        {
            change::pause(RETRY);
            done = self.ready(change::now());
        }
        done
    }

    /// The file is damaged, or its disk away. After some patience another takes its place.
    pub(super) fn despair(&mut self, error: SpillError, now: Instant) -> Result<(), SpillError> {
        let since = *self.trouble.get_or_insert(now);
        let lost = self.path.is_dir() || (is_damage(&error) && answers(&self.path));
        if now < since + PATIENCE || !lost {
            return Err(error);
        }
        log::error!(%error, "the index of the spill is damaged: rebuilding it from what can be read");
        self.replace(now)
    }

    fn replace(&mut self, now: Instant) -> Result<(), SpillError> {
        let aside = self
            .path
            .with_file_name(format!("index.damaged-{}", unix_ms()));
        rename_database(&self.path, &aside).map_err(io_error("set aside", &self.path))?;
        Metrics::quarantined();
        let old = schema::open_to_read(&aside);
        if let (Ok(old), false) = (&old, self.loaded) {
            self.load_rest(old).unwrap_or_default();
        }
        let expected = self.dead_letters.entries;
        self.loaded = true;
        self.trouble = None;
        self.forget_saved();
        self.dead_letters = Tally::default();
        self.save(now)?;
        if let Ok(old) = &old {
            self.change_dead_letters("write to the index of", now, |conn| {
                salvage::dead_letters(old, conn)?;
                salvage::imported(old, conn)
            })?;
        }
        let lost = expected.saturating_sub(self.dead_letters.entries);
        if lost > 0 {
            log::error!(lost, kept = %aside.display(), "dead letters cannot be read any more");
        }
        Ok(())
    }
}

/// Damage, or a file that is not ours. With a fresh handle the error may go away, or stay.
pub(super) fn is_damage(error: &SpillError) -> bool {
    match error {
        SpillError::Database { source, .. } => source
            .downcast_ref::<rusqlite::Error>()
            .is_some_and(|error| match error.sqlite_error_code() {
                None => true,
                Some(code) => matches!(
                    code,
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::Unknown
                        | ErrorCode::SystemIoFailure
                ),
            }),
        SpillError::Schema { .. } => true,
        _ => false,
    }
}
