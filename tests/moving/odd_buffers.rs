//! Buffers that are damaged, or that Agent Assembly would not make: only imported rows are removed from them, and the
//! error says what is wrong.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use spillring::AuditEntry;
use spillring::error::ImportError;
use spillring::operate::{DeadLetters, Imported};
use tempfile::TempDir;

use crate::bench::{FakeSink, config, end, entry, until_settled};

const THEIRS: &str = "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, \
     enqueued_at INTEGER NOT NULL)";

struct Place {
    dir: TempDir,
    conn: Option<Connection>,
}

impl Place {
    fn new(schema: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("buffer.db")).unwrap();
        conn.execute_batch(&format!("PRAGMA journal_mode = WAL; {schema}"))
            .unwrap();
        Self {
            dir,
            conn: Some(conn),
        }
    }

    /// One with rows of these ids, which are the numbers of their entries as well.
    fn holding(schema: &str, ids: impl IntoIterator<Item = i64>) -> Self {
        let place = Self::new(schema);
        let conn = place.conn.as_ref().unwrap();
        let work = conn.unchecked_transaction().unwrap();
        for id in ids {
            let sql = "INSERT INTO events (id, payload, enqueued_at) VALUES (?1, ?2, 7)";
            work.execute(sql, (id, json(id))).unwrap();
        }
        work.commit().unwrap();
        place
    }

    fn closed(mut self) -> Self {
        self.conn.take().unwrap().close().unwrap();
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn import(&self) -> Result<Imported, ImportError> {
        spillring::operate::import(self.path("buffer.db"), self.path("spill"))
    }

    /// Writes over the bytes at an offset from an entry's.
    fn overwrite(&self, id: i64, change: impl FnOnce(&mut [u8], usize)) {
        let file = self.path("buffer.db");
        let mut bytes = fs::read(&file).unwrap();
        let wanted = json(id);
        let at = bytes
            .windows(wanted.len())
            .position(|window| window == wanted);
        change(&mut bytes, at.unwrap());
        fs::write(file, bytes).unwrap();
    }

    fn delivered(&self) -> Vec<u64> {
        let sink = FakeSink::new(true);
        let drainer = spillring::start(config(&self.path("spill")), sink.sink()).unwrap();
        until_settled(&drainer);
        end(drainer, 0);
        sink.captured().iter().map(AuditEntry::seq).collect()
    }
}

fn json(id: i64) -> Vec<u8> {
    serde_json::to_vec(&entry(id.unsigned_abs())).unwrap()
}

fn rows_in(file: &Path) -> i64 {
    let conn = Connection::open(file).unwrap();
    conn.query_row("SELECT count(*) FROM events", (), |row| row.get(0))
        .unwrap()
}

#[test]
fn every_id_is_taken() {
    let place = Place::holding(THEIRS, [i64::MIN, -5, 3, i64::MAX]).closed();
    assert_eq!(place.import().unwrap().entries, 4);
    assert_eq!(rows_in(&place.path("buffer.db")), 0);
    let expected = [i64::MIN, -5, 3, i64::MAX].map(i64::unsigned_abs);
    assert_eq!(place.delivered(), expected);
}

#[test]
fn rows_without_a_key_of_their_own_stay_where_they_are() {
    let schema = "CREATE TABLE Events (id INTEGER, payload BLOB, enqueued_at INTEGER)";
    let ids = (1..=1_023).chain([1_024; 3]);
    let place = Place::holding(schema, ids).closed();
    let error = place.import().unwrap_err();
    assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
    assert!(rows_in(&place.path("buffer.db")) >= 3);
}

/// One bit too many in the id of a row, and those behind it are not found by theirs.
#[test]
fn rows_that_were_not_read_are_not_removed() {
    let place = Place::holding(THEIRS, 1..=3_000).closed();
    // Its id, 1,024, stands before the header of the record, in two bytes of seven bits each.
    place.overwrite(1_024, |bytes, at| {
        let id = (at - 10..at - 1).find(|&at| bytes[at..at + 2] == [0x88, 0x00]);
        bytes[id.unwrap()..][..2].copy_from_slice(&[0xFF, 0x7F]);
    });
    let error = place.import().unwrap_err();
    assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
    assert!(rows_in(&place.path("buffer.db")) >= 1_976);
}

