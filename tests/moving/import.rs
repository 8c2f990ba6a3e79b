//! A backlog of Agent Assembly's buffer is taken over whole, in order and once, and nothing is removed before it is
//! safe.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use spillring::config::WhenSpillFull;
use spillring::error::{ImportError, SpillError, StartError};
use spillring::event::Record;
use spillring::operate::{DeadLetters, Imported, Selection};
use spillring::sink::EmitSink;
use spillring::{AuditEntry, Config};
use tempfile::TempDir;

use crate::bench::{FakeSink, LIMIT, config, end, entry, until_settled};

/// Made by `aa-storage-sqlite-buffer` 0.0.1-alpha.8 of the first 40 entries of the sessions that it knows: see
/// `benches/versus/original/examples/buffer.rs`.
const BUFFER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/buffer_alpha8.db");
const SESSIONS: &str = include_str!("../data/sessions.jsonl");
const ROWS: usize = 40;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(BUFFER, dir.path().join("buffer.db")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn buffer(&self) -> PathBuf {
        self.path("buffer.db")
    }

    fn spill(&self) -> PathBuf {
        self.path("spill")
    }

    fn import(&self) -> Imported {
        spillring::operate::import(self.buffer(), self.spill()).unwrap()
    }

    /// What the next start delivers.
    fn delivered(&self) -> Vec<String> {
        delivered(config(&self.spill()))
    }
}

fn delivered(config: Config) -> Vec<String> {
    let sink = FakeSink::new(true);
    let drainer = spillring::start(config, sink.sink()).unwrap();
    until_settled(&drainer);
    end(drainer, 0);
    sink.captured().iter().map(line).collect()
}

fn line(entry: &AuditEntry) -> String {
    serde_json::to_string(entry).unwrap()
}

/// The buffer was made before there were these.
const NEWER_KEYS: [&str; 2] = ["policy_doc_id", "decision_id"];

fn rows() -> Vec<&'static str> {
    let older = |line: &&str| !NEWER_KEYS.iter().any(|key| line.contains(key));
    SESSIONS.lines().filter(older).take(ROWS).collect()
}

/// Names only the first difference: all of them would fill the screen.
#[track_caller]
fn assert_same<A: AsRef<str>, B: AsRef<str>>(found: &[A], expected: &[B]) {
    let (found, expected) = (found.iter().map(A::as_ref), expected.iter().map(B::as_ref));
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.zip(expected).enumerate() {
        assert_eq!(found, expected, "at {at}");
    }
}

fn done(entries: usize, dead_letters: u64, known: usize) -> [u64; 3] {
    [entries as u64, dead_letters, known as u64]
}

fn counts(imported: Imported) -> [u64; 3] {
    [imported.entries, imported.dead_letters, imported.known]
}

fn execute(file: &Path, sql: &str) -> usize {
    Connection::open(file).unwrap().execute(sql, ()).unwrap()
}

fn rows_in(file: &Path) -> usize {
    let conn = Connection::open(file).unwrap();
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM events", (), |row| row.get(0))
        .unwrap();
    rows.try_into().unwrap()
}

#[test]
fn a_real_buffer_is_taken_over_whole_and_in_order() {
    let place = Place::new();
    assert_eq!(rows_in(&place.buffer()), ROWS);
    assert_eq!(counts(place.import()), done(ROWS, 0, 0));
    assert_eq!(rows_in(&place.buffer()), 0);
    let status = spillring::operate::status(&place.spill()).unwrap();
    assert_eq!(status.stats.spilled, ROWS as u64);
    assert_same(&place.delivered(), &rows());
}

