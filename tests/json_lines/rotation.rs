//! Somebody else is at the output: it is rotated, truncated, removed, replaced. No position may be forgotten, no
//! foreign line destroyed, no entry written where nobody looks.

use std::fs;

use spillring::conformance::Draft;

use super::bench::{Bench, append, lines, position, store, three};

#[test]
fn foreign_lines_stay_and_entries_go_behind_them() {
    for (foreign, kept) in [
        ("one\ntwo\n", "one\ntwo\n"),
        ("one\nunfinished", "one\nunfinished\n"),
    ] {
        let bench = Bench::new();
        fs::write(bench.output(), foreign).unwrap();
        let mut draft = Draft::new();
        let (first, second) = (three(&mut draft), three(&mut draft));
        store(&mut bench.sink(), &first);
        store(&mut bench.sink(), &second);
        assert_eq!(bench.text(), kept.to_owned() + &lines(&[&first, &second]));
        assert_eq!(bench.told()[1]["kind"], "unaccounted");
        assert_eq!(bench.told()[1]["bytes"], kept.len());
    }
}

/// logrotate's default: the output is renamed, and perhaps created anew, while the sink has it open.
#[test]
fn a_renamed_output_is_left_and_a_new_one_begun() {
    for created in [false, true] {
        let bench = Bench::new();
        let rotated = bench.dir.path().join("audit.jsonl.1");
        let mut draft = Draft::new();
        let mut sink = bench.sink();
        let (first, second, third) = (three(&mut draft), three(&mut draft), three(&mut draft));
        store(&mut sink, &first);
        fs::rename(bench.output(), &rotated).unwrap();
        if created {
            fs::write(bench.output(), "").unwrap();
        }
        store(&mut sink, &second);
        assert_eq!(fs::read_to_string(&rotated).unwrap(), lines(&[&first]));
        assert_eq!(bench.text(), lines(&[&second]));
        drop(sink);
        let mut sink = bench.sink();
        assert_eq!(
            position(&mut sink, draft.publisher()),
            Ok(Some(second.through()))
        );
        store(&mut sink, &third);
        assert_eq!(bench.text(), lines(&[&second, &third]));
        assert_eq!(bench.told()[1]["kind"], "before");
        assert_eq!(bench.told()[1]["last"], first.through().n);
    }
}

/// The same while the sink is down; and logrotate's `copytruncate` while it runs.
#[test]
fn a_truncated_output_keeps_the_position() {
    for running in [false, true] {
        let bench = Bench::new();
        let mut draft = Draft::new();
        let mut sink = bench.sink();
        let (first, second) = (three(&mut draft), three(&mut draft));
        store(&mut sink, &first);
        if !running {
            drop(sink);
            sink = bench.sink();
        }
        fs::write(bench.output(), "").unwrap();
        assert_eq!(
            position(&mut sink, draft.publisher()),
            Ok(Some(first.through()))
        );
        store(&mut sink, &second);
        assert_eq!(bench.text(), lines(&[&second]));
    }
}

#[test]
fn an_output_cut_within_a_line_goes_on_with_a_line_of_its_own() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut bench.sink(), &first);
    let left = bench.text()[..60].to_owned();
    fs::write(bench.output(), &left).unwrap();
    store(&mut bench.sink(), &second);
    assert_eq!(bench.text(), left + "\n" + &lines(&[&second]));
}

/// A longer output looks torn, but if it is another file altogether, nothing may be cut off it.
#[test]
fn another_file_in_the_place_of_the_output_is_not_cut() {
    for running in [false, true] {
        let bench = Bench::new();
        let mut draft = Draft::new();
        let mut sink = bench.sink();
        let (first, second) = (three(&mut draft), three(&mut draft));
        store(&mut sink, &first);
        if !running {
            drop(sink);
            sink = bench.sink();
        }
        let foreign = "foreign\n".repeat(100);
        fs::remove_file(bench.output()).unwrap();
        fs::write(bench.output(), &foreign).unwrap();
        store(&mut sink, &second);
        assert_eq!(bench.text(), foreign + &lines(&[&second]));
        assert_eq!(
            position(&mut sink, draft.publisher()),
            Ok(Some(second.through()))
        );
    }
}

#[test]
fn a_removed_output_is_created_anew() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    fs::remove_file(bench.output()).unwrap();
    store(&mut sink, &second);
    assert_eq!(bench.text(), lines(&[&second]));
}

#[test]
fn a_ledger_removed_from_a_running_sink_is_written_again() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    fs::remove_file(bench.ledger()).unwrap();
    store(&mut sink, &second);
    drop(sink);
    assert_eq!(
        position(&mut bench.sink(), draft.publisher()),
        Ok(Some(second.through()))
    );
    assert_eq!(bench.text(), lines(&[&first, &second]));
    assert_eq!(bench.told()[1]["entries"], 6);
}

/// Somebody restores the ledger from a copy: lines written into the old file would be seen by nobody.
#[test]
fn a_ledger_replaced_under_a_running_sink_is_the_one_that_counts() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    let copy = bench.dir.path().join("copy");
    fs::copy(bench.ledger(), &copy).unwrap();
    fs::rename(&copy, bench.ledger()).unwrap();
    store(&mut sink, &second);
    drop(sink);
    assert_eq!(
        position(&mut bench.sink(), draft.publisher()),
        Ok(Some(second.through()))
    );
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

#[test]
fn a_ledger_removed_meanwhile_takes_the_position_along_but_no_entry() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut bench.sink(), &first);
    fs::remove_file(bench.ledger()).unwrap();
    let mut sink = bench.sink();
    assert_eq!(position(&mut sink, draft.publisher()), Ok(None));
    store(&mut sink, &second);
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

/// What others append to a running output is no entry: it is cut off as a torn write would be.
#[test]
fn an_output_is_cut_back_to_what_was_acknowledged_while_the_sink_runs() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    append(&bench.output(), b"half an ent");
    store(&mut sink, &second);
    assert_eq!(bench.text(), lines(&[&first, &second]));
}
