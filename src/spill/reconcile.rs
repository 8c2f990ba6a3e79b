//! What must have been in the database, and is not.
//!
//! The backlog is gapless: from the oldest undelivered entry to the newest one, each number of a run is an entry or a
//! loss. So where rows have vanished, their numbers are known as long as something on both sides of them is: a row, or
//! the mark. What cannot be known is how far an earlier run had come whose end has vanished: "at least" is told of it.

use rusqlite::OptionalExtension;

use crate::event::{Key, Loss, LossReason};

use super::database::{Work, uint};

/// A row, and the last number that it stands for.
type Stretch = (Key, Key);

/// Tells the numbers behind `low`, up to `high`, that no row stands for, as losses.
pub(super) fn tell_gaps(work: &mut Work<'_>, low: Key, high: Key) -> rusqlite::Result<()> {
    if low >= high {
        return Ok(());
    }
    let before = last_through(work, low)?;
    let low = before.map_or(low, |(_, end)| end.max(low));
    let first = first_behind(work, low)?.filter(|&(key, _)| key <= high);
    tell_gap(
        work,
        low,
        first.map_or(high, |(key, _)| key),
        first.is_none(),
    )?;
    if first.is_some()
        && let Some((_, end)) = last_through(work, high)?
    {
        tell_gap(work, end, high, true)?;
    }
    Ok(())
}

/// Between two keys: of the run of the second one, since nothing is known of the end of another one. `through` says
/// whether the second is missing as well.
fn tell_gap(work: &mut Work<'_>, from: Key, to: Key, through: bool) -> rusqlite::Result<()> {
    let first = if from.local_run() == to.local_run() {
        from.n() + 1
    } else {
        1
    };
    let end = to.n() + u64::from(through);
    if first >= end {
        return Ok(());
    }
    let loss = Loss {
        count: end - first,
        reason: LossReason::Corrupt,
    };
    work.insert_loss(Key::new(to.local_run(), first), loss)
}

fn last_through(work: &Work<'_>, key: Key) -> rusqlite::Result<Option<Stretch>> {
    stretch(
        work,
        "SELECT key, count FROM rows WHERE key <= ?1 ORDER BY key DESC LIMIT 1",
        key,
    )
}

fn first_behind(work: &Work<'_>, key: Key) -> rusqlite::Result<Option<Stretch>> {
    stretch(
        work,
        "SELECT key, count FROM rows WHERE key > ?1 ORDER BY key LIMIT 1",
        key,
    )
}

fn stretch(work: &Work<'_>, sql: &str, key: Key) -> rusqlite::Result<Option<Stretch>> {
    let row = work
        .prepare(sql)?
        .query_row([key.row()], |row| Ok((row.get(0)?, uint(row.get(1)?))))
        .optional()?;
    Ok(row.and_then(|(row, count)| {
        let first = Key::from_row(row)?;
        let n = first.n().saturating_add(count.max(1) - 1).min(Key::N_MAX);
        Some((first, Key::new(first.local_run(), n)))
    }))
}