/// The bytes are theirs, not what we would write.
#[test]
fn the_bytes_of_a_row_are_not_touched() {
    let place = Place::new();
    let with_spaces = format!(" {} ", rows()[0].replacen("\":", "\" : ", 1));
    let conn = Connection::open(place.buffer()).unwrap();
    conn.execute("DELETE FROM events", ()).unwrap();
    conn.execute(
        "INSERT INTO events (payload, enqueued_at) VALUES (?1, 1234567890)",
        [with_spaces.as_bytes()],
    )
    .unwrap();
    drop(conn);
    place.import();
    let mut exported = Vec::new();
    spillring::operate::export(&place.spill(), &mut exported).unwrap();
    let exported = String::from_utf8(exported).unwrap();
    assert!(exported.contains("\"popped_ms\":1234,"), "{exported}");
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&delivered);
    let sink = EmitSink::new(move |record: Record| {
        theirs.lock().push(record.bytes().clone());
        async { Ok(()) }
    });
    let drainer = spillring::start::<AuditEntry>(config(&place.spill()), sink).unwrap();
    until_settled(&drainer);
    end(drainer, 0);
    assert_eq!(*delivered.lock(), [with_spaces]);
}

#[test]
fn a_row_that_is_no_entry_becomes_a_dead_letter_and_blocks_none() {
    let place = Place::new();
    for (id, payload) in [(3, "x'7b7d'"), (4, "'text'"), (5, "7"), (40, "x''")] {
        let sql = format!("UPDATE events SET payload = {payload} WHERE id = {id}");
        assert_eq!(execute(&place.buffer(), &sql), 1);
    }
    assert_eq!(counts(place.import()), done(ROWS - 4, 4, 0));
    assert_eq!(rows_in(&place.buffer()), 0);
    let letters = DeadLetters::open(place.spill()).unwrap();
    let letters: Vec<_> = letters.iter().map(Result::unwrap).collect();
    let numbers: Vec<_> = letters.iter().map(|letter| letter.id.n).collect();
    // Those of their page that are entries come first.
    assert_eq!(numbers, [37, 38, 39, 40]);
    assert!(letters.iter().all(|letter| letter.reason == "undecodable"));
    assert!(letters[0].detail.starts_with("row 3 of the event buffer"));
    let mut expected = rows();
    expected
        .retain(|row| ![2, 3, 4, 39].contains(&rows().iter().position(|it| it == row).unwrap()));
    assert_same(&place.delivered(), &expected);
}

/// Killed after a page was safe here and before it was removed there: the buffer is as it was.
#[test]
fn what_was_not_removed_from_the_buffer_is_not_taken_over_again() {
    let place = Place::new();
    let before = place.path("before.db");
    fs::copy(place.buffer(), &before).unwrap();
    place.import();
    fs::copy(&before, place.buffer()).unwrap();
    execute(
        &place.buffer(),
        "INSERT INTO events (payload, enqueued_at) SELECT payload, enqueued_at + 1 FROM events WHERE id = 1",
    );
    assert_eq!(counts(place.import()), done(1, 0, ROWS));
    assert_eq!(rows_in(&place.buffer()), 0);
    // Nor once all of it has been delivered, from a copy.
    let mut expected = rows();
    expected.push(expected[0]);
    assert_same(&place.delivered(), &expected);
    let copy = spillring::operate::import(&before, place.spill()).unwrap();
    assert_eq!(counts(copy), done(0, 0, ROWS));
    assert_eq!(place.delivered(), [""; 0]);
}

/// What was taken over is known by its segment as long as that lives, and by the index from then on.
#[test]
fn what_was_taken_over_is_remembered_by_segments_and_index() {
    let place = Place::new();
    let before = place.path("before.db");
    fs::copy(place.buffer(), &before).unwrap();
    place.import();
    for ending in ["", "-wal"] {
        let index = place.spill().join(format!("index.sqlite3{ending}"));
        let gone = fs::remove_file(index);
        assert!(gone.is_ok() || ending == "-wal");
    }
    let again = before.with_extension("again");
    fs::copy(&before, &again).unwrap();
    let known = spillring::operate::import(&again, place.spill()).unwrap();
    assert_eq!(counts(known), done(0, 0, ROWS));
    assert_same(&place.delivered(), &rows());
    let segments = fs::read_dir(place.spill().join("segments")).unwrap();
    assert_eq!(segments.count(), 0);
    let known = spillring::operate::import(&before, place.spill()).unwrap();
    assert_eq!(counts(known), done(0, 0, ROWS));
}

