//! What can befall a spill between two starts: one table, for whoever has to cope with it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "compiled into every test that names it")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use spillring::Drainer;

use crate::support;
use crate::support::bench::{Bench, Note, name, until_spilled};

/// Entries in the spill when it is damaged: some hundred pages of it, and more than a step of salvaging carries.
pub const ENTRIES: usize = 4_000;
/// Bytes of a page.
pub const PAGE: u64 = 16_384;

/// How the run ended before the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All is in the database.
    Clean,
    /// Much is in the log.
    Killed,
}

/// What comes out in spite of the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    All,
    /// From both ends: at least so many of the oldest and of the newest.
    Ends(usize, usize),
    /// So many at the most.
    AtMost(usize),
    None,
}

/// What becomes of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Used,
    Quarantined,
}

pub struct Case {
    pub name: &'static str,
    pub ended: Ended,
    pub damage: fn(&Path),
    pub survives: Survives,
    pub fate: Fate,
}

pub const CASES: [Case; 21] = [
    case(
        "nothing, after a clean end",
        Ended::Clean,
        |_| {},
        Survives::All,
        Fate::Used,
    ),
    case(
        "nothing, after a kill",
        Ended::Killed,
        |_| {},
        Survives::All,
        Fate::Used,
    ),
    case(
        "a page in the middle damaged",
        Ended::Clean,
        |db| overwrite(db, middle(db), PAGE),
        Survives::Ends(100, 100),
        Fate::Quarantined,
    ),
    case(
        "two pages damaged",
        Ended::Clean,
        |db| {
            overwrite(db, middle(db) - 3 * PAGE, PAGE);
            overwrite(db, middle(db) + 3 * PAGE, PAGE);
        },
        Survives::Ends(100, 100),
        Fate::Quarantined,
    ),
    case(
        "cut in half",
        Ended::Clean,
        |db| cut(db, middle(db)),
        Survives::AtMost(ENTRIES - 100),
        Fate::Quarantined,
    ),
    case(
        "cut in the middle of a page",
        Ended::Clean,
        |db| cut(db, middle(db) + 1_000),
        Survives::AtMost(ENTRIES - 100),
        Fate::Quarantined,
    ),
    case(
        "zero length",
        Ended::Clean,
        |db| cut(db, 0),
        Survives::None,
        Fate::Used,
    ),
    case(
        "deleted",
        Ended::Clean,
        |db| fs::remove_file(db).unwrap(),
        Survives::None,
        Fate::Used,
    ),
    case(
        "deleted with its folder",
        Ended::Clean,
        |db| fs::remove_dir_all(db.parent().unwrap()).unwrap(),
        Survives::None,
        Fate::Used,
    ),
    case(
        "deleted beside its log",
        Ended::Killed,
        |db| fs::remove_file(db).unwrap(),
        Survives::AtMost(ENTRIES),
        Fate::Used,
    ),
    case(
        "log deleted",
        Ended::Killed,
        |db| fs::remove_file(log(db)).unwrap(),
        Survives::None,
        Fate::Used,
    ),
    case(
        "log cut in half",
        Ended::Killed,
        |db| cut(&log(db), length(&log(db)) / 2),
        Survives::AtMost(ENTRIES - 100),
        Fate::Used,
    ),
    case(
        "a bit flipped in the log",
        Ended::Killed,
        |db| {
            let log = log(db);
            overwrite(&log, length(&log) / 2, 1);
        },
        Survives::AtMost(ENTRIES - 100),
        Fate::Used,
    ),
    case(
        "text instead of a database",
        Ended::Clean,
        |db| {
            fs::write(
                db,
                "not a database, but long enough to be taken for one: ".repeat(400),
            )
            .unwrap();
        },
        Survives::None,
        Fate::Quarantined,
    ),
    case(
        "another program's database",
        Ended::Clean,
        |db| {
            fs::remove_file(db).unwrap();
            sql(db, "CREATE TABLE mine (x); INSERT INTO mine VALUES (1);");
        },
        Survives::None,
        Fate::Quarantined,
    ),
    case(
        "newer schema",
        Ended::Clean,
        |db| sql(db, "PRAGMA user_version = 99"),
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "totals gone",
        Ended::Killed,
        |db| sql(db, "DELETE FROM meta"),
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "older schema",
        Ended::Clean,
        |db| {
            sql(
                db,
                "ALTER TABLE rows DROP COLUMN requeued; ALTER TABLE dead_letters DROP COLUMN requeued; \
                 PRAGMA user_version = 1",
            );
        },
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "runs damaged",
        Ended::Clean,
        |db| overwrite(db, root(db, "runs"), PAGE),
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "index of the runs damaged",
        Ended::Clean,
        |db| overwrite(db, root(db, "sqlite_autoindex_runs_1"), PAGE),
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "totals damaged",
        Ended::Clean,
        |db| overwrite(db, root(db, "meta"), PAGE),
        Survives::All,
        Fate::Quarantined,
    ),
];

