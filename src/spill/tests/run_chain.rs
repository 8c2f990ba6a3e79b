//! The chain of runs: each knows the last one that a reader may have heard of, and how that one ended.

use super::*;
use crate::event::{Key, Position, PreviousRun, RunEnd, RunId};

fn previous(run: &Run) -> Option<(RunId, Option<u64>, RunEnd)> {
    run.previous
        .map(|PreviousRun { id, last, end }| (id, last, end))
}

#[test]
fn clean_killed_and_empty_runs_are_told_apart() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let first = spill.begin_run()?;
    assert_eq!((first.local, previous(&first)), (1, None));
    spill.end_run(&first, 12)?;
    drop(spill);

    spill = open(dir.path())?;
    let second = spill.begin_run()?;
    assert_eq!(previous(&second), Some((first.id, Some(12), RunEnd::Clean)));
    spill.append([&record(&second, 1)])?;
    drop(spill);

    spill = open(dir.path())?;
    let third = spill.begin_run()?;
    assert_eq!(previous(&third), Some((second.id, None, RunEnd::Killed)));
    spill.end_run(&third, 0)?;
    drop(spill);

    spill = open(dir.path())?;
    let fourth = spill.begin_run()?;
    assert_eq!(fourth.local, 4);
    assert_eq!(previous(&fourth), Some((second.id, None, RunEnd::Killed)));
    let read = all(&mut spill)?;
    assert_eq!(
        *read[0].run, *second,
        "a run read back is the run that was begun"
    );
    Ok(())
}

#[test]
fn positions_of_known_runs_have_a_place() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    drop(spill);
    spill = open(dir.path())?;
    let known = Position { run: run.id, n: 7 };
    assert_eq!(spill.key_of(&known), Some(Key::new(1, 7)));
    let foreign = Position {
        run: RunId(uuid::Uuid::now_v7()),
        n: 7,
    };
    assert_eq!(spill.key_of(&foreign), None);
    let beyond = Position {
        run: run.id,
        n: Key::N_MAX + 1,
    };
    assert_eq!(spill.key_of(&beyond), None);
    Ok(())
}

#[test]
fn old_runs_are_forgotten_once_nothing_refers_to_them() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let known = |spill: &Spill, run: &Run| spill.key_of(&Position { run: run.id, n: 1 }).is_some();
    let heard_of = spill.begin_run()?;
    spill.end_run(&heard_of, 3)?;
    let empty = |spill: &mut Spill| {
        let run = spill.begin_run()?;
        spill.end_run(&run, 0)?;
        Ok::<_, SpillError>(run)
    };
    let second = empty(&mut spill)?;
    for _ in 0..70 {
        empty(&mut spill)?;
    }
    assert!(!known(&spill, &second));
    assert!(known(&spill, &heard_of), "the next run has to name it");
    let holder = spill.begin_run()?;
    assert_eq!(
        previous(&holder),
        Some((heard_of.id, Some(3), RunEnd::Clean))
    );
    spill.append([&record(&holder, 1)])?;
    for _ in 0..70 {
        spill.begin_run()?;
    }
    assert!(known(&spill, &holder), "its entry is still in the spill");
    assert!(!known(&spill, &heard_of));
    spill.remove_through(Key::new(holder.local, 1))?;
    spill.begin_run()?;
    assert!(!known(&spill, &holder));
    Ok(())
}

#[test]
fn a_run_is_synced_whatever_the_durability_of_the_rest() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    spill.database.connection().execute_batch(
        "CREATE TEMP TRIGGER synced BEFORE INSERT ON runs WHEN (SELECT synchronous FROM pragma_synchronous) < 2 \
         BEGIN SELECT RAISE(FAIL, 'not synced'); END",
    )?;
    spill.begin_run()?;
    let synchronous = |spill: &Spill| {
        let conn = spill.database.connection();
        conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
    };
    assert_eq!(synchronous(&spill)?, 1, "the rest is as it was asked for");
    Ok(())
}
