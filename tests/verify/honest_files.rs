//! Files of JSON lines that went through something, and are complete and intact all the same.

use std::fs;
use std::io::Write;

use spillring::event::{LossReason, RunEnd};
use spillring::sink::conformance::Draft;
use spillring::{JsonLinesSink, Sink};

use super::bench::Bench;
use super::said::verify;
use super::trail::{Publisher, entries};
use test_support::nats::block_on;

/// Delivers what the draft has, as the drainer would.
fn deliver(sink: &mut JsonLinesSink, draft: &mut Draft) {
    let batch = draft.batch();
    let delivery = block_on(sink.deliver(&batch));
    assert_eq!(delivery.stopped, None);
}

/// Losses before the first entry, between two, at the end, and told again with their reasons.
#[test]
fn losses_are_reported_as_losses_and_nothing_else_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("audit.jsonl");
    let (mut sink, mut draft) = (JsonLinesSink::new(&output), Draft::new());
    draft.lose(2, LossReason::QueueFull).entry("{}").entry("{}");
    deliver(&mut sink, &mut draft);
    draft.entry("{}").lose(3, LossReason::QueueFull);
    deliver(&mut sink, &mut draft);
    draft.lose(1, LossReason::SpillFull).entry("{}").entry("{}");
    deliver(&mut sink, &mut draft);
    draft.lose(4, LossReason::QueueFull);
    deliver(&mut sink, &mut draft);
    draft.restart(RunEnd::Clean).entry("{}");
    deliver(&mut sink, &mut draft);
    draft
        .restart(RunEnd::Killed)
        .entry("{}")
        .lose(1, LossReason::QueueFull);
    deliver(&mut sink, &mut draft);

    let verdict = verify(output.to_str().unwrap(), &[]);
    verdict.assert_holds_unsigned();
    assert_eq!(verdict.of_runs("entries"), [5, 1, 1]);
    assert_eq!(verdict.of_runs("lost"), [10, 0, 1]);
    assert_eq!(verdict.of_runs("ended"), ["clean", "killed", "open"]);
    assert_eq!(
        (&verdict.json["entries"], &verdict.json["audit_entries"]),
        (&7.into(), &0.into())
    );

    // The same once the ledger is written anew.
    drop(sink);
    block_on(JsonLinesSink::new(&output).position(&draft.publisher())).unwrap();
    let verdict = verify(output.to_str().unwrap(), &[]);
    assert_eq!(verdict.assert_holds_unsigned().of_runs("lost"), [10, 0, 1]);
}

#[test]
fn two_publishers_after_one_another_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("audit.jsonl");
    for part in [0..30, 30..60] {
        let mut run = Publisher::new().start(JsonLinesSink::new(&output));
        run.publish(entries(part));
        run.settle();
        run.end();
    }
    let verdict = verify(output.to_str().unwrap(), &[]);
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("ended"), ["open", "open"]);
    assert_eq!(verdict.json["audit_entries"], 60);
}

/// The real binary, killed by a real signal; what it left behind the ledger's end is not acknowledged.
#[test]
fn a_killed_run_is_reported_as_one_and_its_torn_end_to_be_unacknowledged() {
    let bench = Bench::new();
    let arguments = ["run", "--sink", "jsonl:out", "--spill", "spill"];
    let lines = |range| -> String {
        let lines = entries(range).into_iter();
        lines
            .map(|entry| serde_json::to_string(&entry).unwrap() + "\n")
            .collect()
    };
    let (mut child, mut input) = bench.piped(&arguments);
    input.write_all(lines(0..30).as_bytes()).unwrap();
    let out = bench.path("out");
    bench.status_when(|status| status["stats"]["delivered"] == 30);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut text = fs::read_to_string(&out).unwrap();
    text.push_str("{\"torn\":");
    fs::write(&out, text).unwrap();
    let verdict = verify(out.to_str().unwrap(), &[]);
    assert_eq!(verdict.assert_holds().notes(), ["unacknowledged"]);

    bench.run_with(&arguments, &lines(30..60)).assert_code(0);
    let verdict = verify(out.to_str().unwrap(), &[]);
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("ended"), ["killed", "open"]);
}

/// Sessions and the run go on in the new file: it does not have their beginnings, and says so.
#[test]
fn a_rotated_file_and_the_one_behind_it_hold_each_with_its_ledger() {
    let publisher = Publisher::new();
    let output = publisher.dir.path().join("audit.jsonl");
    let rotated = publisher.dir.path().join("audit.jsonl.1");
    let mut run = publisher.start(JsonLinesSink::new(&output));
    run.publish(entries(0..30));
    run.settle();
    fs::rename(&output, &rotated).unwrap();
    run.publish(entries(30..60));
    run.settle();
    run.end();

    let verdict = verify(output.to_str().unwrap(), &[]);
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("first"), [31]);
    let names = fs::read_dir(publisher.dir.path()).unwrap();
    let mut paths = names.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let kept = paths.find(|path| path.contains(".ledger.")).unwrap();
    let verdict = verify(rotated.to_str().unwrap(), &["--ledger", &kept]);
    assert_eq!(verdict.assert_holds().of_runs("last"), [30]);
}

#[test]
fn lines_older_than_the_ledger_are_reported_but_not_judged() {
    let publisher = Publisher::new();
    let output = publisher.dir.path().join("audit.jsonl");
    fs::write(&output, "by hand\n").unwrap();
    let mut run = publisher.start(JsonLinesSink::new(&output));
    run.publish(entries(0..10));
    run.settle();
    run.end();
    let verdict = verify(output.to_str().unwrap(), &[]);
    assert_eq!(
        verdict.assert_holds_unsigned().notes(),
        ["unaccounted", "unsigned"]
    );
}
