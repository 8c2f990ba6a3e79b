//! Dead letters are kept until somebody removes them, and one that is requeued comes out once, under a new number that
//! names the old one: whatever is repeated, damaged or killed in between.

use super::*;
use crate::dead_letters::{DeadLetters, Selection};
use crate::event::{Position, PreviousRun, RunEnd};
use crate::spill::{DeadLetterReason, Keep, NewDeadLetter, Totals};

use DeadLetterReason::{Oversize, Rejected};
use LossReason::DeadLettered;

fn at(run: &Run, n: u64) -> Position {
    Position { run: run.id, n }
}

pub(super) fn letter(record: &Record, reason: DeadLetterReason, detail: &str) -> NewDeadLetter {
    NewDeadLetter {
        record: record.clone(),
        reason,
        detail: detail.to_owned(),
        keep: Keep::Yes,
    }
}

pub(super) fn dead_letter(
    spill: &mut Spill,
    letters: Vec<NewDeadLetter>,
) -> Result<(), SpillError> {
    spill
        .carry_out(Order::DeadLetter(letters), spill.now)
        .done
        .map(drop)
}

/// A directory in which these numbers of a run, which ended clean, are dead letters; nothing else is in it.
fn dead_lettered(
    dir: &Path,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Arc<Run>, Box<dyn Error>> {
    let (mut spill, run) = begun(dir)?;
    let records = records(&run, numbers);
    let letters = records
        .iter()
        .map(|record| letter(record, Rejected, "too odd"));
    dead_letter(&mut spill, letters.collect())?;
    let last_n = records.last().map_or(0, |record| record.n);
    settle(&mut spill, Key::new(run.local, last_n))?;
    end(&mut spill, last_n)?;
    Ok(run)
}

fn requeue_all(dir: &Path) -> Result<Vec<(Position, Position)>, SpillError> {
    let mut moved = Vec::new();
    let count = DeadLetters::open(dir)?.requeue(&Selection::All, |old, new| {
        moved.push((old, new));
    })?;
    assert_eq!(moved.len() as u64, count);
    Ok(moved)
}

fn ids(dir: &Path) -> Result<Vec<Position>, SpillError> {
    let letters = DeadLetters::open(dir)?;
    letters.iter().map(|letter| Ok(letter?.id)).collect()
}

/// Changes the index while nobody uses it.
fn alter(dir: &Path, sql: &str) -> Outcome {
    let conn = rusqlite::Connection::open(dir.join("index.sqlite3"))?;
    Ok(conn.execute_batch(sql)?)
}

/// The numbers that the entries of the backlog had as dead letters.
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
fn many_become_dead_letters_at_once_and_the_next_entry_announces_them() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = records(&run, 1..=6);
    spill.append(&batch)?;
    let dropped = NewDeadLetter {
        keep: Keep::NoRoom,
        ..letter(&batch[4], Oversize, "")
    };
    let letters = [1, 2].map(|at| letter(&batch[at], Rejected, "too odd"));
    let all_three = [&letters[..], &[dropped]].concat();
    dead_letter(&mut spill, all_three)?;
    let image = killed(dir.path())?;
    for mut spill in [spill, open(image.path())?] {
        let read = all(&mut spill)?;
        assert_eq!(numbers(&read), [1, 4, 6]);
        assert_eq!(read[1].losses, [loss(2, DeadLettered)]);
        assert_eq!(read[2].losses, [loss(1, DeadLettered)]);
        let size = batch[1].size() + batch[2].size();
        let totals = spill.view().totals;
        assert_eq!(
            (totals.dead_letters.entries, totals.dead_letters.bytes),
            (2, size)
        );
        audit(&mut spill)?;
        settle(&mut spill, Key::new(1, 6))?;
        assert_eq!((spill.view().corrupt, spill.view().surplus), (0, 0));
    }
    assert_eq!(ids(image.path())?, [at(&run, 2), at(&run, 3)]);
    Ok(())
}

/// After an error nothing of it has happened, and no other change of the index notes the loss alone.
#[test]
fn a_letter_that_cannot_be_kept_is_still_an_entry() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = records(&run, 1..=3);
    spill.append(&batch)?;
    let stop = "CREATE TEMP TRIGGER stop BEFORE INSERT ON dead_letters BEGIN SELECT RAISE(FAIL, 'no'); END";
    spill.index.read(|conn| conn.execute_batch(stop))?;
    assert!(dead_letter(&mut spill, vec![letter(&batch[1], Rejected, "")]).is_err());
    spill.index.runs.change(1, |known| known.opened = true);
    tick(&mut spill)?;
    let image = killed(dir.path())?;
    let mut other = open(image.path())?;
    assert_eq!(numbers(&all(&mut other)?), [1, 2, 3]);
    audit(&mut other)?;
    assert_eq!(spill.view().totals.backlog.entries, 3);
    dead_letter(&mut spill, vec![letter(&batch[1], Rejected, "")])?;
    assert_eq!(numbers(&all(&mut spill)?), [1, 3]);
    audit(&mut spill)
}

