//! A kill or a power cut may strike between any two bytes: of the entries, of the ledger's line about them, of the
//! ledger's replacement. The files are rebuilt as it left them, for each length there is.

use std::fs;

use serde_json::json;
use spillring::config::SpillDurability;
use spillring::event::{LossReason, RunEnd};
use spillring::sink::conformance::{self, Draft, resend};

use super::bench::{Bench, append, deliver, lines, position, store, three};

#[test]
fn the_sink_conforms() {
    conformance::run(&mut Bench::new()).unwrap();
}

/// The story: two batches acknowledged; the third was being written when the machine went down. What was the outcome?
/// The publisher asks, sends the rest, and the output is as if nothing had happened.
#[test]
fn a_torn_write_of_any_length_neither_loses_nor_doubles() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let first = three(&mut draft);
    let second = draft
        .lose(2, LossReason::QueueFull)
        .entry("{\"seq\":6}")
        .batch();
    store(&mut sink, &first);
    store(&mut sink, &second);
    let before = snapshot(&bench);
    let third = three(draft.restart(RunEnd::Killed));
    store(&mut sink, &third);
    let after = snapshot(&bench);
    drop(sink);
    let whole = lines(&[&first, &second, &third]);
    assert_eq!(bench.text(), whole);

    let torn_output = (before.0.len()..=after.0.len()).map(|cut| (cut, before.1.len()));
    let torn_ledger = (before.1.len()..=after.1.len()).map(|cut| (after.0.len(), cut));
    for (output, ledger) in torn_output.chain(torn_ledger) {
        fs::write(bench.output(), &after.0[..output]).unwrap();
        fs::write(bench.ledger(), &after.1[..ledger]).unwrap();
        // Syncs change nothing that could be seen here, and take long.
        let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
        let told = position(&mut sink, draft.publisher()).unwrap();
        let expected = if ledger == after.1.len() {
            &third
        } else {
            &second
        };
        assert_eq!(told, Some(expected.through()), "{output} {ledger}");
        store(&mut sink, &resend(&third, told));
        assert_eq!(bench.text(), whole, "{output} {ledger}");
    }
}

/// A power cut may leave a file longer than what was written into it: zeros stand where nothing arrived.
#[test]
fn zeros_at_the_torn_end_are_cut_off() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let first = three(&mut draft);
    store(&mut bench.sink(), &first);
    append(&bench.output(), &[0; 512]);
    append(&bench.ledger(), &[0; 300]);
    let mut sink = bench.sink();
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(first.through()))
    );
    let second = three(&mut draft);
    store(&mut sink, &second);
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

/// The very first batch is torn, into a fresh output or behind foreign lines: no range tells yet which file it is. It
/// is cut off all the same, for it is the file in which it was begun.
#[test]
fn a_torn_first_delivery_is_cut_off() {
    for foreign in ["", "foreign\n"] {
        let bench = Bench::new();
        fs::write(bench.output(), foreign).unwrap();
        let mut draft = Draft::new();
        assert_eq!(position(&mut bench.sink(), draft.publisher()), Ok(None));
        let first = three(&mut draft);
        store(&mut bench.sink(), &first);
        let whole = foreign.to_owned() + &lines(&[&first]);
        let ledger = fs::read(bench.ledger()).unwrap();
        let begun = ledger.len() - last_line(&ledger).len();

        let torn_output = (foreign.len()..whole.len()).map(|cut| (cut, begun));
        let torn_ledger = (begun..ledger.len()).map(|cut| (whole.len(), cut));
        for (output, told) in torn_output.chain(torn_ledger) {
            fs::write(bench.output(), &whole.as_bytes()[..output]).unwrap();
            fs::write(bench.ledger(), &ledger[..told]).unwrap();
            let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
            store(&mut sink, &first);
            assert_eq!(bench.text(), whole, "{output} {told}");
        }
    }
}

/// The story: a machine with nothing synced loses power, and of two lines of the ledger only the later one reached the
/// disk. The publishers continue from the position that they get; what was stored stays, and a verifier finds the old
/// ledger.
#[test]
fn a_ledger_with_a_hole_is_kept_and_its_good_lines_are_believed() {
    let bench = Bench::new();
    let (mut one, mut other) = (Draft::new(), Draft::new());
    let batches = [three(&mut one), three(&mut other), three(&mut one)];
    for batch in &batches {
        store(&mut bench.sink(), batch);
    }
    let (text, good) = snapshot(&bench);
    let lengths: Vec<usize> = good
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::len)
        .collect();
    // The zeros and the line after them are one bad line: what that line said is lost.
    for (hole, others) in [(0, Some(batches[1].through())), (1, None)] {
        let start: usize = lengths[..hole].iter().sum();
        let mut damaged = good.clone();
        damaged[start..start + lengths[hole]].fill(0);
        fs::write(bench.output(), &text).unwrap();
        fs::write(bench.ledger(), &damaged).unwrap();
        let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
        assert_eq!(
            position(&mut sink, one.publisher()),
            Ok(Some(batches[2].through()))
        );
        assert_eq!(position(&mut sink, other.publisher()), Ok(others));
        assert_eq!(bench.text().as_bytes(), text);
        let unaccounted = json!({"kind": "unaccounted", "bytes": text.len()});
        assert_eq!(bench.told().last(), Some(&unaccounted));
        let kept = bench.kept();
        assert_eq!(fs::read(kept.last().unwrap()).unwrap(), damaged);
        assert_eq!(kept.len(), hole + 1, "each under a name of its own");
    }
}

/// A crash while the ledger is being replaced leaves its replacement behind, half-written.
#[test]
fn a_half_written_replacement_of_the_ledger_is_ignored() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    store(&mut sink, &second);
    drop(sink);
    let replacement = bench.dir.path().join("audit.jsonl.ledger.new");
    fs::write(&replacement, vec![b'x'; 10_000]).unwrap();
    let mut sink = bench.sink();
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(second.through()))
    );
    assert!(!replacement.exists());
    drop(sink);
    assert_eq!(bench.told().len(), 2, "a first line, and one range");
}

/// The publisher does not ask after an error that it takes for harmless: what it sends again is known all the same.
#[test]
fn a_batch_that_is_sent_again_unasked_is_not_doubled() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let first = three(&mut draft);
    store(&mut sink, &first);
    store(&mut sink, &first);
    let delivery = deliver(&mut bench_reopened(sink, &bench), &first);
    assert_eq!((delivery.stored, delivery.stopped), (3, None));
    assert_eq!(bench.text(), lines(&[&first]));
}

#[test]
fn a_sink_that_only_survives_the_process_conforms_to_it() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let first = three(&mut draft);
    let durability = SpillDurability::ProcessCrash;
    store(&mut bench.sink().durability(durability), &first);
    append(&bench.output(), b"torn");
    let mut sink = bench.sink().durability(durability);
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(first.through()))
    );
    assert_eq!(bench.text(), lines(&[&first]));
}

fn bench_reopened(sink: spillring::JsonLinesSink, bench: &Bench) -> spillring::JsonLinesSink {
    drop(sink);
    bench.sink()
}

fn last_line(ledger: &[u8]) -> &[u8] {
    let mut lines = ledger.split_inclusive(|byte| *byte == b'\n');
    lines.next_back().unwrap()
}

fn snapshot(bench: &Bench) -> (Vec<u8>, Vec<u8>) {
    (
        fs::read(bench.output()).unwrap(),
        fs::read(bench.ledger()).unwrap(),
    )
}
