//! What is remembered of rows that were taken over from elsewhere.

use std::path::PathBuf;

use super::*;
use crate::spill::{Foreign, quarantine};

fn foreign(numbers: std::ops::Range<u64>) -> Vec<Foreign> {
    let row = |number: u64| Foreign {
        digest: u128::from(number).to_be_bytes(),
        popped_ms: number,
        bytes: Bytes::from(number.to_string()),
        subject: Ok("acme".into()),
    };
    numbers.map(row).collect()
}

/// As an import does it, in pages of a thousand. Answers how many were known.
fn import(spill: &mut Spill, numbers: std::ops::Range<u64>) -> Result<u64, SpillError> {
    let run = spill.begin_ended_run()?;
    let (mut known, mut last_n) = (0, 0);
    for page in foreign(numbers).chunks(1_000) {
        let done = spill.take_over(page, &run, last_n)?;
        known += done.known;
        last_n += done.entries;
    }
    Ok(known)
}

fn remembered(spill: &Spill) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM imported";
    spill
        .store
        .connection()
        .query_row(sql, (), |row| row.get(0))
}

/// An import forgets none of what it has still to find known, however much it adds.
#[test]
fn an_import_forgets_only_before_its_first_row() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT ?1) \
         INSERT INTO imported (digest) SELECT randomblob(16) FROM n";
    spill.store.connection().execute(many, [248_000])?;
    import(&mut spill, 0..5_000)?;
    assert_eq!(remembered(&spill)?, 253_000);
    assert_eq!(import(&mut spill, 0..7_000)?, 5_000);
    assert_eq!(remembered(&spill)?, 252_000);
    assert_eq!(import(&mut spill, 0..7_000)?, 7_000);
    Ok(())
}

/// A page of them is damaged: those before and behind it are remembered.
#[test]
fn what_is_remembered_behind_damage_is_carried_over() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    import(&mut spill, 0..10_000)?;
    let page: u32 = spill.store.connection().query_row(
        "SELECT pageno FROM dbstat WHERE name = 'imported' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 4",
        (),
        |row| row.get(0),
    )?;
    drop(spill);
    let file: PathBuf = dir.path().join("db/spill.sqlite3");
    let mut bytes = std::fs::read(&file)?;
    let at = (page as usize - 1) * 16_384;
    bytes[at..at + 16_384].fill(0);
    std::fs::write(&file, bytes)?;
    quarantine::set_aside(dir.path())?;
    let mut spill = open(dir.path())?;
    while spill.is_salvaging() {
        spill.salvage_step()?;
    }
    let remembered = remembered(&spill)?;
    assert!((9_000..10_000).contains(&remembered), "{remembered}");
    Ok(())
}
