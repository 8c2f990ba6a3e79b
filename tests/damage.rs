//! A spill that was damaged between two starts never stops the publisher: what can be read is delivered, in order and
//! once; what cannot is counted and told; and what is published afterwards goes on. One table of cases drives it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

#[path = "support/damages.rs"]
mod damages;

#[path = "support/core.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use spillring::{Drainer, LossReason};

use damages::{
    CASES, Case, ENTRIES, Ended, Fate, LOST_RUNS, MENDED, PAGE, Survives, case, database,
    end_without_sink, folders, length, overwrite, publish, spilled, sql, text, texts,
};
use support::bench::{Bench, Note, assert_told, end, told, until_delivered, until_spilled};
use support::sinks::Mode;

#[test]
fn whatever_is_damaged_the_publisher_goes_on_and_tells_what_is_missing() {
    for case in CASES.iter().chain(&MENDED) {
        let bench = spilled(case.ended);
        (case.damage)(&database(&bench));
        assert_goes_on(&bench, case);
    }
}

fn assert_goes_on(bench: &Bench, case: &Case) {
    bench.remote.set(Mode::Up);
    assert_goes_on_with(bench, bench.start(), case);
}

fn assert_goes_on_with(bench: &Bench, drainer: Drainer<Note>, case: &Case) {
    let context = case.name;
    publish(&drainer, ENTRIES..ENTRIES + 10);
    until_delivered(&drainer);
    let stats = end(drainer, 10);
    let stored = bench.remote.stored();
    assert_told(&stored);
    let mut found = bench.remote.texts();
    let afterwards = found.split_off(found.len() - 10);
    assert_eq!(afterwards, texts(ENTRIES..ENTRIES + 10), "{context}");
    // In order and once: a selection of what was published.
    let mut all = (0..ENTRIES).map(text);
    assert!(
        found
            .iter()
            .all(|text| all.any(|expected| expected == *text)),
        "{context}: doubled, or out of order"
    );
    let missing = ENTRIES - found.len();
    assert_eq!(stats.discarded.corrupt, missing as u64, "{context}");
    assert_eq!(
        told(&stored, LossReason::Corrupt),
        missing as u64,
        "{context}"
    );
    match case.survives {
        Survives::All => assert_eq!(missing, 0, "{context}"),
        Survives::None => assert_eq!(missing, ENTRIES, "{context}"),
        Survives::AtMost(most) => assert!(found.len() <= most, "{context}: {}", found.len()),
        Survives::Ends(oldest, newest) => {
            assert!(missing > 0, "{context}");
            assert_eq!(found[..oldest], texts(0..oldest), "{context}");
            assert_eq!(
                found[found.len() - newest..],
                texts(ENTRIES - newest..ENTRIES),
                "{context}"
            );
        }
    }
    let quarantined = folders(&bench.spill(), "db.quarantined.");
    let expected = usize::from(case.fate == Fate::Quarantined);
    assert_eq!(quarantined.len(), expected, "{context}: {quarantined:?}");
    assert_eq!(
        folders(&bench.spill(), "db.salvaging."),
        Vec::<PathBuf>::new(),
        "{context}"
    );
}

/// What cannot be told by an entry of its own run is told by the next one that is published.
#[test]
fn entries_whose_run_is_lost_are_told_afterwards() {
    for case in &LOST_RUNS {
        let bench = spilled(case.ended);
        (case.damage)(&database(&bench));
        bench.remote.set(Mode::Up);
        let drainer = bench.start();
        until_delivered(&drainer);
        assert_goes_on_with(&bench, drainer, case);
    }
}

/// A row whose content rots is one entry lost, and no reason to set anything aside.
#[test]
fn a_row_that_rots_costs_itself_only() {
    let bench = spilled(Ended::Clean);
    sql(
        &database(&bench),
        "UPDATE rows SET bytes = zeroblob(9) WHERE key % 1000 = 7",
    );
    let case = case(
        "rotten rows",
        Ended::Clean,
        |_| {},
        Survives::AtMost(ENTRIES - 1),
        Fate::Used,
    );
    assert_goes_on(&bench, &case);
}

/// The last entry of a run has none behind it that could tell of it.
#[test]
fn the_last_row_of_a_run_that_rots_is_told_by_the_next_run() {
    let bench = spilled(Ended::Killed);
    sql(
        &database(&bench),
        "UPDATE rows SET bytes = zeroblob(9) WHERE key = (SELECT max(key) FROM rows)",
    );
    assert_eq!(told_afterwards(&bench, "the last row"), 1);
}

