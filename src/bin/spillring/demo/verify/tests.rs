//! The check must fail for each kind of wrong delivery.

use super::check;
use crate::demo::entries::{Author, DemoPlan};
use crate::demo::links::Block;

/// Two threads take turns, and end in their second session.
const ENTRIES: u64 = 2_200;

fn delivered() -> Vec<String> {
    let mut authors = [Author::new(0), Author::new(1)];
    let turns = (0..ENTRIES).zip([0, 1].into_iter().cycle());
    turns
        .map(|(_, thread)| serde_json::to_string(&authors[thread].next()).unwrap_or_default())
        .collect()
}

/// What is wrong with these lines, read in blocks of seven.
fn problem(lines: &[String]) -> Option<String> {
    let blocks: Vec<_> = lines
        .chunks(7)
        .map(|lines| Ok(Block::from(lines.join("\n") + "\n")))
        .collect();
    let plan = DemoPlan::new(ENTRIES, 2);
    let found = check(Box::new(blocks.into_iter()), &plan, &mut |_| ());
    found.err().map(|problem| problem.to_string())
}

#[track_caller]
fn assert_problem(lines: &[String], expected: &str) {
    let found = problem(lines).unwrap_or_default();
    assert!(found.contains(expected), "{found}");
}

#[test]
fn a_right_delivery_is_right() {
    assert_eq!(problem(&delivered()), None);
}

#[test]
fn a_missing_entry_is_found_wherever_it_is() {
    for at in [0, 1_500] {
        let mut lines = delivered();
        lines.remove(at);
        assert_problem(
            &lines,
            &format!("entry {}: thread 0 should go on with seq", at + 2),
        );
    }
    let mut lines = delivered();
    lines.pop();
    assert_problem(&lines, "thread 1 published 1100 entries, 1099 are there");
}

#[test]
fn a_double_is_found() {
    let mut lines = delivered();
    lines.insert(42, lines[42].clone());
    assert_problem(&lines, "entry 44: thread 0 should go on with seq 22");
    let mut lines = delivered();
    lines.push(lines[2_199].clone());
    assert_problem(&lines, "entry 2201: thread 1 should go on with seq 100");
}

#[test]
fn another_order_is_found() {
    let mut lines = delivered();
    lines.swap(100, 102);
    assert_problem(&lines, "entry 101: thread 0 should go on with seq 50");
}

#[test]
fn a_changed_entry_is_found() {
    let mut lines = delivered();
    lines[7] = lines[7].replace("sql", "SQL").replace("bash", "zsh");
    lines[7] = lines[7]
        .replace("curl", "wget")
        .replace("operator", "nobody");
    assert_problem(&lines, "entry 8: its hash does not match");
}

#[test]
fn an_entry_hashed_again_is_found() {
    let mut forger = Author::new(0);
    let mut lines = delivered();
    for _ in 0..2 {
        forger.next();
    }
    forger.break_chain();
    lines[4] = serde_json::to_string(&forger.next()).unwrap_or_default();
    assert_problem(&lines, "is not chained to the entry before it");
}

#[test]
fn what_is_no_entry_is_found() {
    let mut lines = delivered();
    lines[9] = "{}".to_owned();
    assert_problem(&lines, "entry 10: a line is not an entry");
}
