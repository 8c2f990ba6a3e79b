//! A verifier relies on an output's ledger: it must identify each line by run and number, and it must stay small.

use std::fs;

use serde_json::{Value, json};
use spillring::config::SpillDurability;
use spillring::event::{Batch, LossReason, Position, RunEnd};
use spillring::sink::conformance::Draft;
use test_support::logged::logged;
use tracing::Level;

use super::bench::{Bench, lines, position, store, three};

/// More than what makes a running sink write its ledger anew.
const LEDGER_BYTES_MAX: u64 = 300 << 10;

#[test]
fn runs_losses_and_bytes_are_reported_where_they_stand() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    draft
        .entry("1")
        .lose(2, LossReason::QueueFull)
        .lose(1, LossReason::SpillFull);
    store(&mut sink, &draft.entry("5").batch());
    store(&mut sink, &draft.lose(1, LossReason::QueueFull).batch());
    let first_run = draft.batch().through().run;
    draft.entry("7").restart(RunEnd::Killed).entry("1");
    let batch = draft.batch();
    store(&mut sink, &batch);
    drop(sink);
    let opened = batch.records()[1].run().to_string();
    position(&mut bench.sink(), draft.publisher()).unwrap();

    let publisher = draft.publisher();
    assert_eq!(bench.text(), "1\n5\n7\n1\n");
    let told = bench.told();
    assert_eq!(told[0], json!({"kind": "ledger", "version": 1}));
    assert_eq!(
        told[1],
        json!({
            "kind": "stored", "publisher": publisher, "run": first_run,
            "audit_run": format!("publisher={publisher}"),
            "start": 0, "end": 6, "entries": 3, "first": 1, "last": 7,
            "losses": [
                {"first": 2, "count": 2, "reason": "queue_full"},
                {"first": 4, "count": 1, "reason": "spill_full"},
                {"first": 6, "count": 1, "reason": "queue_full"},
            ],
            "crc32": crc32fast::hash(b"1\n5\n7\n"),
        })
    );
    assert_eq!(
        told[2],
        json!({
            "kind": "stored", "publisher": publisher, "run": batch.through().run, "audit_run": opened,
            "start": 6, "end": 8, "entries": 1, "first": 1, "last": 1, "crc32": crc32fast::hash(b"1\n"),
        })
    );
    assert_eq!(told.len(), 3);
}

/// Losses after the last entry have no reason yet; a reader of the ledger sees them all the same.
#[test]
fn trailing_losses_are_reported_at_once() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    store(
        &mut sink,
        &draft.entry("1").lose(4, LossReason::QueueFull).batch(),
    );
    drop(sink);
    position(&mut bench.sink(), draft.publisher()).unwrap();
    let told = &bench.told()[1];
    assert_eq!(told["last"], 5);
    assert_eq!(told["losses"], json!([{"first": 2, "count": 4}]));
}

/// Requeued dead letters are recorded with their old numbers, neighbours as one stretch, even after the ledger is
/// rewritten with two deliveries as one range.
#[test]
fn requeued_entries_are_reported_with_their_old_numbers() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let lost = draft.lose(9, LossReason::DeadLettered).batch().through();
    let was = |n| Position { n, ..lost };
    draft.restart(RunEnd::Clean);
    draft.requeued("1", was(3)).requeued("2", was(4));
    store(&mut sink, &draft.batch());
    draft.requeued("3", was(5)).entry("4").requeued("5", was(9));
    let batch = draft.batch();
    store(&mut sink, &batch);
    let requeued = || -> Vec<Value> {
        let told = bench.told().into_iter();
        let ranges = told.filter(|line| line["kind"] == "stored");
        ranges.map(|range| range["requeued"].clone()).collect()
    };
    let old = lost.run;
    assert_eq!(
        requeued(),
        [
            json!([{"first": 1, "count": 2, "run": old, "was": 3}]),
            json!([{"first": 3, "count": 1, "run": old, "was": 5}, {"first": 5, "count": 1, "run": old, "was": 9}]),
        ]
    );
    drop(sink);
    position(&mut bench.sink(), draft.publisher()).unwrap();
    assert_eq!(
        requeued(),
        [
            json!([{"first": 1, "count": 3, "run": old, "was": 3}, {"first": 5, "count": 1, "run": old, "was": 9}])
        ]
    );
}

#[test]
fn a_run_of_nothing_but_losses_moves_the_position() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let losses = draft.lose(9, LossReason::QueueFull).batch();
    store(&mut bench.sink(), &losses);
    let mut sink = bench.sink();
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(losses.through()))
    );
    // The entry tells them with their reason: nothing of the range before is left.
    store(&mut sink, &draft.entry("10").batch());
    drop(sink);
    position(&mut bench.sink(), draft.publisher()).unwrap();
    let told = bench.told();
    assert_eq!(told.len(), 2);
    assert_eq!(
        told[1]["losses"],
        json!([{"first": 1, "count": 9, "reason": "queue_full"}])
    );
}

