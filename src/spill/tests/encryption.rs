//! An encrypted spill keeps its promises, and its files show nothing of an entry. A wrong or missing key is an error
//! that changes no byte; an entry that was changed, or put in another's place, is damage that is counted.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::dead_letters::{dead_letter, letter};
use super::*;
use crate::config::SpillKey;
use crate::dead_letters::{DeadLetters, Selection};
use crate::event::Position;
use crate::export::export_with_key;
use crate::spill::DeadLetterReason::Rejected;
use crate::spill::row::{Row, StoredRow, columns};
use crate::spill::{dead_letters, salvage, schema};
use crate::status::status_with_key;

use LossReason::Corrupt;

fn key() -> SpillKey {
    SpillKey::new([7; 32])
}

fn wrong() -> SpillKey {
    SpillKey::new([8; 32])
}

fn open_with(dir: &Path, key: Option<&SpillKey>) -> Result<Spill, SpillError> {
    let mut spill = Spill::open(dir, key, 1 << 30, SpillDurability::ProcessCrash)?;
    spill.segment_bytes = 700;
    Ok(spill)
}

/// The directory of a killed publisher, with these entries in several segments of the backlog. Number 3 is a dead
/// letter.
fn encrypted(numbers: std::ops::RangeInclusive<u64>) -> Result<tempfile::TempDir, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut spill = open_with(dir.path(), Some(&key()))?;
    let run = spill.begin()?.run;
    for chunk in records(&run, numbers).chunks(5) {
        spill.append(chunk)?;
    }
    dead_letter(&mut spill, vec![letter(&record(&run, 3), Rejected, "odd")])?;
    killed(dir.path())
}

/// All files but the lock, which every publisher writes its process id to.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if !path.ends_with("lock") {
            files.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(files)
}

/// The file that shows any of these entries.
fn showing(dir: &Path, local: u32, numbers: &[u64]) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let shown = |bytes: &[u8]| {
        let texts = numbers.iter().map(|&n| content(local, n));
        texts.into_iter().any(|text| {
            let mut windows = bytes.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        })
    };
    let found = files(dir)?.into_iter().find(|(_, bytes)| shown(bytes));
    Ok(found.map(|(file, _)| file))
}

#[test]
fn nothing_of_an_entry_lies_on_disk_and_all_of_it_comes_out_after_a_kill() -> Outcome {
    let dir = encrypted(1..=40)?;
    assert!(segment_files(dir.path())?.len() > 2);
    let logs = files(dir.path())?.into_keys();
    assert!(
        logs.into_iter()
            .any(|file| file.to_string_lossy().ends_with("-wal"))
    );
    let numbers_of_all: Vec<_> = (1..=40).collect();
    assert_eq!(showing(dir.path(), 1, &numbers_of_all)?, None);

    let mut spill = open_with(dir.path(), Some(&key()))?;
    let read = all(&mut spill)?;
    let expected: Vec<_> = (1..=40).filter(|&n| n != 3).collect();
    assert_eq!(numbers(&read), expected);
    assert!(
        read.iter()
            .all(|record| record.bytes == content(1, record.n))
    );
    audit(&mut spill)?;
    assert_eq!((spill.view().corrupt, spill.view().surplus), (0, 0));
    drop(spill);

    let status = status_with_key(dir.path(), Some(&key()))?;
    assert_eq!((status.health, status.dead_letters), (Health::Healthy, 1));
    let letters = DeadLetters::open_with_key(dir.path(), Some(key()))?;
    let id = letters.iter().next().ok_or("no letter")??.id;
    let (_, bytes) = letters.get(id)?.ok_or("no letter")?;
    assert_eq!(bytes, content(1, 3).as_bytes());
    assert_eq!(letters.requeue(&Selection::All, |_, _| ())?, 1);
    assert_eq!(showing(dir.path(), 1, &numbers_of_all)?, None);
    let mut spill = open_with(dir.path(), Some(&key()))?;
    let last = all(&mut spill)?.pop().ok_or("no entry")?;
    assert_eq!(last.requeued, Some(Position { run: id.run, n: 3 }));
    assert_eq!(last.bytes, content(1, 3));
    Ok(())
}

