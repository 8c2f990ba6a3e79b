//! Rows that rot, vanish or lose their run cost their own entry, are told once, and never stop those behind them.

use super::*;
use crate::event::Key;

use LossReason::{Corrupt, QueueFull};

fn three_and_losses(dir: &Path) -> Result<(Spill, Arc<Run>), SpillError> {
    let mut spill = open(dir)?;
    let run = spill.begin_run()?;
    let mut batch = records(&run, 1..=3);
    batch.push(record_after(&run, 7, &[loss(3, QueueFull)]));
    spill.append(&batch)?;
    Ok((spill, run))
}

fn spoil(spill: &Spill, sql: &str) -> rusqlite::Result<()> {
    spill.store.connection().execute_batch(sql)
}

#[test]
fn a_flipped_bit_costs_one_entry_and_is_counted_once() -> Outcome {
    for (column, value) in [
        ("bytes", "zeroblob(length(bytes))"),
        ("subject", "'acme.x'"),
        ("popped_ms", "7"),
        ("kind", "99"),
        ("kind", "1"),
        ("count", "2"),
    ] {
        let dir = tempfile::tempdir()?;
        let (mut spill, _) = three_and_losses(dir.path())?;
        spoil(
            &spill,
            &format!("UPDATE rows SET {column} = {value} WHERE key & 0xff = 2"),
        )?;
        let read = all(&mut spill)?;
        assert_eq!(numbers(&read), [1, 3, 7], "{column}");
        assert_eq!(read[1].losses, [loss(1, Corrupt)], "{column}");
        assert_eq!(
            gist(&all(&mut spill)?),
            gist(&read),
            "{column}: told otherwise the second time"
        );
        assert_eq!(
            (spill.corrupt(), spill.totals().entries),
            (1, 3),
            "{column}"
        );
        audit(&spill)?;
        spill.remove_through(Key::new(1, 7))?;
        assert_eq!(spill.totals(), crate::spill::Totals::default(), "{column}");
    }
    Ok(())
}

#[test]
fn damaged_losses_are_still_told_as_losses() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = three_and_losses(dir.path())?;
    spoil(&spill, "UPDATE rows SET count = 1000 WHERE kind <> 0")?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 2, 3, 7]);
    assert_eq!(read[3].losses, [loss(3, Corrupt)]);
    assert_eq!(gist(&all(&mut spill)?), gist(&read));
    assert_eq!(spill.corrupt(), 0, "no entry was damaged");
    audit(&spill)
}

#[test]
fn rows_that_vanished_are_told_even_between_two_pages() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = three_and_losses(dir.path())?;
    spoil(&spill, "DELETE FROM rows WHERE key & 0xff = 2")?;
    let first = spill.oldest(None, 1, u64::MAX)?;
    assert_eq!(numbers(&first), [1]);
    let after = first.last().map(Record::key);
    assert_eq!(
        spill.oldest(after, 1, u64::MAX)?[0].losses,
        [loss(1, Corrupt)]
    );
    assert_eq!((spill.corrupt(), spill.totals().entries), (1, 3));
    assert_eq!(
        spill.oldest(after, 1, u64::MAX)?[0].losses,
        [loss(1, Corrupt)]
    );
    assert_eq!(spill.corrupt(), 1, "counted once");
    audit(&spill)
}

#[test]
fn rows_of_a_forgotten_run_do_not_block_the_next() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = three_and_losses(dir.path())?;
    let run = spill.begin_run()?;
    spill.append([&record(&run, 1)])?;
    spoil(&spill, "DELETE FROM runs WHERE local = 1")?;
    drop(spill);
    spill = open(dir.path())?;
    let read = all(&mut spill)?;
    assert_eq!(gist(&read), gist(&[record(&run, 1)]));
    assert_eq!((spill.corrupt(), spill.totals().entries), (4, 1));
    audit(&spill)
}