/// Whatever is missing is told by the first entry that is published once the backlog has gone. Answers how many are.
fn told_afterwards(bench: &Bench, context: &str) -> u64 {
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    until_delivered(&drainer);
    let missing = ENTRIES - bench.remote.texts().len();
    publish(&drainer, ENTRIES..=ENTRIES);
    until_delivered(&drainer);
    let stats = end(drainer, 1);
    assert_eq!(stats.discarded.corrupt, missing as u64, "{context}");
    assert_told(&bench.remote.stored());
    let told = told(&bench.remote.stored(), LossReason::Corrupt);
    assert_eq!(told, missing as u64, "{context}");
    told
}

/// What only a start reads: the runs, and where the rows of an earlier run end.
#[test]
fn damage_that_only_a_start_meets_does_not_stop_it() {
    for pages in [
        "SELECT rootpage FROM sqlite_schema WHERE name = 'runs'",
        "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'runs' AND type = 'index'",
    ] {
        let bench = spilled(Ended::Clean);
        let page: u32 = Connection::open(database(&bench))
            .unwrap()
            .query_row(pages, (), |row| row.get(0))
            .unwrap();
        overwrite(&database(&bench), u64::from(page - 1) * PAGE, PAGE);
        told_afterwards(&bench, pages);
        assert_eq!(folders(&bench.spill(), "db.quarantined.").len(), 1);
    }
}

/// Without the mark nobody knows what has vanished, but what is there comes out.
#[test]
fn a_mark_that_is_gone_or_damaged_is_done_without() {
    let damages: [fn(&Path); 3] = [
        |mark| fs::remove_file(mark).unwrap(),
        |mark| fs::write(mark, "spillmrk").unwrap(),
        |mark| overwrite(mark, 0, length(mark)),
    ];
    for damage in damages {
        for ended in [Ended::Clean, Ended::Killed] {
            let bench = spilled(ended);
            damage(&bench.spill().join("mark"));
            assert_goes_on(
                &bench,
                &case("mark", ended, |_| {}, Survives::All, Fate::Used),
            );
        }
    }
}

/// The same with a database that has to be set aside: its rows are found all the same, and counted as inherited.
#[test]
fn what_is_salvaged_without_a_mark_is_accounted_for() {
    let bench = spilled(Ended::Clean);
    fs::remove_file(bench.spill().join("mark")).unwrap();
    sql(&database(&bench), "PRAGMA user_version = 99");
    let case = case(
        "no mark",
        Ended::Clean,
        |_| {},
        Survives::All,
        Fate::Quarantined,
    );
    assert_goes_on(&bench, &case);
}

/// A database that is older than the sink: what it still holds has been delivered, and is not delivered again, whether
/// the sink says so or not.
#[test]
fn rows_that_come_back_from_the_past_are_not_delivered_again() {
    for cursor in [support::sinks::Cursor::Kept, support::sinks::Cursor::None] {
        let bench = Bench::with_cursor(cursor);
        bench.remote.set(Mode::Down);
        let drainer = bench.start();
        publish(&drainer, 0..ENTRIES);
        until_spilled(&drainer);
        let old = bench.dir.path().join("old");
        end_without_sink(drainer);
        fs::copy(database(&bench), &old).unwrap();
        bench.remote.set(Mode::Up);
        end(bench.start(), 0);
        assert_eq!(bench.remote.texts().len(), ENTRIES);
        fs::copy(&old, database(&bench)).unwrap();
        let drainer = bench.start();
        publish(&drainer, ENTRIES..ENTRIES + 10);
        let stats = end(drainer, 10);
        assert_eq!(stats.discarded.corrupt, 0);
        assert_eq!(bench.remote.texts(), texts(0..ENTRIES + 10));
    }
}

#[test]
fn the_number_of_quarantines_is_bounded() {
    let bench = Bench::new();
    for round in 0..6 {
        let drainer = bench.start();
        publish(&drainer, round..=round);
        end(drainer, 1);
        overwrite(&database(&bench), 0, 100);
    }
    end(bench.start(), 0);
    assert_eq!(folders(&bench.spill(), "db.quarantined.").len(), 3);
    assert_eq!(bench.remote.texts(), texts(0..6));
}

/// An id that cannot be read any more is replaced; what is in the spill comes out under the new one.
#[test]
fn a_damaged_identity_is_made_anew() {
    let bench = spilled(Ended::Clean);
    fs::write(bench.spill().join("identity"), "\0\0\0\0").unwrap();
    assert_goes_on(
        &bench,
        &case("identity", Ended::Clean, |_| {}, Survives::All, Fate::Used),
    );
}

/// Errors that pass, or that somebody can mend, are told at the start, and nothing is set aside.
#[test]
fn what_passes_is_no_damage() {
    let bench = spilled(Ended::Clean);
    let other = Connection::open(database(&bench)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let busy = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    assert!(busy.unwrap_err().to_string().contains("locked"));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_goes_on(
        &bench,
        &case("busy", Ended::Clean, |_| {}, Survives::All, Fate::Used),
    );
}