#[test]
fn a_requeued_letter_comes_last_under_a_number_that_names_the_old_one() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = records(&run, 1..=5);
    spill.append(&batch)?;
    dead_letter(
        &mut spill,
        vec![
            letter(&batch[1], Rejected, ""),
            letter(&batch[3], Oversize, "6 bytes"),
        ],
    )?;
    drop(spill);

    let letters = DeadLetters::open(dir.path())?;
    let mut moved = Vec::new();
    // Oldest first, however they are named, and each once.
    let these = [4, 2, 4].map(|n| at(&run, n)).to_vec();
    let count = letters.requeue(&Selection::These(these), |old, new| moved.push((old, new)))?;
    assert_eq!((count, letters.iter().count()), (2, 0));

    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 3, 5, 1, 2]);
    let own = Arc::clone(&read[3].run);
    assert_ne!(own.id, run.id, "the run of the publisher");
    let (two, four) = (at(&run, 2), at(&run, 4));
    assert_eq!(moved, [(two, at(&own, 1)), (four, at(&own, 2))]);
    assert_eq!(came_from(&read), [None, None, None, Some(two), Some(four)]);
    assert_eq!(
        read[1].losses,
        [loss(1, DeadLettered)],
        "announced as lost all the same"
    );
    assert!(read[3].losses.is_empty() && read[3].opens_run().is_some());
    for (requeued, dead_lettered) in read[3..].iter().zip([&batch[1], &batch[3]]) {
        assert_eq!(requeued.bytes, dead_lettered.bytes);
        assert_eq!(
            (&requeued.subject, requeued.popped_ms),
            (&dead_lettered.subject, dead_lettered.popped_ms)
        );
    }
    assert_eq!(
        own.previous().map(|previous| previous.end),
        Some(RunEnd::Killed)
    );
    assert_eq!(spill.begin()?.run.previous().copied(), Some(clean(&own, 2)));
    audit(&mut spill)
}

/// Killed, or failing, between the row and the removal of the letter: the next opening removes the letter.
#[test]
fn a_page_that_was_requeued_by_half_is_not_requeued_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = dead_lettered(dir.path(), 1..=700)?;
    let stop = "CREATE TRIGGER stop BEFORE DELETE ON dead_letters WHEN old.key & 0xffff = 600 \
                BEGIN SELECT RAISE(FAIL, 'no further'); END";
    alter(dir.path(), stop)?;
    assert!(requeue_all(dir.path()).is_err());
    alter(dir.path(), "DROP TRIGGER stop")?;
    let mut spill = open(dir.path())?;
    assert_eq!(all(&mut spill)?.len(), 700);
    drop(spill);
    assert_eq!(requeue_all(dir.path())?.len(), 0);
    let mut spill = open(dir.path())?;
    let old = came_from(&all(&mut spill)?);
    let expected: Vec<_> = (1..=700).map(|n| Some(at(&run, n))).collect();
    assert!(old == expected, "each once, and in order");
    assert_eq!(spill.view().totals.dead_letters.entries, 0);
    let own = Arc::clone(&all(&mut spill)?[0].run);
    assert_eq!(
        spill.begin()?.run.previous().copied(),
        Some(clean(&own, 700))
    );
    audit(&mut spill)
}

#[test]
fn what_is_refused_again_is_a_letter_again_that_says_where_it_came_from() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = dead_lettered(dir.path(), 7..=7)?;
    let moved = requeue_all(dir.path())?;
    let mut spill = open(dir.path())?;
    let again = all(&mut spill)?.remove(0);
    dead_letter(&mut spill, vec![letter(&again, Oversize, "still")])?;
    assert_eq!(spill.view().totals.backlog.entries, 0);
    settle(&mut spill, again.key())?;
    drop(spill);

    let letters = DeadLetters::open(dir.path())?;
    let id = moved[0].1;
    let (letter, bytes) = letters.get(id)?.ok_or("it is there")?;
    assert_eq!(
        letters.iter().collect::<Result<Vec<_>, _>>()?,
        std::slice::from_ref(&letter)
    );
    assert_eq!((letter.id, letter.requeued_from), (id, Some(at(&run, 7))));
    assert_eq!((&*letter.reason, &*letter.detail), ("oversize", "still"));
    assert_eq!((&*letter.subject, letter.popped_ms), ("acme.7", 1_007));
    assert_eq!(bytes, again.bytes.to_vec());
    assert_eq!(requeue_all(dir.path())?[0].0, id);
    let mut spill = open(dir.path())?;
    assert_eq!(came_from(&all(&mut spill)?), [Some(id)]);
    audit(&mut spill)
}

