//! Dead letters are kept until somebody removes them, and one that is requeued comes out once, under a new number that
//! names the old one: whatever is repeated, damaged or killed in between.

use std::collections::BTreeSet;

use super::processes::Other;
use super::*;
use crate::dead_letters::{DeadLetters, Selection};
use crate::event::{Key, Position, PreviousRun, RunEnd};
use crate::spill::{DeadLetterReason, Totals};

use DeadLetterReason::{Oversize, Rejected};
use LossReason::DeadLettered;

pub(super) fn at(run: &Run, n: u64) -> Position {
    Position { run: run.id, n }
}

fn bury(spill: &mut Spill, record: &Record) -> Result<(), SpillError> {
    spill.dead_letter(record, Rejected, "too odd")
}

/// A directory in which these numbers of a run, which ended clean, are dead letters; nothing else is in it.
pub(super) fn buried(
    dir: &Path,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Arc<Run>, SpillError> {
    let mut spill = open(dir)?;
    let run = spill.begin_run()?;
    let records = records(&run, numbers);
    for record in &records {
        bury(&mut spill, record)?;
    }
    let last_n = records.last().map_or(0, |record| record.n);
    spill.remove_through(Key::new(run.local, last_n))?;
    spill.end_run(&run, last_n)?;
    Ok(run)
}

pub(super) fn requeue_all(dir: &Path) -> Result<Vec<(Position, Position)>, SpillError> {
    let mut told = Vec::new();
    let count = DeadLetters::open(dir)?.requeue(&Selection::All, |old, new| {
        told.push((old, new));
    })?;
    assert_eq!(told.len() as u64, count);
    Ok(told)
}

pub(super) fn ids(dir: &Path) -> Result<Vec<Position>, SpillError> {
    let letters = DeadLetters::open(dir)?;
    letters.iter().map(|letter| Ok(letter?.id)).collect()
}

pub(super) fn alter(dir: &Path, sql: &str) -> Outcome {
    Ok(open(dir)?.store.connection().execute_batch(sql)?)
}

/// The numbers that the rows of the backlog had as dead letters.
fn came_from(records: &[Record]) -> Vec<Option<Position>> {
    records.iter().map(Record::requeued_from).collect()
}

fn clean(run: &Run, last: u64) -> PreviousRun {
    PreviousRun {
        id: run.id,
        last: Some(last),
        end: RunEnd::Clean,
    }
}

#[test]
fn a_requeued_letter_stands_behind_the_backlog_under_a_number_that_names_the_old_one() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let batch = records(&run, 1..=5);
    spill.append(&batch)?;
    bury(&mut spill, &batch[1])?;
    spill.dead_letter(&batch[3], Oversize, "6 bytes; entry_bytes_max is 5")?;
    drop(spill);

    let letters = DeadLetters::open(dir.path())?;
    let mut told = Vec::new();
    // Oldest first, however they are named, and each once.
    let these = [4, 2, 4].map(|n| at(&run, n)).to_vec();
    let count = letters.requeue(&Selection::These(these), |old, new| told.push((old, new)))?;
    assert_eq!((count, letters.iter().count()), (2, 0));

    spill = open(dir.path())?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 3, 5, 1, 2]);
    let own = Arc::clone(&read[3].run);
    assert_ne!(own.id, run.id, "the run of the publisher");
    let (two, four) = (at(&run, 2), at(&run, 4));
    assert_eq!(told, [(two, at(&own, 1)), (four, at(&own, 2))]);
    assert_eq!(came_from(&read), [None, None, None, Some(two), Some(four)]);
    assert_eq!(
        read[1].losses,
        [loss(1, DeadLettered)],
        "told as lost all the same"
    );
    assert!(read[3].losses.is_empty() && read[3].opens_run().is_some());
    for (requeued, buried) in read[3..].iter().zip([&batch[1], &batch[3]]) {
        assert_eq!(requeued.bytes, buried.bytes);
        assert_eq!(requeued.subject, buried.subject);
        assert_eq!(requeued.popped_ms, buried.popped_ms);
    }
    assert_eq!(
        own.previous().map(|previous| previous.end),
        Some(RunEnd::Killed)
    );
    assert_eq!(spill.begin_run()?.previous().copied(), Some(clean(&own, 2)));
    audit(&spill)
}

