//! What can befall a spill between two starts: one table, for whoever has to cope with it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use spillring::Drainer;

use crate::bench::{Bench, Note, name, until_spilled};

/// Entries in the spill when it is damaged: some hundred pages of it, in one segment.
pub const ENTRIES: usize = 4_000;
/// Bytes of a page.
pub const PAGE: u64 = 16_384;

/// How the run ended before the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All is in the segment's database.
    Clean,
    /// It is in the log beside it.
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

/// What becomes of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are used, and unlinked once all is delivered.
    Used,
    /// The segment is kept as damaged.
    Kept,
    /// The index is set aside, and another takes its place.
    IndexSetAside,
}

#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub ended: Ended,
    /// Does it to the segment, beside which the rest is found.
    pub damage: fn(&Path),
    pub survives: Survives,
    pub fate: Fate,
}

pub const CASES: [Case; 23] = [
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
        |segment| overwrite(segment, middle(segment), PAGE),
        Survives::Ends(100, 100),
        Fate::Kept,
    ),
    case(
        "two pages damaged",
        Ended::Clean,
        |segment| {
            overwrite(segment, middle(segment) - 3 * PAGE, PAGE);
            overwrite(segment, middle(segment) + 3 * PAGE, PAGE);
        },
        Survives::Ends(100, 100),
        Fate::Kept,
    ),
    case(
        "cut in half",
        Ended::Clean,
        |segment| cut(segment, middle(segment)),
        Survives::AtMost(ENTRIES - 100),
        Fate::Kept,
    ),
    case(
        "cut in the middle of a page",
        Ended::Clean,
        |segment| cut(segment, middle(segment) + 1_000),
        Survives::AtMost(ENTRIES - 100),
        Fate::Kept,
    ),
    case(
        "zero length",
        Ended::Clean,
        |segment| cut(segment, 0),
        Survives::None,
        Fate::Kept,
    ),
    case(
        "bad header",
        Ended::Clean,
        |segment| overwrite(segment, 0, 100),
        Survives::None,
        Fate::Kept,
    ),
    case(
        "first page damaged",
        Ended::Clean,
        |segment| overwrite(segment, 100, PAGE - 100),
        Survives::None,
        Fate::Kept,
    ),
    case(
        "deleted",
        Ended::Clean,
        |segment| fs::remove_file(segment).unwrap(),
        Survives::None,
        Fate::Used,
    ),
    case(
        "deleted with its folder",
        Ended::Clean,
        |segment| fs::remove_dir_all(segment.parent().unwrap()).unwrap(),
        Survives::None,
        Fate::Used,
    ),
    case(
        "deleted beside its log",
        Ended::Killed,
        |segment| fs::remove_file(segment).unwrap(),
        Survives::AtMost(ENTRIES),
        Fate::Used,
    ),
    case(
        "log deleted",
        Ended::Killed,
        |segment| fs::remove_file(log(segment)).unwrap(),
        Survives::None,
        Fate::Kept,
    ),
    case(
        "log cut in half",
        Ended::Killed,
        |segment| cut(&log(segment), length(&log(segment)) / 2),
        Survives::AtMost(ENTRIES - 100),
        Fate::Kept,
    ),
    case(
        "a bit flipped in the log",
        Ended::Killed,
        |segment| {
            let log = log(segment);
            overwrite(&log, length(&log) / 2, 1);
        },
        Survives::AtMost(ENTRIES - 100),
        Fate::Kept,
    ),
    case(
        "text instead of a database",
        Ended::Clean,
        |segment| {
            fs::write(
                segment,
                "not a database, but long enough to be taken for one: ".repeat(400),
            )
            .unwrap();
        },
        Survives::None,
        Fate::Kept,
    ),
    case(
        "another program's database",
        Ended::Clean,
        |segment| {
            fs::remove_file(segment).unwrap();
            sql(
                segment,
                "CREATE TABLE mine (x); INSERT INTO mine VALUES (1);",
            );
        },
        Survives::None,
        Fate::Kept,
    ),
    case(
        "runs of the segment damaged",
        Ended::Clean,
        |segment| overwrite(segment, root(segment, "runs"), PAGE),
        Survives::All,
        Fate::Used,
    ),
    case(
        "index deleted",
        Ended::Killed,
        |segment| {
            let index = index(segment);
            fs::remove_file(&index).unwrap();
            fs::remove_file(log(&index)).unwrap();
        },
        Survives::All,
        Fate::Used,
    ),
    case(
        "header of the index damaged",
        Ended::Clean,
        |segment| overwrite(&index(segment), 0, 100),
        Survives::All,
        Fate::IndexSetAside,
    ),
    case(
        "index of a newer version",
        Ended::Clean,
        |segment| sql(&index(segment), "PRAGMA user_version = 99"),
        Survives::All,
        Fate::IndexSetAside,
    ),
    case(
        "text instead of an index",
        Ended::Clean,
        |segment| {
            fs::write(
                index(segment),
                "not a database, but long enough to be taken for one: ".repeat(400),
            )
            .unwrap();
        },
        Survives::All,
        Fate::IndexSetAside,
    ),
    case(
        "absent numbers of the index damaged",
        Ended::Clean,
        |segment| {
            let index = index(segment);
            overwrite(&index, root(&index, "absent"), PAGE);
        },
        Survives::All,
        Fate::IndexSetAside,
    ),
];

/// Without its run nobody can say which entry a row is.
pub const LOST_RUNS: [Case; 1] = [case(
    "a run that is none",
    Ended::Clean,
    |segment| {
        sql(segment, "UPDATE runs SET id = x'00'");
        sql(&index(segment), "UPDATE runs SET id = x'00'");
    },
    Survives::None,
    Fate::Kept,
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
    crate::bench::end_within(drainer, std::time::Duration::ZERO, ENTRIES as u64);
}

/// The one segment that there is.
pub fn segment(bench: &Bench) -> PathBuf {
    let segments = segments(&bench.spill());
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// All segments that are read from, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("segments"), |name| name.ends_with(".sqlite3"))
}

/// The segments that lost rows and are kept.
pub fn damaged(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("segments"), |name| name.ends_with(".damaged"))
}

/// The indexes that were set aside.
pub fn set_aside(dir: &Path) -> Vec<PathBuf> {
    files(dir, |name| {
        name.starts_with("index.damaged-") && !name.ends_with("-wal")
    })
}

/// The index beside the folder of the segment.
pub fn index(segment: &Path) -> PathBuf {
    let dir = segment.parent().unwrap().parent().unwrap();
    dir.join("index.sqlite3")
}

pub fn log(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
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

/// The files with such a name, in order; none if there is no such folder.
fn files(folder: &Path, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| wanted(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    found.sort();
    found
}

/// Where the root of a table or an index begins.
pub fn root(database: &Path, name: &str) -> u64 {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: u32 = Connection::open(database)
        .unwrap()
        .query_row(sql, [name], |row| row.get(0))
        .unwrap();
    u64::from(page - 1) * PAGE
}
