//! The spill of a publisher that is not running, for whoever only looks.

use crate::error::SpillError;
use crate::event::RunId;

use super::database::{Database, database_error};
use super::{Directory, Totals, runs};

/// What the spill of a publisher that is not running holds.
#[derive(Debug)]
pub(crate) struct Depths {
    pub(crate) run: Option<RunId>,
    pub(crate) totals: Totals,
    pub(crate) oldest_popped_ms: Option<u64>,
}

/// Looks at the spill of a publisher that is not running; the directory stays taken for the time being.
pub(crate) fn depths(directory: &Directory) -> Result<Depths, SpillError> {
    let database = Database::open_existing(&directory.database())?;
    let summary = database.summary();
    Ok(Depths {
        run: runs::newest(database.connection()).map_err(database_error("read the runs of"))?,
        totals: summary.totals,
        oldest_popped_ms: summary.oldest.map(|(_, ms)| ms),
    })
}
