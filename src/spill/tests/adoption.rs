//! A directory of the first versions: its database is read in place, as the first segment, and deleted once it is
//! delivered; runs, dead letters and imports go into the index, once; whatever is killed in between.

use rusqlite::Connection;

use super::*;
use crate::dead_letters::{DeadLetters, Selection};
use crate::event::{PublisherId, RunId, fresh_uuid};
use crate::spill::row::{INSERT, Row, kind};
use crate::spill::schema;

use LossReason::{Corrupt, DeadLettered, QueueFull};

/// As the last of the first versions had them.
const TABLES: &str = "
CREATE TABLE rows (
    key INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    count INTEGER NOT NULL,
    popped_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    requeued BLOB,
    subject TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE dead_letters (
    key INTEGER PRIMARY KEY,
    run BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    popped_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    requeued BLOB,
    subject TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
    local INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    previous_id BLOB,
    previous_last INTEGER,
    killed_starts INTEGER NOT NULL,
    opened INTEGER NOT NULL DEFAULT 0,
    heard INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    last_n INTEGER
) STRICT;
CREATE TABLE imported (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('entries', 0), ('bytes', 0), ('dead_letters', 0), ('dead_letter_bytes', 0), ('losses', 0),
    ('commits', 5);
PRAGMA user_version = 3;
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Third,
}

/// Entries 11 to 20 of a run: 13 is a dead letter, 15 and 16 were lost before. Entries 1 to 10 are delivered.
fn old_database(dir: &Path, folder: &str, version: Version) -> Result<Arc<Run>, Box<dyn Error>> {
    let publisher = PublisherId(fresh_uuid());
    let run = Arc::new(Run {
        id: RunId(fresh_uuid()),
        publisher,
        local: 4,
        previous: None,
        killed_starts: 0,
    });
    let folder = dir.join(folder);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(dir.join("identity"), format!("{publisher}\n"))?;
    std::fs::write(dir.join("reserve"), b"room")?;
    std::fs::write(dir.join("lock"), b"")?;
    let conn = Connection::open(folder.join("spill.sqlite3"))?;
    conn.execute_batch(TABLES)?;
    conn.execute(
        "INSERT INTO runs (local, id, killed_starts, opened, started_ms) VALUES (4, ?1, 0, 1, 0)",
        [run.id.0.into_bytes()],
    )?;
    let mut insert = conn.prepare(INSERT)?;
    let entries = records(&run, (11..=20).filter(|n| ![13, 15, 16].contains(n)));
    for record in &entries {
        Row::entry(record).insert(&mut insert)?;
    }
    Row::stretch(Key::new(4, 13), 1, kind(DeadLettered)).insert(&mut insert)?;
    Row::stretch(Key::new(4, 15), 2, kind(QueueFull)).insert(&mut insert)?;
    drop(insert);
    let dead_lettered = record(&run, 13);
    crate::spill::dead_letters::keep(&conn, &dead_lettered, "rejected", "too odd", None)?;
    conn.execute("INSERT INTO imported (digest) VALUES (?1)", [[7_u8; 16]])?;
    let sums = "UPDATE meta SET value = CASE name WHEN 'entries' THEN ?1 WHEN 'bytes' THEN ?2 \
                WHEN 'dead_letters' THEN 1 ELSE value END";
    let bytes: u64 = entries.iter().map(Record::size).sum();
    conn.execute(sums, (i64::try_from(entries.len())?, bytes.cast_signed()))?;
    if version == Version::First {
        conn.execute_batch(
            "ALTER TABLE rows DROP COLUMN requeued; ALTER TABLE dead_letters DROP COLUMN requeued; DROP TABLE imported",
        )?;
    }
    Ok(run)
}

/// As the first versions kept it beside the database.
fn write_mark(dir: &Path, commits: u64, entries: u64, low: u64, high: u64) -> std::io::Result<()> {
    let mut slot = b"spillmrk".to_vec();
    for number in [
        commits,
        entries,
        Key::new(4, low).number(),
        Key::new(4, high).number(),
    ] {
        slot.extend(number.to_le_bytes());
    }
    slot.extend(crc32fast::hash(&slot).to_le_bytes());
    slot.extend([0; 4]);
    std::fs::write(dir.join("mark"), slot)
}

fn is_whole(spill: &mut Spill) -> Outcome {
    let read = all(spill)?;
    assert_eq!(numbers(&read)[..7], [11, 12, 14, 17, 18, 19, 20]);
    assert_eq!(read[2].losses, [loss(1, DeadLettered)]);
    assert_eq!(read[3].losses, [loss(2, QueueFull)]);
    let view = spill.view();
    assert_eq!(
        (view.corrupt, view.surplus, view.totals.dead_letters.entries),
        (0, 0, 1)
    );
    audit(spill)
}

#[test]
fn an_old_database_is_read_in_place_and_deleted_once_it_is_delivered() -> Outcome {
    for version in [Version::First, Version::Third] {
        for mark in [None, Some((5, 7)), Some((9, 7))] {
            let dir = tempfile::tempdir()?;
            let run = old_database(dir.path(), "db", version)?;
            if let Some((commits, entries)) = mark {
                write_mark(dir.path(), commits, entries, 10, 20)?;
            }
            assert_eq!(crate::status::status(dir.path())?.stats.spilled, 7);
            assert_eq!(DeadLetters::open(dir.path())?.iter().count(), 1);
            let (mut spill, next) = begun(dir.path())?;
            assert_eq!(
                (next.local, next.previous.map(|previous| previous.id)),
                (5, Some(run.id))
            );
            assert_eq!(next.publisher, run.publisher);
            is_whole(&mut spill)?;
            assert!(!dir.path().join("mark").exists() && !dir.path().join("reserve").exists());
            spill.append(&records(&next, 1..=2))?;
            // Killed at any time it goes on as it is.
            for _ in 0..2 {
                let image = killed(dir.path())?;
                is_whole(&mut open(image.path())?)?;
            }
            settle(&mut spill, Key::new(4, 20))?;
            tick(&mut spill)?;
            assert!(!dir.path().join("db").exists());
            drop(spill);
            let mut spill = open(dir.path())?;
            assert_eq!(numbers(&all(&mut spill)?), [1, 2]);
            assert_eq!(spill.view().totals.dead_letters.entries, 1);
            audit(&mut spill)?;
        }
    }
    Ok(())
}

#[test]
fn an_old_dead_letter_is_there_and_stays_gone_once_it_is_removed() -> Outcome {
    let home = tempfile::tempdir()?;
    let dir = home.path().join("spill");
    let run = old_database(&dir, "db", Version::Third)?;
    let letters = DeadLetters::open(&dir)?;
    let all_of_them: Vec<_> = letters.iter().collect::<Result<_, _>>()?;
    assert_eq!(all_of_them[0].id, record(&run, 13).id());
    assert_eq!(letters.remove(&Selection::All, |_| ())?, 1);
    // Also if the directory is moved.
    let moved = home.path().join("moved");
    std::fs::rename(&dir, &moved)?;
    let mut spill = open(&moved)?;
    assert_eq!(
        (
            spill.view().totals.dead_letters.entries,
            all(&mut spill)?.len()
        ),
        (0, 7)
    );
    audit(&mut spill)
}

/// One that was set aside by a version that would have carried it over.
#[test]
fn what_waited_to_be_carried_over_comes_first() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = old_database(dir.path(), "db.salvaging.17", Version::Third)?;
    let folder = dir.path().join("db");
    std::fs::create_dir(&folder)?;
    let conn = Connection::open(folder.join("spill.sqlite3"))?;
    conn.execute_batch(TABLES)?;
    let sql =
        "INSERT INTO runs (local, id, killed_starts, opened, started_ms) VALUES (4, ?1, 0, 1, 0)";
    conn.execute(sql, [run.id.0.into_bytes()])?;
    let mut insert = conn.prepare(INSERT)?;
    // The first of them have been carried over, and newer ones were appended.
    for n in [11, 12, 21, 22] {
        Row::entry(&record(&run, n)).insert(&mut insert)?;
    }
    drop(insert);
    drop(conn);
    let (mut spill, _) = begun(dir.path())?;
    is_whole(&mut spill)?;
    assert_eq!(numbers(&all(&mut spill)?)[7..], [21, 22]);
    settle(&mut spill, Key::new(4, 22))?;
    end(&mut spill, 0)?;
    assert!(!folder.exists() && !dir.path().join("db.salvaging.17").exists());
    Ok(())
}

