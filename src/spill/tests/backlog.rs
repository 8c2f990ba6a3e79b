//! What goes in comes out, in order, once, with its losses: across repeats, removals, dead letters and reopening.

use super::*;
use crate::event::Key;
use crate::spill::{DeadLetterReason, Totals};

use LossReason::{DeadLettered, EncodeError, QueueFull};

#[test]
fn records_come_back_with_their_losses() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let written = [
        record(&run, 1),
        record_after(&run, 5, &[loss(2, QueueFull), loss(1, EncodeError)]),
        record(&run, 6),
    ];
    assert_eq!(spill.append(&written)?, 3);
    let read = all(&mut spill)?;
    assert_eq!(gist(&read), gist(&written));
    assert_eq!(read[1].subject(), "acme.5");
    assert_eq!(read[1].popped_ms, 1_005);
    assert_eq!(read[1].id(), written[1].id());
    assert_eq!(spill.totals().losses, 2);
    assert_eq!(
        spill.totals().bytes,
        written.iter().map(Record::size).sum::<u64>()
    );
    assert_eq!(
        (spill.newest(), spill.oldest_popped_ms()),
        (Some(Key::new(1, 6)), Some(1_001))
    );
    audit(&spill)
}

#[test]
fn appending_again_changes_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let mut batch = records(&run, 1..=3);
    batch.push(record_after(&run, 6, &[loss(2, QueueFull)]));
    spill.append(&batch)?;
    let (totals, before) = (spill.totals(), gist(&all(&mut spill)?));
    assert_eq!(spill.append(&batch)?, 0);
    batch.push(record(&run, 7));
    assert_eq!(spill.append(&batch)?, 1);
    assert_eq!(spill.totals().entries, totals.entries + 1);
    assert_eq!(spill.totals().losses, totals.losses);
    assert_eq!(gist(&all(&mut spill)?)[..4], before);
    audit(&spill)
}

#[test]
fn a_page_is_bounded_in_rows_and_bytes_but_never_empty() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let written = records(&run, 1..=20);
    spill.append(&written)?;
    assert_eq!(
        numbers(&spill.oldest(None, 7, u64::MAX)?),
        [1, 2, 3, 4, 5, 6, 7]
    );
    let size = written[0].size();
    assert_eq!(numbers(&spill.oldest(None, 7, size * 3)?), [1, 2, 3]);
    assert_eq!(numbers(&spill.oldest(None, 7, 1)?), [1]);
    let after = Some(Key::new(1, 18));
    assert_eq!(numbers(&spill.oldest(after, 7, u64::MAX)?), [19, 20]);
    assert!(spill.oldest(Some(Key::new(1, 20)), 7, u64::MAX)?.is_empty());
    Ok(())
}

#[test]
fn order_holds_across_runs_and_reopening() -> Outcome {
    let dir = tempfile::tempdir()?;
    for _ in 1..=3 {
        let mut spill = open(dir.path())?;
        let run = spill.begin_run()?;
        spill.append(&records(&run, 1..=2))?;
    }
    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    let order: Vec<_> = read
        .iter()
        .map(|record| (record.run.local, record.n))
        .collect();
    assert_eq!(order, [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]);
    assert_eq!(spill.remove_through(Key::new(2, 1))?, 3);
    assert_eq!(spill.oldest_popped_ms(), Some(1_002));
    assert_eq!(numbers(&all(&mut spill)?), [2, 1, 2]);
    audit(&spill)
}

#[test]
fn the_largest_numbers_fit() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let conn = spill.store.connection();
    conn.execute(
        "INSERT INTO runs (local, id, killed_starts, started_ms) VALUES (?1, ?2, 0, 0)",
        ((1 << 23) - 2, [7_u8; 16]),
    )?;
    drop(spill);
    spill = open(dir.path())?;
    let run = spill.begin_run()?;
    assert_eq!(run.local, (1 << 23) - 1);
    let last = record_after(&run, Key::N_MAX, &[loss(Key::N_MAX - 1, QueueFull)]);
    spill.append([&last])?;
    assert_eq!(gist(&all(&mut spill)?), gist(std::slice::from_ref(&last)));
    assert!(matches!(
        spill.begin_run(),
        Err(SpillError::RunsExhausted { .. })
    ));
    assert_eq!(spill.remove_through(last.key())?, 1);
    audit(&spill)
}

#[test]
fn losses_wait_for_the_entry_behind_them() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=1))?;
    spill.append_losses(&run, 2, &[loss(2, QueueFull)])?;
    spill.append_losses(&run, 2, &[loss(2, QueueFull)])?;
    assert_eq!(numbers(&all(&mut spill)?), [1]);
    drop(spill);
    // The next entry knows of one more, and tells all of them again.
    spill = open(dir.path())?;
    spill.append([&record_after(&run, 5, &[loss(3, QueueFull)])])?;
    assert_eq!(all(&mut spill)?[1].losses, [loss(3, QueueFull)]);
    assert_eq!(spill.totals().losses, 1);
    // A cursor may stand in the middle of them.
    assert_eq!(spill.remove_through(Key::new(1, 3))?, 1);
    assert_eq!(all(&mut spill)?[0].losses, [loss(1, QueueFull)]);
    audit(&spill)
}