/// The third page fails in its middle, as a full disk or a kill would have it: on its way in, or on its way out.
#[test]
fn a_page_that_fails_leaves_its_letters_and_a_run_that_ended_with_those_before() -> Outcome {
    for stop in [
        "BEFORE INSERT ON rows WHEN new.key & 0xffff = 600",
        "BEFORE DELETE ON dead_letters WHEN old.key & 0xffff = 600",
    ] {
        let dir = tempfile::tempdir()?;
        let run = buried(dir.path(), 1..=700)?;
        let sql = format!("CREATE TRIGGER stop {stop} BEGIN SELECT RAISE(FAIL, 'no further'); END");
        alter(dir.path(), &sql)?;
        assert!(requeue_all(dir.path()).is_err());
        let mut spill = open(dir.path())?;
        let totals = spill.totals();
        assert_eq!((totals.entries, totals.dead_letters), (512, 188), "{stop}");
        let own = Arc::clone(&all(&mut spill)?[0].run);
        let previous = spill.begin_run()?.previous().copied();
        assert_eq!(previous, Some(clean(&own, 512)), "{stop}");
        audit(&spill)?;
        drop(spill);

        alter(dir.path(), "DROP TRIGGER stop")?;
        assert_eq!(requeue_all(dir.path())?.len(), 188);
        let mut spill = open(dir.path())?;
        let old = came_from(&all(&mut spill)?);
        let expected: Vec<_> = (1..=700).map(|n| Some(at(&run, n))).collect();
        assert!(old == expected, "{stop}: each once, and in order");
        audit(&spill)?;
    }
    Ok(())
}

/// The process is killed while it works on some page.
#[test]
fn a_killed_requeueing_neither_loses_nor_doubles() -> Outcome {
    const LETTERS: u64 = 5_000;
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 1..=LETTERS)?;
    let mut other = Other::start("other_requeues", dir.path())?;
    let mut told = other.hear()?.ok_or("it died")?;
    other.kill()?;
    while let Some(later) = other.hear()? {
        told = later;
    }
    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    let moved = read.len() as u64;
    assert!(
        (told..LETTERS).contains(&moved),
        "{told} told, {moved} moved"
    );
    assert_eq!(moved % 256, 0, "whole pages");
    let previous = spill.begin_run()?.previous().copied();
    assert_eq!(previous, Some(clean(&read[0].run, moved)));
    audit(&spill)?;
    drop(spill);
    let requeued = came_from(&read).into_iter().flatten();
    let all: Vec<_> = requeued.chain(ids(dir.path())?).collect();
    let expected: Vec<_> = (1..=LETTERS).map(|n| at(&run, n)).collect();
    assert!(all == expected, "each once");
    Ok(())
}

#[test]
fn what_is_refused_again_is_a_letter_again_that_says_where_it_came_from() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 7..=7)?;
    let told = requeue_all(dir.path())?;
    let mut spill = open(dir.path())?;
    let again = all(&mut spill)?.remove(0);
    spill.dead_letter(&again, Oversize, "still")?;
    assert_eq!(spill.totals().entries, 0);
    audit(&spill)?;
    drop(spill);

    let letters = DeadLetters::open(dir.path())?;
    let id = told[0].1;
    let (letter, bytes) = letters.get(id)?.ok_or("it is there")?;
    assert_eq!(
        letters.iter().collect::<Result<Vec<_>, _>>()?,
        std::slice::from_ref(&letter)
    );
    assert_eq!((letter.id, letter.requeued_from), (id, Some(at(&run, 7))));
    assert_eq!((&*letter.reason, &*letter.detail), ("oversize", "still"));
    assert_eq!((&*letter.subject, letter.popped_ms), ("acme.7", 1_007));
    assert_eq!(
        (bytes.len() as u64, bytes),
        (letter.bytes, again.bytes.to_vec())
    );

    let told = requeue_all(dir.path())?;
    assert_eq!(told[0].0, id);
    let mut spill = open(dir.path())?;
    assert_eq!(came_from(&all(&mut spill)?), [Some(id)]);
    audit(&spill)
}

#[test]
fn an_old_number_that_rots_costs_the_entry() -> Outcome {
    for value in ["NULL", "zeroblob(24)", "x'00'"] {
        let dir = tempfile::tempdir()?;
        buried(dir.path(), 1..=3)?;
        requeue_all(dir.path())?;
        let sql = format!("UPDATE rows SET requeued = {value} WHERE key & 0xff = 2");
        alter(dir.path(), &sql)?;
        let mut spill = open(dir.path())?;
        assert_eq!(numbers(&all(&mut spill)?), [1, 3], "{value}");
        assert_eq!(spill.corrupt(), 1, "{value}");
        audit(&spill)?;
    }
    Ok(())
}