/// Removing the check of the key removes a short cut only.
#[test]
fn without_the_right_key_nothing_is_touched_and_with_it_everything_is_delivered() -> Outcome {
    for check in [true, false] {
        let dir = encrypted(1..=40)?;
        if !check {
            std::fs::remove_file(dir.path().join("encryption"))?;
        }
        let before = files(dir.path())?;
        for given in [None, Some(wrong())] {
            let given = given.as_ref();
            let letters = DeadLetters::open_with_key(dir.path(), given.cloned()).map(drop);
            let status = status_with_key(dir.path(), given).map(drop);
            let export = export_with_key(dir.path(), given, &mut Vec::new()).map(drop);
            let errors = [
                open_with(dir.path(), given)
                    .map(drop)
                    .err()
                    .ok_or("opened")?,
                letters.err().ok_or("opened")?,
                status.err().ok_or("looked at")?,
                match export {
                    Err(crate::error::ExportError::Spill(error)) => error,
                    _ => return Err("exported".into()),
                },
            ];
            for error in errors {
                let fits = match given {
                    None => matches!(error, SpillError::Encrypted { .. }),
                    Some(_) => matches!(error, SpillError::WrongKey { .. }),
                };
                assert!(fits, "{error}, check: {check}");
            }
            assert!(files(dir.path())? == before, "check: {check}");
        }
        let mut spill = open_with(dir.path(), Some(&key()))?;
        let read = all(&mut spill)?;
        assert_eq!(read.len(), 39);
        assert_eq!(spill.view().corrupt, 0);
        drop(spill);
        assert!(dir.path().join("encryption").exists());
    }
    Ok(())
}

/// A reader that meets an encrypted entry without a key waits, for however long: the entry is not damaged.
#[test]
fn a_reader_without_a_key_never_counts_damage() -> Outcome {
    let dir = encrypted(1..=10)?;
    let mut spill = open_with(dir.path(), Some(&key()))?;
    spill.cipher = None;
    let error = all_patiently(&mut spill).map(drop).err();
    assert!(
        matches!(error, Some(SpillError::Encrypted { .. })),
        "{error:?}"
    );
    assert_eq!(spill.view().corrupt, 0);
    Ok(())
}

#[test]
fn what_was_there_in_plain_text_is_read_and_what_comes_is_encrypted() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_with(dir.path(), None)?;
    let run = spill.begin()?.run;
    spill.append(&records(&run, 1..=10))?;
    dead_letter(&mut spill, vec![letter(&record(&run, 3), Rejected, "odd")])?;
    drop(spill);
    assert!(!dir.path().join("encryption").exists());

    let mut spill = open_with(dir.path(), Some(&key()))?;
    let run = spill.begin()?.run;
    spill.append(&records(&run, 1..=10))?;
    dead_letter(&mut spill, vec![letter(&record(&run, 4), Rejected, "odd")])?;
    assert_eq!(
        showing(dir.path(), 2, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])?,
        None
    );
    let image = killed(dir.path())?;
    let mut spill = open_with(image.path(), Some(&key()))?;
    let read = all(&mut spill)?;
    let expected: Vec<_> = [(1, 3), (2, 4)]
        .into_iter()
        .flat_map(|(local, letter)| {
            (1..=10)
                .filter(move |&n| n != letter)
                .map(move |n| (local, n))
        })
        .collect();
    let found: Vec<_> = read
        .iter()
        .map(|record| (record.run.local, record.n))
        .collect();
    assert_eq!(found, expected);
    assert!(
        read.iter()
            .all(|it| it.bytes == content(it.run.local, it.n))
    );
    drop(spill);
    let letters = DeadLetters::open_with_key(image.path(), Some(key()))?;
    for (letter, (local, n)) in letters.iter().zip([(1, 3), (2, 4)]) {
        let (_, bytes) = letters.get(letter?.id)?.ok_or("no letter")?;
        assert_eq!(bytes, content(local, n).as_bytes());
    }
    std::fs::remove_file(image.path().join("encryption"))?;
    let error = open_with(image.path(), None).map(drop).err();
    assert!(
        matches!(error, Some(SpillError::Encrypted { .. })),
        "{error:?}"
    );
    Ok(())
}

/// Once nothing encrypted is left, the key may be another one.
#[test]
fn an_empty_spill_takes_another_key_once_its_check_is_removed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_with(dir.path(), Some(&key()))?;
    let run = spill.begin()?.run;
    spill.append(&records(&run, 1..=10))?;
    settle(&mut spill, Key::new(1, 10))?;
    end(&mut spill, 10)?;
    drop(spill);
    assert!(open_with(dir.path(), Some(&wrong())).is_err());
    std::fs::remove_file(dir.path().join("encryption"))?;
    drop(open_with(dir.path(), Some(&wrong()))?);
    assert!(open_with(dir.path(), Some(&key())).is_err());
    Ok(())
}