/// What a start mends before it reads, which one who only looks does not.
pub const MENDED: [Case; 2] = [
    case(
        "bad header",
        Ended::Clean,
        |db| overwrite(db, 0, 100),
        Survives::All,
        Fate::Quarantined,
    ),
    case(
        "first page damaged",
        Ended::Clean,
        |db| overwrite(db, 100, PAGE - 100),
        Survives::All,
        Fate::Quarantined,
    ),
];

/// Without its run nobody can say which entry a row is.
pub const LOST_RUNS: [Case; 1] = [case(
    "a run that is none",
    Ended::Clean,
    |db| sql(db, "UPDATE runs SET id = x'00'"),
    Survives::None,
    Fate::Quarantined,
)];

pub const fn case(
    name: &'static str,
    ended: Ended,
    damage: fn(&Path),
    survives: Survives,
    fate: Fate,
) -> Case {
    Case {
        name,
        ended,
        damage,
        survives,
        fate,
    }
}

/// A directory with a backlog that nobody uses.
pub fn spilled(ended: Ended) -> Bench {
    let mut bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer, 0..ENTRIES);
    until_spilled(&drainer);
    match ended {
        Ended::Clean => {
            end_without_sink(drainer);
        }
        Ended::Killed => bench.kill(drainer),
    }
    bench
}

/// Long enough for some hundred pages.
pub fn text(number: usize) -> String {
    format!("{} {}", name(number), "x".repeat(300))
}

pub fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

pub fn publish(drainer: &Drainer<Note>, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        drainer.publisher().publish(Note::new(text(number)));
    }
}

pub fn end_without_sink(drainer: Drainer<Note>) {
    support::bench::end_within(drainer, std::time::Duration::ZERO, ENTRIES as u64);
}

pub fn database(bench: &Bench) -> PathBuf {
    bench.spill().join("db/spill.sqlite3")
}

pub fn log(database: &Path) -> PathBuf {
    database.with_file_name("spill.sqlite3-wal")
}

pub fn length(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// Where a page in the middle begins.
pub fn middle(database: &Path) -> u64 {
    length(database) / PAGE / 2 * PAGE
}

pub fn overwrite(file: &Path, offset: u64, count: u64) {
    let mut bytes = vec![0; usize::try_from(count).unwrap()];
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    file.read_exact_at(&mut bytes, offset).unwrap();
    for byte in &mut bytes {
        *byte = !*byte;
    }
    file.write_all_at(&bytes, offset).unwrap();
}

pub fn cut(file: &Path, length: u64) {
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(length)
        .unwrap();
}

pub fn sql(database: &Path, sql: &str) {
    Connection::open(database)
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

pub fn folders(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(prefix)
        })
        .collect()
}

/// Where the root of a table or an index begins.
fn root(database: &Path, name: &str) -> u64 {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: u32 = Connection::open(database)
        .unwrap()
        .query_row(sql, [name], |row| row.get(0))
        .unwrap();
    u64::from(page - 1) * PAGE
}
