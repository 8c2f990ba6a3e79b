//! Any sequence of entries, losses, restarts and torn writes of two publishers: afterwards an auditor who has nothing
//! but the two files must be able to tell each line's publisher, run and number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use spillring::config::SpillDurability;
use spillring::event::{LossReason, RunEnd};
use spillring::sink::conformance::{Draft, resend};

use super::bench::{Bench, position, store};

#[derive(Debug, Clone)]
enum Act {
    Entry,
    Lose(u64, LossReason),
    Restart(RunEnd),
    Deliver,
    /// A kill in the middle of a delivery: so much of the ledger's last line, of what the delivery wrote, is left.
    Torn(f64),
    Reopen,
}

fn act() -> impl Strategy<Value = (usize, Act)> {
    let reason = prop_oneof![Just(LossReason::QueueFull), Just(LossReason::SpillFull)];
    let act = prop_oneof![
        6 => Just(Act::Entry),
        2 => (1..4_u64, reason).prop_map(|(count, reason)| Act::Lose(count, reason)),
        1 => prop_oneof![Just(RunEnd::Clean), Just(RunEnd::Killed)].prop_map(Act::Restart),
        4 => Just(Act::Deliver),
        2 => (0.0..1.0).prop_map(Act::Torn),
        1 => Just(Act::Reopen),
    ];
    (0..2_usize, act)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_auditor_can_tell_each_line_by_the_ledger(acts in vec(act(), 1..60)) {
        let bench = Bench::new();
        let expected = play(&bench, acts);
        prop_assert_eq!(audit(&bench), expected.clone());
        // Coalesced, the ledger must tell the same.
        position(&mut bench.sink(), Draft::new().publisher()).unwrap();
        prop_assert_eq!(audit(&bench), expected);
    }
}

/// Plays the acts, and returns the lines that the output must hold.
fn play(bench: &Bench, acts: Vec<(usize, Act)>) -> Vec<String> {
    let open = || bench.sink().durability(SpillDurability::ProcessCrash);
    let (mut sink, mut expected) = (open(), Vec::new());
    let mut drafts = [Draft::new(), Draft::new()];
    for (who, act) in acts {
        let draft = &mut drafts[who];
        match act {
            Act::Entry => drop(draft.entry(uuid::Uuid::now_v7().to_string())),
            Act::Lose(count, reason) => drop(draft.lose(count, reason)),
            Act::Restart(end) => drop(draft.restart(end)),
            Act::Reopen => {
                drop(sink);
                sink = open();
            }
            Act::Deliver | Act::Torn(_) => {
                let batch = draft.batch();
                position(&mut sink, draft.publisher()).unwrap();
                let before = fs::metadata(bench.ledger()).unwrap().len();
                store(&mut sink, &batch);
                if let Act::Torn(share) = act {
                    drop(sink);
                    tear(bench, before, share);
                    sink = open();
                    let told = position(&mut sink, draft.publisher()).unwrap();
                    store(&mut sink, &resend(&batch, told));
                }
                expected.extend(batch.records().iter().map(|record| {
                    let text = String::from_utf8_lossy(record.bytes());
                    format!("{} {} {text}", draft.publisher(), record.id())
                }));
            }
        }
    }
    expected
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a few hundred bytes"
)]
fn tear(bench: &Bench, before: u64, share: f64) {
    let ledger = OpenOptions::new().write(true).open(bench.ledger()).unwrap();
    let before = before + begun_length(&fs::read(bench.ledger()).unwrap(), before);
    let written = ledger.metadata().unwrap().len() - before;
    ledger
        .set_len(before + (written as f64 * share) as u64)
        .unwrap();
}

/// Length of the line that announces a write before the output is touched: no kill can tear it off afterwards.
fn begun_length(ledger: &[u8], at: u64) -> u64 {
    let written = &ledger[usize::try_from(at).unwrap()..];
    let line = written.split_inclusive(|byte| *byte == b'\n').next();
    let is_begun = |line: &&[u8]| String::from_utf8_lossy(line).contains("\"begun\"");
    line.filter(is_begun).map_or(0, |line| line.len() as u64)
}

/// Reads both files as the docs of the ledger tell it, and names each line of the output.
fn audit(bench: &Bench) -> Vec<String> {
    let text = fs::read(bench.output()).unwrap_or_default();
    let told = if bench.ledger().exists() {
        bench.told()
    } else {
        Vec::new()
    };
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    let (mut named, mut end) = (Vec::new(), 0);
    for range in told.iter().filter(|line| line["kind"] == "stored") {
        let bytes = &text[number(&range["start"])..number(&range["end"])];
        assert_eq!(number(&range["start"]), end, "no gap");
        end = number(&range["end"]);
        assert_eq!(range["crc32"], crc32fast::hash(bytes));
        let run = range["run"].as_str().unwrap().to_owned();
        let last = range["last"].as_u64().unwrap();
        let known = numbers.insert(run.clone(), last).unwrap_or(0);
        assert!(
            range["first"].as_u64().unwrap() <= known + 1,
            "each number is told"
        );
        let opens = range["audit_run"].is_string();
        assert!(!opens || named.iter().all(|name: &String| !name.contains(&run)));
        let lines = String::from_utf8_lossy(bytes);
        let there = numbers_there(range);
        assert_eq!(there.len(), lines.lines().count());
        assert_eq!(range["entries"], there.len());
        let publisher = range["publisher"].as_str().unwrap();
        named.extend(
            there
                .iter()
                .zip(lines.lines())
                .map(|(n, line)| format!("{publisher} {run}.{n} {line}")),
        );
    }
    assert_eq!(end, text.len(), "each byte is told");
    named
}

fn numbers_there(range: &Value) -> BTreeSet<u64> {
    let mut there: BTreeSet<u64> =
        (range["first"].as_u64().unwrap()..=range["last"].as_u64().unwrap()).collect();
    for missing in range["losses"].as_array().into_iter().flatten() {
        let first = missing["first"].as_u64().unwrap();
        for n in first..first + missing["count"].as_u64().unwrap() {
            assert!(
                there.remove(&n),
                "a loss outside of its range, or told twice"
            );
        }
    }
    there
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}