#[test]
fn a_damaged_letter_is_named_and_stays_until_it_is_removed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = dead_lettered(dir.path(), 1..=3)?;
    let bad = at(&run, 2);
    alter(
        dir.path(),
        "UPDATE dead_letters SET bytes = zeroblob(length(bytes)) WHERE key & 0xff = 2",
    )?;
    let letters = DeadLetters::open(dir.path())?;
    let named = |error: &SpillError| matches!(error, SpillError::DamagedDeadLetters { ids } if *ids == [bad]);
    assert!(letters.get(bad).is_err_and(|error| named(&error)));
    let status = crate::status::status(dir.path())?;
    assert!(
        status
            .damage
            .is_some_and(|damage| damage.contains("1 dead letters"))
    );
    assert!(requeue_all(dir.path()).is_err_and(|error| named(&error)));
    assert_eq!(ids(dir.path())?, [bad]);
    let old = came_from(&all(&mut open(dir.path())?)?);
    assert_eq!(old, [Some(at(&run, 1)), Some(at(&run, 3))]);
    assert_eq!(letters.remove(&Selection::These(vec![bad]), |_| ())?, 1);
    assert_eq!(ids(dir.path())?, []);
    Ok(())
}

#[test]
fn a_number_that_is_no_letters_is_named_and_nothing_is_changed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = dead_lettered(dir.path(), 1..=3)?;
    let nobodys = crate::event::RunId(uuid::Uuid::now_v7());
    let strange = [
        at(&run, 4),
        at(&run, u64::MAX),
        Position { run: nobodys, n: 1 },
    ];
    let which = Selection::These([&strange[..1], &[at(&run, 1)], &strange[1..]].concat());
    let letters = DeadLetters::open(dir.path())?;
    for outcome in [
        letters.remove(&which, |_| ()),
        letters.requeue(&which, |_, _| ()),
    ] {
        let named =
            matches!(&outcome, Err(SpillError::NoSuchDeadLetters { ids }) if *ids == strange);
        assert!(named, "{outcome:?}");
    }
    assert_eq!(ids(dir.path())?.len(), 3);
    assert_eq!(
        open(dir.path())?.begin()?.run.local,
        2,
        "a run was begun for nothing"
    );
    Ok(())
}

#[test]
fn they_are_listed_page_by_page_and_removed_for_good() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = dead_lettered(dir.path(), 1..=600)?;
    let expected: Vec<_> = (1..=600).map(|n| at(&run, n)).collect();
    assert!(ids(dir.path())? == expected);
    let letters = DeadLetters::open(dir.path())?;
    let mut removed = Vec::new();
    let these = Selection::These(expected[100..400].to_vec());
    letters.remove(&these, |id| removed.push(id))?;
    assert!(removed == expected[100..400]);
    assert_eq!(letters.remove(&Selection::All, |_| ())?, 300);
    assert_eq!(open(dir.path())?.view().totals, Totals::default());
    Ok(())
}

#[test]
fn letters_of_a_run_that_is_forgotten_are_found() -> Outcome {
    let dir = tempfile::tempdir()?;
    let runs = [
        dead_lettered(dir.path(), 1..=2)?,
        dead_lettered(dir.path(), 5..=5)?,
    ];
    let mut spill = open(dir.path())?;
    let mut run = spill.begin()?.run;
    for _ in 0..70 {
        run = spill.begin()?.run;
    }
    let lost = [at(&runs[0], 2), at(&runs[1], 5)];
    assert!(
        lost.iter()
            .all(|id| spill.known_runs(&run).key_of(id).is_none())
    );
    drop(spill);
    let these = Selection::These(lost.to_vec());
    assert_eq!(
        DeadLetters::open(dir.path())?.requeue(&these, |_, _| ())?,
        2
    );
    assert_eq!(came_from(&all(&mut open(dir.path())?)?), lost.map(Some));
    Ok(())
}
