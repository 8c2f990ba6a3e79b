//! A database that is opened anew, or set aside, while it is being carried over, told of, or settled.

use super::*;
use crate::event::Key;
use crate::spill::{Memory, quarantine};

const ENTRIES: u64 = 5_000;
const NOTHING: Memory = Memory {
    settled: None,
    more: 0,
    spilled: None,
    unremoved: 0,
};

fn filled(dir: &Path) -> Result<(Spill, Arc<Run>), SpillError> {
    let mut spill = open(dir)?;
    let run = spill.begin_run()?;
    for chunk in records(&run, 1..=ENTRIES).chunks(1_000) {
        spill.append(chunk)?;
    }
    Ok((spill, run))
}

fn finish(spill: &mut Spill) -> Outcome {
    for _ in 0..50 {
        if spill.is_salvaging() {
            spill.salvage_step()?;
        }
    }
    assert!(!spill.is_salvaging());
    Ok(())
}

/// The folder of the database is moved away, and it is made anew.
fn take_away(spill: &mut Spill, dir: &Path, to: &str) -> Outcome {
    std::fs::rename(dir.join("db"), dir.join(to))?;
    spill.tick();
    assert!(spill.is_distrusted());
    spill.mend(&NOTHING, [])?;
    Ok(())
}

#[test]
fn a_database_that_vanishes_while_another_is_carried_over_costs_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = filled(dir.path())?;
    take_away(&mut spill, dir.path(), "first")?;
    spill.salvage_step()?;
    spill.append(&records(&run, ENTRIES + 1..=ENTRIES + 10))?;
    take_away(&mut spill, dir.path(), "second")?;
    finish(&mut spill)?;
    let expected: Vec<u64> = (1..=ENTRIES + 10).collect();
    let found = numbers(&all(&mut spill)?);
    assert!(
        found == expected,
        "{} from {:?}",
        found.len(),
        found.first()
    );
    assert_eq!((spill.corrupt(), spill.surplus()), (0, 0));
    audit(&spill)
}

#[test]
fn what_was_set_aside_may_vanish_while_it_is_carried_over() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (spill, _) = filled(dir.path())?;
    drop(spill);
    quarantine::set_aside(dir.path())?;
    let mut spill = open(dir.path())?;
    spill.salvage_step()?;
    let aside = quarantine::waiting(dir.path())?.expect("it was set aside");
    std::fs::remove_dir_all(aside)?;
    for _ in 0..50 {
        if let Err(error) = spill.salvage_step() {
            tracing::debug!(%error, "as it may");
        }
    }
    assert!(!spill.is_salvaging(), "the backlog is never read again");
    Ok(())
}

#[test]
fn what_the_sink_has_is_not_counted_as_missing_after_carrying_over() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (spill, _) = filled(dir.path())?;
    drop(spill);
    quarantine::set_aside(dir.path())?;
    let mut spill = open(dir.path())?;
    spill.settle_through(Key::new(1, 2_500))?;
    finish(&mut spill)?;
    assert_eq!(spill.totals().entries, ENTRIES - 2_500);
    assert_eq!(spill.corrupt(), 0);
    Ok(())
}

#[test]
fn losses_of_earlier_runs_are_told_by_whoever_repeats_it() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path())?;
    let rotten = "UPDATE rows SET bytes = zeroblob(9) WHERE key = (SELECT max(key) FROM rows)";
    spill.store.connection().execute_batch(rotten)?;
    all(&mut spill)?;
    let run = spill.begin_run()?;
    assert_eq!(spill.untold(&run)?, 1);
    spill.tell_untold(&run, 1, 1)?;
    // A commit whose sync failed has happened all the same.
    spill.tell_untold(&run, 1, 1)?;
    assert_eq!(spill.untold(&run)?, 0);
    assert_eq!(
        spill.append(&[record_after(&run, 2, &[loss(1, LossReason::Corrupt)])])?,
        1
    );
    Ok(())
}

#[test]
fn a_database_set_aside_that_cannot_be_opened_for_now_is_not_given_up() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (spill, _) = filled(dir.path())?;
    drop(spill);
    quarantine::set_aside(dir.path())?;
    let aside = quarantine::waiting(dir.path())?.expect("it was set aside");
    let other = rusqlite::Connection::open(aside.join("spill.sqlite3"))?;
    other.execute_batch("BEGIN EXCLUSIVE")?;
    if let Ok(mut spill) = open(dir.path()) {
        finish(&mut spill)?;
    }
    other.execute_batch("ROLLBACK")?;
    drop(other);
    let mut spill = open(dir.path())?;
    finish(&mut spill)?;
    assert_eq!(spill.totals().entries, ENTRIES);
    audit(&spill)
}

#[test]
fn the_database_of_another_publisher_is_not_set_aside() -> Outcome {
    let home = tempfile::tempdir()?;
    let dir = home.path().join("spill");
    let (mut spill, _) = filled(&dir)?;
    std::fs::rename(&dir, home.path().join("moved"))?;
    drop(filled(&dir)?);
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let damage = rusqlite::Error::SqliteFailure(corrupt, None);
    let read = spill
        .store
        .read::<()>(|_| Err(crate::spill::database_error("read")(damage)));
    assert!(read.is_err());
    assert!(spill.mend(&NOTHING, []).is_err());
    assert!(quarantine::waiting(&dir)?.is_none(), "it is not ours");
    assert!(dir.join("db/spill.sqlite3").exists());
    Ok(())
}

#[test]
fn a_mark_that_is_a_little_old_hides_no_damage() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = filled(dir.path())?;
    let mark = std::fs::read(dir.path().join("mark"))?;
    spill.append(&records(&run, ENTRIES + 1..=ENTRIES + 10))?;
    drop(spill);
    std::fs::write(dir.path().join("mark"), mark)?;
    let file = std::fs::File::options()
        .write(true)
        .open(dir.path().join("db/spill.sqlite3"))?;
    file.set_len(file.metadata()?.len() / 32_768 * 16_384)?;
    let mut spill = open(dir.path())?;
    finish(&mut spill)?;
    let found = spill.totals().entries;
    assert!(found < ENTRIES, "{found}");
    assert!(
        spill.corrupt() >= ENTRIES - found,
        "{} told of, {found} found",
        spill.corrupt()
    );
    Ok(())
}
