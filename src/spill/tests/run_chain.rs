//! The chain of runs: each knows the last one that a reader may have heard of, how that one ended, and how many starts
//! were killed since; and none is forgotten in which the cursor of a sink may be.

use super::dead_letters::{dead_letter, letter};
use super::*;
use crate::event::{Position, PreviousRun, RunEnd, RunId};
use crate::spill::KilledRun;
use crate::spill::{DeadLetterReason, Keep, NewDeadLetter};

fn previous(run: &Run) -> Option<(RunId, Option<u64>, RunEnd)> {
    run.previous
        .map(|PreviousRun { id, last, end }| (id, last, end))
}

fn open_runs(spill: &mut Spill, local: u32) -> Outcome {
    spill.carry_out(Order::OpenRuns(local), spill.now).done?;
    Ok(())
}

/// As before its first entry goes to the sink.
fn opened(spill: &mut Spill) -> Result<Arc<Run>, Box<dyn Error>> {
    let run = spill.begin()?.run;
    open_runs(spill, run.local)?;
    Ok(run)
}

/// As the sink's answer at a start.
fn hear(spill: &mut Spill, through: Key) -> Outcome {
    let order = Order::Settle {
        through,
        entries: Counted::Unknown,
    };
    spill.carry_out(order, spill.now).done?;
    Ok(())
}

fn known(spill: &Spill, run: &Run) -> bool {
    let position = Position { run: run.id, n: 1 };
    spill.known_runs(run).key_of(&position).is_some()
}

#[test]
fn clean_killed_and_empty_runs_are_told_apart() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, first) = begun(dir.path())?;
    assert_eq!((first.local, previous(&first)), (1, None));
    end(&mut spill, 12)?;
    drop(spill);

    let (mut spill, second) = begun(dir.path())?;
    assert_eq!(previous(&second), Some((first.id, Some(12), RunEnd::Clean)));
    spill.append(&records(&second, 1..=1))?;
    drop(spill);

    let (mut spill, third) = begun(dir.path())?;
    assert_eq!(previous(&third), Some((second.id, None, RunEnd::Killed)));
    end(&mut spill, 0)?;
    drop(spill);

    let (mut spill, fourth) = begun(dir.path())?;
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
    let (spill, run) = begun(dir.path())?;
    drop(spill);
    let (spill, present) = begun(dir.path())?;
    let runs = spill.known_runs(&present);
    assert_eq!(runs.newest(), Some(run.id));
    let at = |run, n| runs.key_of(&Position { run, n });
    assert_eq!(at(run.id, 7), Some(Key::new(1, 7)));
    assert_eq!(at(RunId(uuid::Uuid::now_v7()), 7), None);
    assert_eq!(at(run.id, Key::N_MAX + 1), None);
    Ok(())
}

#[test]
fn a_start_killed_before_it_announced_anything_is_counted_and_no_link() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = begun(dir.path())?.0;
    let first = spill.begin()?.run;
    assert_eq!((previous(&first), first.killed_starts()), (None, 1));
    let expected = format!("publisher={}; killed_starts=1", first.publisher);
    assert_eq!(first.to_string(), expected);
    end(&mut spill, 2_000)?;
    spill.begin()?;
    spill.begin()?;
    end(&mut spill, 0)?;
    // A dead letter is no entry of the stream.
    let dead_lettered = spill.begin()?.run;
    let letter = NewDeadLetter {
        record: record(&dead_lettered, 1),
        reason: DeadLetterReason::Oversize,
        detail: "odd".to_owned(),
        keep: Keep::Yes,
    };
    spill
        .carry_out(Order::DeadLetter(vec![letter]), spill.now)
        .done?;
    drop(spill);

    let mut spill = open(dir.path())?;
    let last = opened(&mut spill)?;
    let expected = format!(
        "publisher={}; previous={}; ended=clean; last=2000; killed_starts=2",
        last.publisher, first.id
    );
    assert_eq!(last.to_string(), expected);
    drop(spill);

    let next = begun(dir.path())?.1;
    assert_eq!(previous(&next), Some((last.id, None, RunEnd::Killed)));
    assert_eq!(next.killed_starts(), 0);
    Ok(())
}

/// What a killed run had delivered without a row is neither damage nor a loss: its ring has its last number.
#[test]
fn a_run_that_has_left_an_empty_ring_has_lost_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=3))?;
    drop(spill);
    let mut spill = open(dir.path())?;
    let left = spill
        .run_of_ring(Some(run.id), run.local)?
        .ok_or("the run")?;
    spill.take_killed_run(&KilledRun {
        run: left,
        records: Vec::new(),
        last_n: 10,
        first_n: 11,
        losses: Vec::new(),
    })?;
    assert!(spill.run_of_ring(Some(run.id), run.local)?.is_none());
    let next = spill.begin()?.run;
    let killed = (run.id, Some(10), RunEnd::Killed);
    assert_eq!(previous(&next), Some(killed));
    let read = all_patiently(&mut spill)?;
    assert_eq!(numbers(&read.records), [1, 2, 3]);
    assert_eq!((read.orphans, read.trailing), (vec![], vec![]));
    spill.append(&records(&next, 1..=1))?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 2, 3, 1]);
    assert_eq!(read.iter().map(Record::lost_before).sum::<u64>(), 0);
    assert_eq!(spill.view().corrupt, 0);
    Ok(())
}

