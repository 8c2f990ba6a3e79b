//! A spill that was damaged between two starts never stops the publisher: what can be read is delivered, in order and
//! once; what cannot is counted and announced; and what is published afterwards goes on. One table of cases drives it.

use std::fs;
use std::path::Path;
use std::thread;

use rusqlite::Connection;
use spillring::Drainer;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, Note, announced, assert_announced, end, eventually, until_delivered, until_spilled,
};
use test_support::damages::{
    CASES, Case, ENTRIES, Ended, Fate, LOST_RUNS, Survives, case, damaged, end_without_sink, index,
    length, overwrite, publish, segment, segments, set_aside, spilled, sql, text, texts,
};
use test_support::sinks::{Cursor, Mode};

/// What is damaged is tried again for ten seconds: all cases at once.
#[test]
fn whatever_is_damaged_the_publisher_goes_on_and_reports_what_is_missing() {
    let in_a_thread = |case: &'static Case| {
        thread::Builder::new()
            .name(case.name.to_owned())
            .spawn(move || {
                let bench = spilled(case.ended);
                (case.damage)(&segment(&bench));
                assert_goes_on(&bench, case);
            })
            .unwrap()
    };
    let threads: Vec<_> = CASES.iter().map(in_a_thread).collect();
    let failed: Vec<_> = threads
        .into_iter()
        .zip(&CASES)
        .filter_map(|(thread, case)| thread.join().is_err().then_some(case.name))
        .collect();
    assert_eq!(failed, [""; 0]);
}

fn assert_goes_on(bench: &Bench, case: &Case) {
    bench.remote.set(Mode::Up);
    assert_goes_on_with(bench, bench.start(), case);
}

/// What has no entry of its own run after it is announced by the next entry that is published.
fn assert_goes_on_with(bench: &Bench, drainer: Drainer<Note>, case: &Case) {
    let context = case.name;
    publish(&drainer, ENTRIES..ENTRIES + 10);
    until_delivered(&drainer);
    publish(&drainer, [ENTRIES + 10]);
    until_delivered(&drainer);
    let stats = end(drainer, 11);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let mut found = bench.remote.texts();
    let afterwards = found.split_off(found.len() - 11);
    assert_eq!(afterwards, texts(ENTRIES..ENTRIES + 11), "{context}");
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
        announced(&stored, LossReason::Corrupt),
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
    let kept = damaged(&bench.spill());
    let expected = usize::from(case.fate == Fate::Kept);
    assert_eq!(kept.len(), expected, "{context}: {kept:?}");
    let aside = set_aside(&bench.spill());
    let expected = usize::from(case.fate == Fate::IndexSetAside);
    assert_eq!(aside.len(), expected, "{context}: {aside:?}");
}

/// What cannot be announced by an entry of its own run is announced by the next one that is published.
#[test]
fn entries_whose_run_is_lost_are_reported_afterwards() {
    for case in &LOST_RUNS {
        let bench = spilled(case.ended);
        (case.damage)(&segment(&bench));
        bench.remote.set(Mode::Up);
        let drainer = bench.start();
        until_delivered(&drainer);
        assert_goes_on_with(&bench, drainer, case);
    }
}

/// A row whose content rots is one entry lost.
#[test]
fn a_corrupt_row_loses_only_its_own_entry() {
    let bench = spilled(Ended::Clean);
    sql(
        &segment(&bench),
        "UPDATE rows SET bytes = zeroblob(9) WHERE key % 1000 = 7",
    );
    let case = case(
        "rotten rows",
        Ended::Clean,
        |_| {},
        Survives::AtMost(ENTRIES - 1),
        Fate::Kept,
    );
    assert_goes_on(&bench, &case);
}

/// The last entry of a run has none behind it that could tell of it.
#[test]
fn the_last_row_of_a_run_that_rots_is_reported_by_the_next_run() {
    let bench = spilled(Ended::Killed);
    sql(
        &segment(&bench),
        "UPDATE rows SET bytes = zeroblob(9) WHERE key = (SELECT max(key) FROM rows)",
    );
    assert_eq!(reported_afterwards(&bench, "the last row"), 1);
}

/// Whatever is missing is announced by the first entry that is published once the backlog has gone. Answers how many
/// are.
fn reported_afterwards(bench: &Bench, context: &str) -> u64 {
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    until_delivered(&drainer);
    let missing = ENTRIES - bench.remote.texts().len();
    publish(&drainer, ENTRIES..=ENTRIES);
    until_delivered(&drainer);
    let stats = end(drainer, 1);
    assert_eq!(stats.discarded.corrupt, missing as u64, "{context}");
    assert_announced(&bench.remote.stored());
    let announced = announced(&bench.remote.stored(), LossReason::Corrupt);
    assert_eq!(announced, missing as u64, "{context}");
    announced
}