/// What lies before a damaged page is imported; the rest is reported, with a remedy, and comes from a copy.
#[test]
fn rows_before_the_damage_are_imported() {
    let place = Place::holding(THEIRS, 1..=3_000).closed();
    let copy = place.path("copy.db");
    fs::copy(place.path("buffer.db"), &copy).unwrap();
    place.overwrite(1_500, |bytes, at| {
        bytes[at / 4_096 * 4_096..][..4_096].fill(0);
    });
    for _ in 0..2 {
        let error = place.import().unwrap_err();
        assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(".dump"), "{error}");
    }
    let taken = spillring::operate::status(&place.path("spill"))
        .unwrap()
        .stats
        .spilled;
    assert!((1_400..1_500).contains(&taken), "{taken}");
    let done = spillring::operate::import(&copy, place.path("spill")).unwrap();
    assert_eq!((done.entries, done.known), (3_000 - taken, taken));
    assert_eq!(place.delivered(), (1..=3_000).collect::<Vec<_>>());
}

/// `SQLite` would delete the log.
#[test]
fn an_empty_file_with_a_log_is_left_alone() {
    let place = Place::holding(THEIRS, 1..=40);
    let log = place.path("buffer.db-wal");
    let content = fs::read(&log).unwrap();
    let place = place.closed();
    fs::write(place.path("buffer.db"), "").unwrap();
    fs::write(&log, &content).unwrap();
    let error = place.import().unwrap_err();
    assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&log).unwrap(), content);
}

/// Left behind by a kill.
#[test]
fn rows_in_a_log_are_taken_over() {
    let place = Place::holding(THEIRS, 1..=40);
    let killed = place.path("killed");
    fs::create_dir(&killed).unwrap();
    for name in ["buffer.db", "buffer.db-wal", "buffer.db-shm"] {
        fs::copy(place.path(name), killed.join(name)).unwrap();
    }
    let done = spillring::operate::import(killed.join("buffer.db"), place.path("spill")).unwrap();
    assert_eq!(done.entries, 40);
    assert_eq!(place.delivered(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn empty_and_in_memory_names_are_taken_for_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", ":memory:"] {
        let error = spillring::operate::import(name, dir.path().join("spill")).unwrap_err();
        assert!(matches!(error, ImportError::Buffer { .. }), "{error}");
    }
}

#[test]
fn payloads_that_are_not_bytes_become_dead_letters() {
    let place = Place::new("CREATE TABLE events (id INTEGER PRIMARY KEY, payload, enqueued_at)");
    let rows = "INSERT INTO events VALUES (-4, NULL, 'x'), (2, 1.5, NULL), (3, 7, 7)";
    place.conn.as_ref().unwrap().execute_batch(rows).unwrap();
    let place = place.closed();
    assert_eq!(place.import().unwrap().dead_letters, 3);
    let letters = DeadLetters::open(place.path("spill")).unwrap();
    assert_eq!(letters.iter().count(), 3);
}

/// Half a gigabyte and a byte: `cargo test --all-features --test moving beyond_any -- --ignored`.
#[test]
#[ignore = "takes gigabytes"]
fn a_row_beyond_any_entry_becomes_a_dead_letter_of_its_head() {
    let place = Place::holding(THEIRS, 2..=5);
    let sql = "INSERT INTO events VALUES (1, zeroblob(536870913), 7)";
    place.conn.as_ref().unwrap().execute_batch(sql).unwrap();
    let place = place.closed();
    let done = place.import().unwrap();
    assert_eq!((done.entries, done.dead_letters), (4, 1));
    let letters = DeadLetters::open(place.path("spill")).unwrap();
    let letter = letters.iter().next().unwrap().unwrap();
    assert_eq!(letter.bytes, 64 << 10);
    assert!(
        letter.detail.contains("536870913 bytes"),
        "{}",
        letter.detail
    );
    drop(letters);
    assert_eq!(place.delivered(), [2, 3, 4, 5]);
}