/// A buffer of 4,000 rows.
fn grow(place: &Place) {
    let more = "INSERT INTO events (payload, enqueued_at) SELECT payload, enqueued_at + ?1 FROM events WHERE id <= 40";
    let mut conn = Connection::open(place.buffer()).unwrap();
    let work = conn.transaction().unwrap();
    for turn in 1..100 {
        work.execute(more, [turn]).unwrap();
    }
    work.commit().unwrap();
}

const WHERE: &str = "SPILLRING_IMPORT_DIR";

/// Not a test, but the process that is killed: nothing happens without the variable.
#[test]
fn importing_child() {
    if let Some(dir) = std::env::var_os(WHERE).map(PathBuf::from) {
        spillring::operate::import(dir.join("buffer.db"), dir.join("spill")).unwrap();
        fs::write(dir.join("done"), "").unwrap();
    }
}

#[test]
fn an_import_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let (mut kills, mut random) = (0, fastrand::Rng::with_seed(6));
    while kills < 20 {
        let place = Place::new();
        grow(&place);
        // However slow the machine is, it ends.
        let mut longest = 80_000;
        while !place.path("done").exists() {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "import::importing_child", "--nocapture"])
                .env(WHERE, place.dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_micros(random.u64(5_000..longest)));
            child.kill().unwrap();
            child.wait().unwrap();
            let begun = place.spill().exists();
            kills += usize::from(begun && !place.path("done").exists());
            longest += 10_000;
        }
        assert_eq!(rows_in(&place.buffer()), 0);
        let mut exported = Vec::new();
        spillring::operate::export(&place.spill(), &mut exported).unwrap();
        let exported = String::from_utf8(exported).unwrap();
        let entries = exported.lines().map(|line| {
            let (_, entry) = line.split_once("\"entry\":").unwrap();
            &entry[..entry.len() - 1]
        });
        let expected = rows().into_iter().cycle().take(100 * ROWS);
        assert!(entries.eq(expected), "not each once and in order");
    }
}

/// More than is taken over at once.
#[test]
fn a_large_buffer_is_taken_over_in_pages() {
    let place = Place::new();
    grow(&place);
    assert_eq!(counts(place.import()), done(100 * ROWS, 0, 0));
    let expected: Vec<_> = rows().into_iter().cycle().take(100 * ROWS).collect();
    assert_same(&place.delivered(), &expected);
}

#[test]
fn a_start_takes_it_over_before_anything_else() {
    let place = Place::new();
    let mut config = config(&place.spill());
    config.import = Some(place.buffer());
    let sink = FakeSink::new(false);
    let drainer = spillring::start(config.clone(), sink.sink()).unwrap();
    assert_eq!(drainer.stats().spilled, ROWS as u64);
    let new = entry(77);
    drainer.publisher().publish(new.clone());
    sink.set_up(true);
    until_settled(&drainer);
    end(drainer, 1);
    let new = line(&new);
    let mut expected = rows();
    expected.push(&new);
    let captured: Vec<_> = sink.captured().iter().map(line).collect();
    assert_same(&captured, &expected);
    // The next start finds it empty, and one after that gone.
    assert_eq!(delivered(config.clone()), [""; 0]);
    fs::remove_file(place.buffer()).unwrap();
    assert_eq!(delivered(config), [""; 0]);
}