/// What only a start reads: the runs. The segments know them as well.
#[test]
fn runs_that_are_damaged_in_the_index_are_read_from_the_segments() {
    for name in ["runs", "sqlite_autoindex_runs_1"] {
        let bench = spilled(Ended::Clean);
        let index = index(&segment(&bench));
        overwrite(
            &index,
            test_support::damages::root(&index, name),
            test_support::damages::PAGE,
        );
        assert_eq!(reported_afterwards(&bench, name), 0);
    }
}

/// Neither segments nor index depend on it: what is there comes out, and what has vanished from the end is not known.
#[test]
fn a_watermark_that_is_gone_or_damaged_is_done_without() {
    let damages: [fn(&Path); 3] = [
        |watermark| fs::remove_file(watermark).unwrap(),
        |watermark| fs::write(watermark, "spillwm1").unwrap(),
        |watermark| overwrite(watermark, 0, length(watermark)),
    ];
    for damage in damages {
        for ended in [Ended::Clean, Ended::Killed] {
            let bench = spilled(ended);
            damage(&bench.spill().join("watermark"));
            assert_goes_on(
                &bench,
                &case("watermark", ended, |_| {}, Survives::All, Fate::Used),
            );
        }
    }
}

/// The same with an index that has to be set aside: the rows are found all the same, and counted as inherited.
#[test]
fn entries_without_watermark_and_index_are_accounted_for() {
    let bench = spilled(Ended::Clean);
    fs::remove_file(bench.spill().join("watermark")).unwrap();
    overwrite(&index(&segment(&bench)), 0, 100);
    let case = case(
        "neither watermark nor index",
        Ended::Clean,
        |_| {},
        Survives::All,
        Fate::IndexSetAside,
    );
    assert_goes_on(&bench, &case);
}

/// A segment that is older than the sink: what it holds has been delivered, and is not delivered again, whether the
/// sink says so or not.
#[test]
fn rows_that_come_back_from_the_past_are_not_delivered_again() {
    for cursor in [Cursor::Kept, Cursor::None] {
        let bench = Bench::with_cursor(cursor);
        bench.remote.set(Mode::Down);
        let drainer = bench.start();
        publish(&drainer, 0..ENTRIES);
        until_spilled(&drainer);
        let old = bench.dir.path().join("old");
        end_without_sink(drainer);
        let segment = segment(&bench);
        fs::copy(&segment, &old).unwrap();
        bench.remote.set(Mode::Up);
        end(bench.start(), 0);
        assert_eq!(bench.remote.texts().len(), ENTRIES);
        fs::copy(&old, &segment).unwrap();
        let drainer = bench.start();
        publish(&drainer, ENTRIES..ENTRIES + 10);
        let stats = end(drainer, 10);
        assert_eq!(stats.discarded.corrupt, 0);
        assert_eq!(bench.remote.texts(), texts(0..ENTRIES + 10));
        assert_eq!(
            segments(&bench.spill()),
            [""; 0].map(std::path::PathBuf::from)
        );
    }
}

/// Each round one entry is lost, and its segment kept.
#[test]
fn the_number_of_damaged_segments_that_are_kept_is_bounded() {
    let bench = Bench::down();
    for round in 0..6 {
        let drainer = bench.start();
        publish(&drainer, [2 * round, 2 * round + 1]);
        until_spilled(&drainer);
        test_support::bench::end_within(drainer, std::time::Duration::ZERO, 2);
        let newest = segments(&bench.spill()).pop().unwrap();
        let first = "UPDATE rows SET bytes = zeroblob(9) WHERE key = (SELECT min(key) FROM rows WHERE kind = 0)";
        sql(&newest, first);
        bench.remote.set(Mode::Up);
        let drainer = bench.start();
        until_delivered(&drainer);
        assert_eq!(end(drainer, 0).discarded.corrupt, 1);
        bench.remote.set(Mode::Down);
    }
    let kept = damaged(&bench.spill());
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert_eq!(
        bench.remote.texts(),
        texts((0..6).map(|round| 2 * round + 1))
    );
    assert_announced(&bench.remote.stored());
}

/// An id that cannot be read any more is replaced; what is in the spill comes out under the new one.
#[test]
fn a_damaged_identity_is_replaced() {
    let bench = spilled(Ended::Clean);
    fs::write(bench.spill().join("identity"), "\0\0\0\0").unwrap();
    assert_goes_on(
        &bench,
        &case("identity", Ended::Clean, |_| {}, Survives::All, Fate::Used),
    );
}

/// Somebody else has the index open for a while: that is no damage, and keeps nobody from starting or delivering.
#[test]
fn a_locked_index_is_not_damage() {
    let bench = spilled(Ended::Clean);
    let other = Connection::open(index(&segment(&bench))).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    eventually("the backlog is delivered", || {
        bench.remote.texts().len() == ENTRIES
    });
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_goes_on_with(
        &bench,
        drainer,
        &case("busy", Ended::Clean, |_| {}, Survives::All, Fate::Used),
    );
}