#[test]
fn a_ledger_of_many_deliveries_stays_small_while_the_sink_runs() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
    let mut longest = 0;
    for _ in 0..3_000 {
        store(&mut sink, &draft.entry("{}").batch());
        longest = longest.max(fs::metadata(bench.ledger()).unwrap().len());
    }
    assert!(
        longest > 200 << 10,
        "the test does not reach the bound: {longest}"
    );
    assert!(longest < LEDGER_BYTES_MAX, "{longest}");
    drop(sink);
    position(&mut bench.sink(), draft.publisher()).unwrap();
    let told = bench.told();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["entries"], 3_000);
    assert_eq!(told[1]["crc32"], crc32fast::hash(bench.text().as_bytes()));
}

/// The last range is read at each start: it must not grow with the output.
#[test]
fn ranges_are_coalesced_up_to_a_bound() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
    let large = vec![b'x'; (1 << 20) - 1];
    for _ in 0..70 {
        store(&mut sink, &draft.entry(large.clone()).batch());
    }
    drop(sink);
    let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
    position(&mut sink, draft.publisher()).unwrap();
    let told = bench.told();
    assert_eq!(told.len(), 3);
    assert_eq!(told[1]["end"], 64 << 20);
    assert_eq!(told[2]["end"], 70 << 20);
}

#[test]
fn publishers_take_turns_in_one_output() {
    let bench = Bench::new();
    let (mut one, mut other) = (Draft::new(), Draft::new());
    let batches: Vec<Batch> = (0..6)
        .map(|turn| three(if turn % 2 == 0 { &mut one } else { &mut other }))
        .collect();
    for batch in &batches {
        store(&mut bench.sink(), batch);
    }
    let mut sink = bench.sink();
    assert_eq!(
        position(&mut sink, one.publisher()),
        Ok(Some(batches[4].through()))
    );
    assert_eq!(
        position(&mut sink, other.publisher()),
        Ok(Some(batches[5].through()))
    );
    assert_eq!(bench.text(), lines(&batches.iter().collect::<Vec<_>>()));
    assert_eq!(bench.told().len(), 7);
}

/// A flipped bit in the middle is no torn write: to go on from the line before it would cut acknowledged entries off.
/// It needs no manual repair, either: it is reported as an error, and the sink goes on.
#[test]
fn a_damaged_ledger_costs_no_entry_and_stops_nobody() {
    let bench = Bench::new();
    let (mut one, mut other) = (Draft::new(), Draft::new());
    let batches = [three(&mut one), three(&mut other)];
    for batch in &batches {
        store(&mut bench.sink(), batch);
    }
    let mut damaged = fs::read(bench.ledger()).unwrap();
    let second_line = damaged.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    damaged[second_line] ^= 1;
    fs::write(bench.ledger(), &damaged).unwrap();
    let third = three(&mut other);
    let complaints = logged(Level::ERROR, || store(&mut bench.sink(), &third));
    assert!(complaints.contains("line 2 is bad"), "{complaints}");
    assert_eq!(bench.text(), lines(&[&batches[0], &batches[1], &third]));
    assert_eq!(
        bench.told()[2],
        json!({"kind": "unaccounted", "bytes": lines(&[&batches[0], &batches[1]]).len()})
    );
    assert_eq!(fs::read(&bench.kept()[0]).unwrap(), damaged);
    assert_eq!(
        position(&mut bench.sink(), other.publisher()),
        Ok(Some(third.through()))
    );
}

/// A line was cut out of the ledger: each one that is left is good, but they do not follow one another.
#[test]
fn a_ledger_with_a_missing_line_is_damaged() {
    let bench = Bench::new();
    let (mut one, mut other) = (Draft::new(), Draft::new());
    let batches = [three(&mut one), three(&mut other)];
    for batch in &batches {
        store(&mut bench.sink(), batch);
    }
    let good = fs::read_to_string(bench.ledger()).unwrap();
    let left: Vec<&str> = good
        .lines()
        .filter(|line| !line.contains("\"start\":0,"))
        .collect();
    fs::write(bench.ledger(), left.join("\n") + "\n").unwrap();
    let mut sink = bench.sink();
    assert_eq!(position(&mut sink, one.publisher()), Ok(None));
    assert_eq!(
        position(&mut sink, other.publisher()),
        Ok(Some(batches[1].through()))
    );
    assert_eq!(bench.text(), lines(&[&batches[0], &batches[1]]));
    assert_eq!(bench.kept().len(), 1);
}

#[test]
fn a_ledger_of_a_newer_version_is_left_alone() {
    let bench = Bench::new();
    let body = r#"{"kind":"ledger","version":2}"#;
    let text = format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
    fs::write(bench.ledger(), &text).unwrap();
    let why = position(&mut bench.sink(), Draft::new().publisher()).unwrap_err();
    assert!(why.to_string().contains("use a newer one"), "{why}");
    assert_eq!(fs::read_to_string(bench.ledger()).unwrap(), text);
}

#[test]
fn a_foreign_file_with_the_ledgers_name_is_left_alone() {
    let bench = Bench::new();
    fs::write(bench.ledger(), "2026-01-01 open accounts 3\n").unwrap();
    let why = position(&mut bench.sink(), Draft::new().publisher()).unwrap_err();
    assert!(
        why.to_string().contains("not a ledger of spillring"),
        "{why}"
    );
    assert_eq!(
        fs::read_to_string(bench.ledger()).unwrap(),
        "2026-01-01 open accounts 3\n"
    );
}