/// Writes the row with this key again, changed, and with the checksum that it then has.
fn change(conn: &Connection, key: Key, with: impl Fn(&mut Row<'_>)) -> Outcome {
    let sql = format!("SELECT {} FROM rows WHERE key = ?1", columns(conn));
    let checksum: u32 = conn.query_row(&sql, [key.row()], |row| {
        let mut row = Row::sound(key, row).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        with(&mut row);
        Ok(row.checksum())
    })?;
    let sql = "UPDATE rows SET checksum = ?2 WHERE key = ?1";
    conn.execute(sql, (key.row(), checksum))?;
    Ok(())
}

/// Changes made by somebody who knows how checksums are made.
#[test]
fn entries_that_were_changed_or_swapped_are_counted_as_damaged() -> Outcome {
    let dir = encrypted(1..=40)?;
    let file = &segment_files(dir.path())?[1];
    let conn = Connection::open(file)?;
    let key_of = |n| Key::new(1, n);
    let stored = |n| -> rusqlite::Result<(Vec<u8>, [u8; 40])> {
        let sql = "SELECT bytes, nonce_tag FROM rows WHERE key = ?1";
        conn.query_row(sql, [key_of(n).row()], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let first = conn.query_row("SELECT min(key) FROM rows WHERE kind = 0", (), |row| {
        row.get::<_, i64>(0)
    })?;
    let first = Key::from_row(first).ok_or("no key")?.n();
    let (one, two, three) = (stored(first)?, stored(first + 1)?, stored(first + 2)?);
    let mut changed = three.clone();
    changed.0[0] ^= 1;
    for (n, (bytes, nonce_tag)) in [(first, two), (first + 1, one), (first + 2, changed)] {
        change(&conn, key_of(n), |row| {
            row.bytes = Vec::leak(bytes.clone());
            row.nonce_tag = Some(nonce_tag);
        })?;
        let sql = "UPDATE rows SET bytes = ?2, nonce_tag = ?3 WHERE key = ?1";
        conn.execute(sql, (key_of(n).row(), bytes, nonce_tag))?;
    }
    // The subject is in plain text, but bound to the entry.
    change(&conn, key_of(first + 3), |row| row.subject = "evil.1")?;
    conn.execute(
        "UPDATE rows SET subject = 'evil.1' WHERE key = ?1",
        [key_of(first + 3).row()],
    )?;
    drop(conn);

    let gone: Vec<_> = (first..first + 4).collect();
    let status = status_with_key(dir.path(), Some(&key()))?;
    assert_eq!(status.health, Health::Damaged);
    let mut spill = open_with(dir.path(), Some(&key()))?;
    let read = all(&mut spill)?;
    let expected: Vec<_> = (1..=40).filter(|n| *n != 3 && !gone.contains(n)).collect();
    assert_eq!(numbers(&read), expected);
    let after = read
        .iter()
        .find(|record| record.n == first + 4)
        .ok_or("none")?;
    assert_eq!(after.losses, [loss(4, Corrupt)]);
    assert_eq!(spill.view().corrupt, 4);
    Ok(())
}

/// What an index that is damaged is replaced by.
#[test]
fn encrypted_dead_letters_outlive_their_index() -> Outcome {
    let dir = encrypted(1..=5)?;
    let old = schema::open_to_read(&dir.path().join("index.sqlite3"))?;
    let new = dir.path().join("new.sqlite3");
    let new = schema::open(&new, schema::INDEX, SpillDurability::PowerLoss)?;
    salvage::dead_letters(&old, &new)?;
    let cipher = crate::spill::cipher::Cipher::new(&key());
    assert_eq!(dead_letters::count_sound(&new, Some(&cipher)).entries, 1);
    assert_eq!(dead_letters::count(&new)?.entries, 1);
    let other = crate::spill::cipher::Cipher::new(&wrong());
    assert_eq!(dead_letters::count_sound(&new, Some(&other)).entries, 0);
    let found = new.query_row(
        "SELECT key, 0, 1, popped_ms, checksum, requeued, subject, bytes, nonce_tag FROM dead_letters",
        (),
        StoredRow::read,
    )?;
    assert!(found.is_encrypted());
    Ok(())
}

/// The newest entry of an evicted run moves into another segment, and stays encrypted there.
#[test]
fn what_eviction_keeps_is_encrypted_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_with(dir.path(), Some(&key()))?;
    for _ in 0..3 {
        let run = spill.begin()?.run;
        spill.append(&records(&run, 1..=4))?;
        end(&mut spill, 4)?;
    }
    let evictable = crate::spill::orders::Evictable {
        after: None,
        bytes: 1,
        doubt: crate::spill::orders::SinkMayHave::Nothing,
    };
    assert_eq!(spill.evict(evictable)?, 3);
    assert_eq!(showing(dir.path(), 1, &[1, 2, 3, 4])?, None);
    let read = all(&mut spill)?;
    assert_eq!((read[0].run.local, read[0].n), (1, 4));
    assert_eq!(read[0].bytes, content(1, 4));
    Ok(())
}
