//! Somebody else is at the output: it is rotated, truncated, removed, replaced. No position may be forgotten, no
//! foreign line destroyed, no entry written where nobody looks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use spillring::JsonLinesSink;
use spillring::event::{Batch, LossReason};
use spillring::sink::conformance::Draft;

use super::bench::{Bench, append, lines, position, reported_in, store, three};

#[test]
fn foreign_lines_stay_and_entries_are_appended_after_them() {
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

/// Whoever verifies a rotated output needs what its ledger told: numbers, losses, and how the run began. Each of two
/// rotations within a second keeps its own.
#[test]
fn the_ledger_of_a_rotated_output_is_kept() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let mut told = Vec::new();
    for rotation in 0..2 {
        draft.entry("{}").lose(2, LossReason::QueueFull).entry("{}");
        store(&mut sink, &draft.batch());
        told.push(fs::read(bench.ledger()).unwrap());
        let rotated = bench.dir.path().join(format!("audit.jsonl.{rotation}"));
        fs::rename(bench.output(), rotated).unwrap();
    }
    store(&mut sink, &draft.entry("{}").batch());
    let kept = bench.kept();
    let texts: Vec<Vec<u8>> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(texts, told);
    let opened = reported_in(&kept[0]);
    let range = opened.last().unwrap();
    assert!(range["audit_run"].is_string(), "{range}");
    assert_eq!(range["losses"][0]["reason"], "queue_full");
}

/// A ledger that holds no numbers is of no use.
#[test]
fn a_ledger_that_reported_nothing_is_not_kept() {
    let bench = Bench::new();
    let mut sink = bench.sink();
    position(&mut sink, Draft::new().publisher()).unwrap();
    for _ in 0..2 {
        fs::write(bench.output(), "foreign\n").unwrap();
        position(&mut sink, Draft::new().publisher()).unwrap();
        fs::remove_file(bench.output()).unwrap();
    }
    assert_eq!(bench.kept().len(), 0);
}

/// The story: an output was rotated, the sink started with nothing to deliver, and the rotation was undone. Its ledger
/// then knows of no byte, and the output has many: they are acknowledged entries, and stay. However they came back.
#[test]
fn a_restored_output_is_not_cut() {
    type Restore = fn(&Path, &Path);
    let by_renaming: Restore = |rotated, output| fs::rename(rotated, output).unwrap();
    let into_the_new_file: Restore = |rotated, output| {
        fs::copy(rotated, output).unwrap();
    };
    for restore in [by_renaming, into_the_new_file] {
        for foreign in ["", "foreign\n"] {
            let bench = Bench::new();
            let rotated = bench.dir.path().join("audit.jsonl.1");
            let mut draft = Draft::new();
            let (first, second) = (three(&mut draft), three(&mut draft));
            store(&mut bench.sink(), &first);
            fs::rename(bench.output(), &rotated).unwrap();
            fs::write(bench.output(), foreign).unwrap();
            position(&mut bench.sink(), draft.publisher()).unwrap();
            restore(&rotated, &bench.output());
            let mut sink = bench.sink();
            assert_eq!(
                position(&mut sink, draft.publisher()),
                Ok(Some(first.through()))
            );
            store(&mut sink, &second);
            assert_eq!(bench.text(), lines(&[&first, &second]));
        }
    }
}

/// The same after a first write that was torn: it was torn in another file than the one that is there now, even if
/// that has got the number of the one before.
#[test]
fn a_torn_first_write_is_not_cut_off_another_file() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut bench.sink(), &first);
    let ledger = fs::read_to_string(bench.ledger()).unwrap();
    let begun: Vec<&str> = ledger.split_inclusive('\n').take(2).collect();
    assert!(begun[1].contains("\"begun\""), "{ledger}");
    fs::write(bench.ledger(), begun.concat()).unwrap();
    let born = || fs::metadata(bench.output()).unwrap().created().unwrap();
    let born_before = born();
    // The clock of the file system moves in steps of some milliseconds.
    while born() == born_before {
        fs::remove_file(bench.output()).unwrap();
        fs::write(bench.output(), lines(&[&first])).unwrap();
    }
    store(&mut bench.sink(), &second);
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

/// And after it was cut off: nothing is being written from then on, so what is copied into the file is not torn.
#[test]
fn a_torn_first_write_is_cut_off_once() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let first = three(&mut draft);
    store(&mut bench.sink(), &first);
    let ledger = fs::read_to_string(bench.ledger()).unwrap();
    let begun: Vec<&str> = ledger.split_inclusive('\n').take(2).collect();
    fs::write(bench.ledger(), begun.concat()).unwrap();
    assert_eq!(position(&mut bench.sink(), draft.publisher()), Ok(None));
    assert_eq!(bench.text(), "");
    fs::write(bench.output(), "restored\n").unwrap();
    store(&mut bench.sink(), &first);
    assert_eq!(bench.text(), "restored\n".to_owned() + &lines(&[&first]));
}

/// What was stored by one name must not look torn by another.
#[test]
fn a_linked_output_has_one_ledger() {
    let bench = Bench::new();
    let link = bench.dir.path().join("link.jsonl");
    symlink(bench.output(), &link).unwrap();
    let mut draft = Draft::new();
    let batches: Vec<Batch> = (0..3).map(|_| three(&mut draft)).collect();
    store(&mut bench.sink(), &batches[0]);
    store(&mut JsonLinesSink::new(&link), &batches[1]);
    store(&mut bench.sink(), &batches[2]);
    assert_eq!(bench.text(), lines(&batches.iter().collect::<Vec<_>>()));
    assert!(!bench.dir.path().join("link.jsonl.ledger").exists());
}

/// The same while the sink is down; and truncated while it runs, as with logrotate's `copytruncate`, which is safe for
/// the position only.
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
fn a_removed_output_is_created_again() {
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