/// The spill has gone on without the ring: what is in it comes after the entries of the later run.
#[test]
fn a_ring_of_a_run_before_the_last_is_taken_over_as_another_run() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=2))?;
    let later = spill.begin()?.run;
    spill.append(&records(&later, 1..=3))?;
    assert_eq!(spill.newest_of(run.local), Key::new(run.local, 2));
    let left = spill
        .run_of_ring(Some(run.id), run.local)?
        .ok_or("the run")?;
    spill.take_killed_run(&KilledRun {
        records: records(&left, 1..=4),
        run: left,
        last_n: 4,
        first_n: 5,
        losses: Vec::new(),
    })?;
    assert_eq!(numbers(&all(&mut spill)?), [1, 2, 1, 2, 3, 1, 2, 3, 4]);
    Ok(())
}

/// A dead letter that never was in the backlog is not added to it by the ring of its run.
#[test]
fn what_became_a_dead_letter_in_memory_is_not_taken_over() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let records = records(&run, 1..=3);
    let rejected = DeadLetterReason::Rejected;
    dead_letter(&mut spill, vec![letter(&records[1], rejected, "too odd")])?;
    drop(spill);
    let mut spill = open(dir.path())?;
    let left = spill
        .run_of_ring(Some(run.id), run.local)?
        .ok_or("the run")?;
    spill.take_killed_run(&KilledRun {
        run: left,
        records,
        last_n: 3,
        first_n: 4,
        losses: Vec::new(),
    })?;
    assert_eq!(spill.view().totals.backlog.entries, 2);
    assert_eq!(numbers(&all(&mut spill)?), [1, 3]);
    settle(&mut spill, Key::new(run.local, 3))?;
    assert_eq!(
        (spill.view().totals.backlog.entries, spill.view().corrupt),
        (0, 0)
    );
    Ok(())
}

/// The backlog of a killed run comes out in the next one, which is killed in its turn: the stream has heard of the
/// first of them, though the spill holds it no more.
#[test]
fn a_run_that_another_has_delivered_is_a_link() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, spilled) = begun(dir.path())?;
    spill.append(&records(&spilled, 1..=1))?;
    let run = spill.begin()?.run;
    open_runs(&mut spill, spilled.local)?;
    settle(&mut spill, Key::new(spilled.local, 1))?;
    tick(&mut spill)?;
    let next = spill.begin()?.run;
    assert_eq!(previous(&next), Some((spilled.id, None, RunEnd::Killed)));
    assert_eq!((next.local, next.killed_starts()), (run.local + 1, 1));
    Ok(())
}

#[test]
fn starts_that_announced_nothing_are_forgotten_before_one_that_did() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let expected = opened(&mut spill)?;
    let untold = spill.begin()?.run;
    for _ in 0..70 {
        spill.begin()?;
    }
    assert!(known(&spill, &expected), "the sink's cursor is in it");
    assert!(!known(&spill, &untold));
    let next = spill.begin()?.run;
    assert_eq!(previous(&next), Some((expected.id, None, RunEnd::Killed)));
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
    hear(&mut spill, Key::new(first.local, 1))?;
    many(&mut spill)?;
    assert!(known(&spill, &first));
    let second = opened(&mut spill)?;
    hear(&mut spill, Key::new(second.local, 1))?;
    spill.begin()?;
    assert!(!known(&spill, &first));
    many(&mut spill)?;
    assert!(known(&spill, &second));
    drop(spill);
    assert!(known(&open(dir.path())?, &second));
    Ok(())
}

#[test]
fn a_run_with_entries_in_the_spill_is_known() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, holder) = begun(dir.path())?;
    spill.append(&records(&holder, 1..=1))?;
    for _ in 0..70 {
        opened(&mut spill)?;
    }
    assert!(known(&spill, &holder));
    settle(&mut spill, Key::new(holder.local, 1))?;
    spill.begin()?;
    assert!(!known(&spill, &holder));
    Ok(())
}

#[test]
fn the_last_run_there_can_be_is_the_last() -> Outcome {
    let dir = tempfile::tempdir()?;
    drop(begun(dir.path())?);
    let conn = rusqlite::Connection::open(dir.path().join("index.sqlite3"))?;
    conn.execute("UPDATE runs SET local = ?1", [(1 << 23) - 2])?;
    drop(conn);
    let (mut spill, run) = begun(dir.path())?;
    assert_eq!(run.local, (1 << 23) - 1);
    spill.append(&records(&run, 1..=1))?;
    assert!(matches!(
        spill.begin(),
        Err(SpillError::RunsExhausted { .. })
    ));
    assert_eq!(numbers(&all(&mut spill)?), [1]);
    Ok(())
}

#[test]
fn a_run_whose_numbers_are_used_up_ends_clean_and_another_begins() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let order = Order::TurnOver { last_n: Key::N_MAX };
    let Done::TurnedOver(next) = spill.carry_out(order, spill.now).done? else {
        return Err("another outcome".into());
    };
    let clean = (run.id, Some(Key::N_MAX), RunEnd::Clean);
    assert_eq!((next.local, previous(&next)), (2, Some(clean)));
    Ok(())
}

/// Without the index the segments say what runs there were.
#[test]
fn runs_are_known_from_the_segments_if_the_index_is_gone() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=2))?;
    drop(spill);
    std::fs::remove_file(dir.path().join("index.sqlite3"))?;
    let (mut spill, next) = begun(dir.path())?;
    assert_eq!(
        (next.local, previous(&next)),
        (2, Some((run.id, None, RunEnd::Killed)))
    );
    assert!(known(&spill, &run));
    assert_eq!(*all(&mut spill)?[0].run, *run);
    Ok(())
}