/// With a cap that the buffer is beyond, nothing that was imported is evicted for the rest of it.
#[test]
fn a_start_imports_up_to_the_cap_and_the_next_one_goes_on() {
    let place = Place::new();
    grow(&place);
    let mut config = config(&place.spill());
    config.import = Some(place.buffer());
    config.spill_bytes_max = 2 << 20;
    config.when_spill_full = WhenSpillFull::EvictOldest;
    let sink = FakeSink::new(true);
    let mut starts = 0;
    while rows_in(&place.buffer()) > 0 {
        let drainer = spillring::start(config.clone(), sink.sink()).unwrap();
        assert!(drainer.stats().spill_bytes < 3 << 20);
        until_settled(&drainer);
        assert_eq!(end(drainer, 0).discarded.total(), 0);
        starts += 1;
        assert!(starts < 10, "it never ends");
    }
    assert!(starts > 1);
    let expected: Vec<_> = rows().into_iter().cycle().take(100 * ROWS).collect();
    let captured: Vec<_> = sink.captured().iter().map(line).collect();
    assert_same(&captured, &expected);
}

#[test]
fn a_buffer_in_use_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    let theirs = Connection::open(place.buffer()).unwrap();
    theirs
        .query_row("SELECT count(*) FROM events", (), |_| Ok(()))
        .unwrap();
    let error = spillring::operate::import(place.buffer(), place.spill()).unwrap_err();
    assert!(matches!(error, ImportError::InUse { .. }), "{error}");
    assert!(!place.spill().exists());
    drop(theirs);
    assert_eq!(counts(place.import()), done(ROWS, 0, 0));
}

#[test]
fn nothing_is_removed_while_the_spill_cannot_take_it() {
    let place = Place::new();
    let sink = FakeSink::new(true);
    let drainer = spillring::start::<AuditEntry>(config(&place.spill()), sink.sink()).unwrap();
    let error = spillring::operate::import(place.buffer(), place.spill()).unwrap_err();
    assert!(matches!(error, ImportError::Spill(_)), "{error}");
    assert_eq!(rows_in(&place.buffer()), ROWS);
    drainer.shutdown(LIMIT).wait(LIMIT * 2).unwrap();
}

/// An undecodable one can only be removed.
#[test]
fn what_is_no_entry_is_not_requeued() {
    let place = Place::new();
    execute(
        &place.buffer(),
        "UPDATE events SET payload = x'00' WHERE id = 1",
    );
    place.import();
    let letters = DeadLetters::open(place.spill()).unwrap();
    let requeued = letters.requeue(&Selection::All, |_, _| {});
    assert!(matches!(
        requeued,
        Err(SpillError::DamagedDeadLetters { .. })
    ));
    assert_eq!(letters.iter().count(), 1);
    assert_eq!(letters.remove(&Selection::All, drop).unwrap(), 1);
}

/// Theirs was killed before it had made its table.
#[test]
fn a_buffer_with_nothing_in_it_yet_is_empty() {
    let place = Place::new();
    fs::write(place.buffer(), "").unwrap();
    assert_eq!(counts(place.import()), done(0, 0, 0));
}

#[test]
fn a_file_that_is_not_a_buffer_is_reported() {
    let place = Place::new();
    fs::write(
        place.path("text"),
        "not a database at all, but long enough to be taken for one",
    )
    .unwrap();
    Connection::open(place.path("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE users (id INTEGER)")
        .unwrap();
    for name in ["text", "other.db"] {
        let error = spillring::operate::import(place.path(name), place.spill()).unwrap_err();
        assert!(matches!(error, ImportError::NoBuffer { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = spillring::operate::import(place.path("missing"), place.spill()).unwrap_err();
    assert!(
        error.to_string().contains("cannot open the event buffer"),
        "{error}"
    );
    assert!(!place.path("missing").exists());
    assert!(!place.spill().exists());
    let mut config = config(&place.spill());
    config.import = Some(place.path("text"));
    let error = spillring::start::<AuditEntry>(config, FakeSink::new(true).sink()).unwrap_err();
    assert!(matches!(error, StartError::Import(_)), "{error}");
}
