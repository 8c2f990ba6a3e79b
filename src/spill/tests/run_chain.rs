//! The chain of runs: each knows the last one that a reader may have heard of, how that one ended, and how many starts
//! were killed since; and none is forgotten in which the cursor of a sink may stand.

use super::*;
use crate::event::{Key, Position, PreviousRun, RunEnd, RunId};
use crate::spill::DeadLetterReason;

fn previous(run: &Run) -> Option<(RunId, Option<u64>, RunEnd)> {
    run.previous
        .map(|PreviousRun { id, last, end }| (id, last, end))
}

/// As before its first entry goes to the sink.
fn opened(spill: &mut Spill) -> Result<Arc<Run>, SpillError> {
    let run = spill.begin_run()?;
    spill.open_runs(&[record(&run, 1)])?;
    Ok(run)
}

fn known(spill: &Spill, run: &Run) -> bool {
    spill.key_of(&Position { run: run.id, n: 1 }).is_some()
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
fn a_start_killed_before_it_told_anything_is_counted_and_no_link() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    spill.begin_run()?;
    let first = spill.begin_run()?;
    assert_eq!((previous(&first), first.killed_starts()), (None, 1));
    assert_eq!(
        first.to_string(),
        format!("publisher={}; killed_starts=1", first.publisher)
    );
    spill.end_run(&first, 2_000)?;
    spill.begin_run()?;
    let empty = spill.begin_run()?;
    spill.end_run(&empty, 0)?;
    // A dead letter is no entry of the stream.
    let buried = spill.begin_run()?;
    spill.dead_letter(&record(&buried, 1), DeadLetterReason::Oversize, "odd")?;
    drop(spill);

    spill = open(dir.path())?;
    let last = opened(&mut spill)?;
    assert_eq!(
        last.to_string(),
        format!(
            "publisher={}; previous={}; ended=clean; last=2000; killed_starts=2",
            last.publisher, first.id
        )
    );
    drop(spill);

    spill = open(dir.path())?;
    let next = spill.begin_run()?;
    assert_eq!(previous(&next), Some((last.id, None, RunEnd::Killed)));
    assert_eq!(next.killed_starts(), 0);
    Ok(())
}

/// The backlog of a killed run comes out in the next one, which is killed in its turn: the stream has heard of the
/// first of them, though the spill holds it no more.
#[test]
fn a_run_that_another_has_delivered_is_a_link() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let spilled = spill.begin_run()?;
    spill.append([&record(&spilled, 1)])?;
    spill.begin_run()?;
    spill.open_runs(&[record(&spilled, 1)])?;
    spill.remove_through(Key::new(spilled.local, 1))?;
    let next = spill.begin_run()?;
    assert_eq!(previous(&next), Some((spilled.id, None, RunEnd::Killed)));
    assert_eq!(next.killed_starts(), 1);
    Ok(())
}

#[test]
fn starts_that_told_nothing_are_forgotten_before_one_that_did() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let told = opened(&mut spill)?;
    let untold = spill.begin_run()?;
    for _ in 0..70 {
        spill.begin_run()?;
    }
    assert!(known(&spill, &told), "the sink's cursor stands in it");
    assert!(!known(&spill, &untold));
    let next = spill.begin_run()?;
    assert_eq!(previous(&next), Some((told.id, None, RunEnd::Killed)));
    assert_eq!(next.killed_starts(), 71);
    Ok(())
}

/// Each run has sent something, and the sink has taken nothing: what it has heard of last stays known.
#[test]
fn the_run_of_the_sinks_cursor_is_known_until_the_cursor_moves_on() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let many = |spill: &mut Spill| (0..70).try_for_each(|_| opened(spill).map(drop));
    let first = opened(&mut spill)?;
    spill.settle_through(Key::new(first.local, 1))?;
    many(&mut spill)?;
    assert!(known(&spill, &first));
    let second = opened(&mut spill)?;
    spill.settle_through(Key::new(second.local, 1))?;
    spill.begin_run()?;
    assert!(!known(&spill, &first));
    many(&mut spill)?;
    assert!(known(&spill, &second));
    Ok(())
}

#[test]
fn a_run_with_rows_in_the_spill_is_known() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let holder = spill.begin_run()?;
    spill.append([&record(&holder, 1)])?;
    for _ in 0..70 {
        spill.begin_run()?;
    }
    assert!(known(&spill, &holder));
    spill.remove_through(Key::new(holder.local, 1))?;
    spill.begin_run()?;
    assert!(!known(&spill, &holder));
    Ok(())
}

#[test]
fn a_run_is_synced_whatever_the_durability_of_the_rest() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    spill.store.connection().execute_batch(
        "CREATE TEMP TRIGGER begun BEFORE INSERT ON runs WHEN (SELECT synchronous FROM pragma_synchronous) < 2 \
         BEGIN SELECT RAISE(FAIL, 'not synced'); END; \
         CREATE TEMP TRIGGER opened BEFORE UPDATE ON runs WHEN (SELECT synchronous FROM pragma_synchronous) < 2 \
         BEGIN SELECT RAISE(FAIL, 'not synced'); END",
    )?;
    opened(&mut spill)?;
    let synchronous = |spill: &Spill| {
        let conn = spill.store.connection();
        conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
    };
    assert_eq!(synchronous(&spill)?, 1, "the rest is as it was asked for");
    Ok(())
}
