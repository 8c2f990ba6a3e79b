//! Rows that come from elsewhere are taken over once, whichever segment or index remembers them; what is no entry
//! becomes a dead letter.

use super::*;
use crate::spill::{Foreign, damaged};

use LossReason::DeadLettered;

fn foreign(numbers: std::ops::Range<u64>) -> Vec<Foreign> {
    let row = |number: u64| Foreign {
        digest: u128::from(number).to_be_bytes(),
        popped_ms: number,
        bytes: Bytes::from(number.to_string()),
        subject: Ok("acme".into()),
    };
    numbers.map(row).collect()
}

/// As an import does it, in pages. Answers how many were known.
fn import(spill: &mut Spill, rows: &[Foreign], page_rows: usize) -> Result<u64, SpillError> {
    let run = spill.begin_ended_run()?;
    let (mut known, mut last_n) = (0, 0);
    for page in rows.chunks(page_rows) {
        let done = spill.take_over(page, &run, last_n)?;
        known += done.known;
        last_n += done.entries + done.dead_letters;
    }
    Ok(known)
}

fn remembered(spill: &mut Spill) -> Result<i64, SpillError> {
    let sql = "SELECT count(*) FROM imported";
    spill
        .index
        .read(|conn| conn.query_row(sql, (), |row| row.get(0)))
}

#[test]
fn rows_are_known_as_long_as_their_segment_and_longer() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 2_000)?;
    assert_eq!(import(&mut spill, &foreign(0..500), 50)?, 0);
    assert_eq!(import(&mut spill, &foreign(0..500), 50)?, 500);
    assert!(segment_files(dir.path())?.len() > 3);
    assert_eq!(remembered(&mut spill)?, 0);
    let image = killed(dir.path())?;
    let mut other = open(image.path())?;
    assert_eq!(import(&mut other, &foreign(100..600), 50)?, 400);
    assert_eq!(all(&mut other)?.len(), 600);
    audit(&mut other)?;

    settle(&mut spill, Key::new(1, 500))?;
    end(&mut spill, 0)?;
    assert_eq!(segment_files(dir.path())?.len(), 0);
    drop(spill);
    let mut spill = open(dir.path())?;
    assert_eq!(remembered(&mut spill)?, 500);
    assert_eq!(import(&mut spill, &foreign(0..501), 50)?, 500);
    audit(&mut spill)
}

/// Those of an evicted segment are remembered too.
#[test]
fn rows_that_were_evicted_do_not_come_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 2_000)?;
    import(&mut spill, &foreign(0..500), 50)?;
    let evictable = crate::spill::Evictable {
        after: None,
        doubt: crate::spill::SinkMayHave::Nothing,
        bytes: 10_000,
    };
    assert!(spill.evict(evictable)? > 100);
    assert_eq!(import(&mut spill, &foreign(0..500), 50)?, 500);
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

#[test]
fn what_is_no_entry_is_a_dead_letter_and_announced() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, before) = begun(dir.path())?;
    spill.append(&records(&before, 1..=2))?;
    let mut rows = foreign(0..6);
    for bad in [0, 1, 4] {
        rows[bad].subject = Err("no JSON".to_owned());
    }
    // The first page has no entry at all.
    import(&mut spill, &rows, 2)?;
    let image = killed(dir.path())?;
    for mut spill in [spill, open(image.path())?] {
        let read = all(&mut spill)?;
        let numbers: Vec<_> = read
            .iter()
            .map(|record| (record.run.local, record.n))
            .collect();
        assert_eq!(numbers, [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]);
        assert_eq!(read[2].losses, [loss(2, DeadLettered)]);
        assert!(read[2].opens_run().is_some());
        assert_eq!(spill.view().totals.dead_letters.entries, 3);
        assert_eq!(import(&mut spill, &rows, 2)?, 6);
        assert_eq!(spill.view().corrupt, 0);
        audit(&mut spill)?;
    }
    Ok(())
}

/// An import forgets none of what it has still to find known, however much it adds.
#[test]
fn an_import_forgets_only_before_its_first_row() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 255000) \
         INSERT INTO imported (digest) SELECT randomblob(16) FROM n";
    spill.index.read(|conn| conn.execute(many, ()))?;
    import(&mut spill, &foreign(0..2), 1)?;
    assert_eq!(remembered(&mut spill)?, 250_000);
    Ok(())
}

/// A segment that lost rows is kept beside the others, and what it remembers is in the index all the same.
#[test]
fn what_a_damaged_segment_remembers_is_remembered() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 2_000)?;
    import(&mut spill, &foreign(0..100), 50)?;
    let file = segment_files(dir.path())?.remove(0);
    let conn = rusqlite::Connection::open(&file)?;
    conn.execute("UPDATE rows SET popped_ms = 9 WHERE key & 0xff = 7", ())?;
    drop(conn);
    assert_eq!(all(&mut spill)?.len(), 99);
    settle(&mut spill, Key::new(1, 100))?;
    end(&mut spill, 0)?;
    assert_eq!(damaged(&dir.path().join("segments"))?.len(), 1);
    assert_eq!(import(&mut spill, &foreign(0..100), 50)?, 100);
    Ok(())
}