#[test]
fn a_damaged_letter_is_named_and_stays_until_it_is_removed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 1..=3)?;
    let bad = at(&run, 2);
    alter(
        dir.path(),
        "UPDATE dead_letters SET bytes = zeroblob(length(bytes)) WHERE key & 0xff = 2",
    )?;
    let letters = DeadLetters::open(dir.path())?;
    let named = |error: &SpillError| matches!(error, SpillError::DamagedDeadLetters { ids } if *ids == [bad]);
    assert!(letters.get(bad).is_err_and(|error| named(&error)));
    assert!(requeue_all(dir.path()).is_err_and(|error| named(&error)));
    assert_eq!(ids(dir.path())?, [bad]);
    let mut spill = open(dir.path())?;
    let old = came_from(&all(&mut spill)?);
    assert_eq!(old, [Some(at(&run, 1)), Some(at(&run, 3))]);
    drop(spill);
    assert_eq!(letters.remove(&Selection::These(vec![bad]), |_| ())?, 1);
    audit(&open(dir.path())?)
}

#[test]
fn a_number_that_is_no_letters_is_named_and_nothing_is_changed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 1..=3)?;
    let strange = [
        at(&run, 4),
        at(&run, u64::MAX),
        Position {
            run: crate::event::RunId(uuid::Uuid::now_v7()),
            n: 1,
        },
    ];
    let which = Selection::These([&strange[..1], &[at(&run, 1)], &strange[1..]].concat());
    let letters = DeadLetters::open(dir.path())?;
    let outcomes = [
        letters.remove(&which, |_| ()),
        letters.requeue(&which, |_, _| ()),
    ];
    for outcome in outcomes {
        let named =
            matches!(&outcome, Err(SpillError::NoSuchDeadLetters { ids }) if *ids == strange);
        assert!(named, "{outcome:?}");
    }
    assert_eq!(letters.get(strange[1])?, None);
    assert_eq!(ids(dir.path())?.len(), 3);
    let mut spill = open(dir.path())?;
    assert_eq!(spill.begin_run()?.local, 2, "a run was begun for nothing");
    audit(&spill)
}

#[test]
fn they_are_listed_page_by_page_and_removed_for_good() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 1..=600)?;
    let expected: Vec<_> = (1..=600).map(|n| at(&run, n)).collect();
    assert!(ids(dir.path())? == expected);
    let letters = DeadLetters::open(dir.path())?;
    let mut removed = Vec::new();
    let these = Selection::These(expected[100..400].to_vec());
    letters.remove(&these, |id| removed.push(id))?;
    assert!(removed == expected[100..400]);
    audit(&open(dir.path())?)?;
    assert_eq!(letters.remove(&Selection::All, |id| removed.push(id))?, 300);
    let removed: BTreeSet<_> = removed.iter().map(|id| id.n).collect();
    assert!(removed.into_iter().eq(1..=600));
    let spill = open(dir.path())?;
    assert_eq!(spill.totals(), Totals::default());
    audit(&spill)
}

#[test]
fn letters_of_a_run_that_is_forgotten_are_found() -> Outcome {
    let dir = tempfile::tempdir()?;
    let runs = [buried(dir.path(), 1..=2)?, buried(dir.path(), 5..=5)?];
    let mut spill = open(dir.path())?;
    for _ in 0..70 {
        spill.begin_run()?;
    }
    let lost = [at(&runs[0], 2), at(&runs[1], 5)];
    assert!(lost.iter().all(|id| spill.key_of(id).is_none()));
    drop(spill);
    let letters = DeadLetters::open(dir.path())?;
    assert_eq!(
        letters.requeue(&Selection::These(lost.to_vec()), |_, _| ())?,
        2
    );
    let mut spill = open(dir.path())?;
    assert_eq!(came_from(&all(&mut spill)?), lost.map(Some));
    Ok(())
}

#[test]
fn a_directory_in_use_is_told_at_once_and_a_missing_one_is_not_made() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = buried(dir.path(), 1..=1)?;
    let letters = DeadLetters::open(dir.path())?;
    let held = open(dir.path())?;
    let these = Selection::These(vec![at(&run, 1)]);
    let own = Some(std::process::id());
    let refused = [
        DeadLetters::open(dir.path()).err(),
        letters.iter().find_map(Result::err),
        letters.get(at(&run, 1)).err(),
        letters.remove(&these, |_| ()).err(),
        letters.requeue(&these, |_, _| ()).err(),
    ];
    for error in refused {
        let told = matches!(error, Some(SpillError::InUse { pid, .. }) if pid == own);
        assert!(told, "{error:?}");
    }
    drop(held);
    assert_eq!(ids(dir.path())?, [at(&run, 1)]);

    let nowhere = dir.path().join("nowhere");
    let missing = DeadLetters::open(&nowhere);
    assert!(matches!(missing, Err(SpillError::Missing { .. })));
    assert!(!nowhere.exists());
    Ok(())
}
