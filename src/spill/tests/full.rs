//! The database may not grow any more: deleting goes on, and appending too once something was deleted.

use super::*;
use crate::event::Key;

/// A bound on the database's pages is felt just as a full disk is, only that it is always to be had.
fn limit(spill: &Spill, more: i64) -> Result<(), rusqlite::Error> {
    let conn = spill.store.connection();
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
    conn.pragma_update(None, "max_page_count", pages + more)
}

fn large(run: &Arc<Run>, numbers: impl IntoIterator<Item = u64>) -> Vec<Record> {
    let large = |record: Record| Record {
        bytes: Bytes::from(vec![b'x'; 10_000]),
        ..record
    };
    records(run, numbers).into_iter().map(large).collect()
}

#[test]
fn what_is_full_can_be_drained_and_filled_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&large(&run, 1..=200))?;
    limit(&spill, 3)?;
    assert!(dir.path().join("reserve").exists());
    let refused = spill.append(&large(&run, 201..=300));
    assert!(refused.is_err());
    assert!(spill.disk_is_full(), "{refused:?}");
    assert!(!dir.path().join("reserve").exists(), "it is there for this");
    // Nothing of it is there, and nothing before it is gone.
    assert_eq!(numbers(&all(&mut spill)?), (1..=200).collect::<Vec<_>>());
    for through in [50, 100, 199] {
        spill.remove_through(Key::new(1, through))?;
        audit(&spill)?;
    }
    spill.tick();
    assert!(!spill.disk_is_full(), "there is room on the disk");
    spill.append(&large(&run, 201..=300))?;
    assert_eq!(numbers(&all(&mut spill)?), (200..=300).collect::<Vec<_>>());
    audit(&spill)
}

/// All that a start, an end and a dead letter write they write with the reserve.
#[test]
fn a_run_begins_and_ends_on_a_full_disk() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&large(&run, 1..=200))?;
    limit(&spill, 0)?;
    assert!(spill.append(&large(&run, 201..=210)).is_err());
    spill.remove_through(Key::new(1, 20))?;
    spill.dead_letter(&large(&run, [21])[0], DeadLetterReason::Rejected, "")?;
    spill.end_run(&run, 200)?;
    let next = spill.begin_run()?;
    assert_eq!(next.previous.map(|previous| previous.last), Some(Some(200)));
    audit(&spill)
}

/// Somebody has deleted it, or the directory was made anew.
#[test]
fn a_reserve_that_has_vanished_is_made_anew() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    std::fs::remove_file(dir.path().join("reserve"))?;
    spill.tick();
    assert!(dir.path().join("reserve").exists());
    Ok(())
}