/// What the mark knows of, and the database has no more, is lost.
#[test]
fn rows_that_only_the_mark_knows_of_are_damage() -> Outcome {
    let dir = tempfile::tempdir()?;
    old_database(dir.path(), "db", Version::Third)?;
    write_mark(dir.path(), 9, 10, 10, 23)?;
    let (mut spill, next) = begun(dir.path())?;
    spill.append(&records(&next, 1..=1))?;
    let reading = read_after(&mut spill, None)?;
    let orphan = crate::spill::Orphan {
        first: Key::new(4, 21),
        count: 3,
    };
    assert_eq!((reading.records.len(), reading.orphans), (8, vec![orphan]));
    assert_eq!(
        (spill.view().corrupt, spill.view().totals.backlog.entries),
        (3, 8)
    );
    Ok(())
}

/// Until the letters are in the index, the database stays, delivered or not.
#[test]
fn an_old_database_is_not_deleted_before_its_letters_are_kept() -> Outcome {
    let dir = tempfile::tempdir()?;
    old_database(dir.path(), "db", Version::Third)?;
    drop(open(dir.path())?);
    let index = dir.path().join("index.sqlite3");
    let conn = Connection::open(&index)?;
    conn.execute_batch("DELETE FROM adopted; DELETE FROM dead_letters")?;
    let stop = "CREATE TRIGGER stop BEFORE INSERT ON adopted BEGIN SELECT RAISE(FAIL, 'no'); END";
    conn.execute_batch(stop)?;
    drop(conn);
    let mut spill = open(dir.path())?;
    is_delivered(&mut spill)?;
    assert!(dir.path().join("db").exists());
    spill
        .index
        .read(|conn| conn.execute_batch("DROP TRIGGER stop"))?;
    tick(&mut spill)?;
    assert!(!dir.path().join("db").exists());
    assert_eq!(spill.view().totals.dead_letters.entries, 1);
    Ok(())
}

fn is_delivered(spill: &mut Spill) -> Outcome {
    assert_eq!(all(spill)?.len(), 7);
    settle(spill, Key::new(4, 20))?;
    tick(spill)
}

#[test]
fn a_damaged_old_database_is_read_past_its_damage_and_kept() -> Outcome {
    let dir = tempfile::tempdir()?;
    old_database(dir.path(), "db", Version::Third)?;
    let file = dir.path().join("db/spill.sqlite3");
    let conn = Connection::open(&file)?;
    conn.execute("UPDATE rows SET popped_ms = 1 WHERE key & 0xff = 18", ())?;
    drop(conn);
    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [11, 12, 14, 17, 19, 20]);
    assert_eq!(read[4].losses, [loss(1, Corrupt)]);
    settle(&mut spill, Key::new(4, 20))?;
    tick(&mut spill)?;
    assert!(!dir.path().join("db").exists());
    let kept = crate::spill::damaged(&dir.path().join("segments"))?;
    assert_eq!(kept.len(), 1);
    assert!(schema::open_to_read(&kept[0]).is_ok());
    Ok(())
}