#[test]
fn losses_never_pass_to_another_run() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let first = spill.begin_run()?;
    spill.append_losses(&first, 1, &[loss(4, QueueFull)])?;
    let second = spill.begin_run()?;
    spill.append([&record(&second, 1)])?;
    assert_eq!(all(&mut spill)?[0].losses, []);
    assert_eq!(spill.totals().losses, 1, "dropped although nobody was told");
    spill.remove_through(Key::new(2, 1))?;
    assert_eq!(spill.totals(), Totals::default());
    audit(&spill)
}

#[test]
fn a_dead_letter_is_kept_and_told_by_the_next_entry() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let batch = records(&run, 1..=5);
    spill.append(&batch)?;
    for bad in [&batch[1], &batch[2], &batch[1]] {
        spill.dead_letter(bad, DeadLetterReason::Rejected, "too odd")?;
    }
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 4, 5]);
    assert_eq!(read[1].losses, [loss(2, DeadLettered)]);
    assert_eq!(
        (spill.totals().entries, spill.totals().dead_letters),
        (3, 2)
    );
    let kept: (String, String, Vec<u8>) = spill.store.connection().query_row(
        "SELECT reason, detail, bytes FROM dead_letters WHERE key = ?1",
        [batch[2].key().row()],
        |row| row.try_into(),
    )?;
    assert_eq!(
        kept,
        ("rejected".into(), "too odd".into(), batch[2].bytes.to_vec())
    );
    audit(&spill)
}

#[test]
fn a_dead_letter_that_was_never_spilled_is_told_too() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let large = record_after(&run, 4, &[loss(1, QueueFull)]);
    spill.dead_letter(&large, DeadLetterReason::Oversize, "")?;
    spill.append([&record(&run, 5)])?;
    assert_eq!(
        all(&mut spill)?[0].losses,
        [loss(1, QueueFull), loss(1, DeadLettered)]
    );
    drop(spill);
    let mut spill = open(dir.path())?;
    assert_eq!(spill.totals().dead_letters, 1);
    // Losses that went past the spill with an entry delivered live are not told again, and are no damage.
    spill.remove_through(Key::new(1, 5))?;
    spill.dead_letter(&record(&run, 6), DeadLetterReason::Oversize, "")?;
    spill.append([&record(&run, 10)])?;
    assert_eq!(all(&mut spill)?[0].losses, []);
    assert_eq!(spill.corrupt(), 0);
    audit(&spill)
}

#[test]
fn a_failed_transaction_changes_nothing_and_can_be_repeated() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=10))?;
    let before = spill.totals();
    let pages = |pages: i64| {
        move |spill: &Spill| {
            let conn = spill.store.connection();
            conn.pragma_update(None, "max_page_count", pages)
        }
    };
    pages(1)(&spill)?;
    let many = records(&run, 11..=5_000);
    let failed = spill.append(&many);
    assert!(
        matches!(
            failed,
            Err(SpillError::Database {
                action: "append to",
                ..
            })
        ),
        "{failed:?}"
    );
    assert_eq!(spill.totals(), before);
    audit(&spill)?;
    assert_eq!(
        spill.remove_through(Key::new(1, 2))?,
        2,
        "a full spill can be drained"
    );
    pages(1 << 30)(&spill)?;
    assert_eq!(spill.append(&many)?, 4_990);
    assert_eq!(spill.totals().entries, 4_998);
    audit(&spill)
}

#[test]
fn a_transaction_that_stops_in_the_middle_is_undone() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.store.connection().execute_batch(
        "CREATE TEMP TRIGGER stop BEFORE INSERT ON rows WHEN new.key & 0xff = 5 \
         BEGIN SELECT RAISE(FAIL, 'no further'); END",
    )?;
    let batch = records(&run, 1..=9);
    assert!(spill.append(&batch).is_err());
    assert!(all(&mut spill)?.is_empty());
    assert_eq!(spill.totals(), Totals::default());
    spill
        .store
        .connection()
        .execute_batch("DROP TRIGGER stop")?;
    assert_eq!(spill.append(&batch)?, 9);
    audit(&spill)
}

#[test]
fn after_a_failed_commit_the_database_says_what_happened() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let failed = spill.store.append(|database| {
        database.transact("append to", |work| {
            work.execute("UPDATE meta SET value = 17 WHERE name = 'dead_letters'", ())?;
            work.execute("COMMIT", ())?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        })
    });
    assert!(failed.is_err());
    assert_eq!(spill.totals().dead_letters, 17);
    Ok(())
}
