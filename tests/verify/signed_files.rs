//! What somebody can do to a file of JSON lines who writes its ledger to match, and has not the key.

use serde_json::{Value, json};

use super::files::Copy;
use super::said::Verdict;
use super::signed::{Auditor, assert_forged};

/// Lets an auditor judge a copy that was changed, with a ledger that covers it up.
fn forged(change: impl FnOnce(&mut Copy)) -> Verdict {
    let mut copy = Copy::new();
    change(&mut copy);
    copy.write();
    Auditor::knowing(&[&copy.key]).judge(copy.path().to_str().unwrap())
}

/// Writes the ledger for what the lines now are, when the first range has so many more or fewer.
fn covered(copy: &mut Copy, more: isize) {
    let mut entries = copy.entries_of_ranges();
    entries[0] = entries[0].checked_add_signed(more).unwrap();
    copy.cover_up(&entries);
}

#[test]
fn an_honest_file_is_authentic() {
    let verdict = forged(|_| ());
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
}

#[test]
fn deleted_inserted_doubled_and_swapped_lines_are_not_what_was_signed() {
    let deleted = forged(|copy| {
        copy.lines.remove(29);
        covered(copy, -1);
    });
    assert_forged(&deleted, &["not_as_signed"]);
    let doubled = forged(|copy| {
        copy.lines.insert(30, copy.lines[29].clone());
        covered(copy, 1);
    });
    assert_forged(&doubled, &["not_as_signed"]);
    let swapped = forged(|copy| {
        copy.lines.swap(10, 11);
        covered(copy, 0);
    });
    assert_forged(&swapped, &["not_as_signed"]);
    let replaced = forged(|copy| {
        copy.lines[59] = copy.lines[58].clone();
        covered(copy, 0);
    });
    assert_forged(&replaced, &["not_as_signed"]);
}

/// Nothing is missing, says the ledger: a number is lost.
#[test]
fn a_line_turned_into_an_announced_loss_is_found() {
    let verdict = forged(|copy| {
        copy.lines.remove(20);
        covered(copy, -1);
        let range = copy.ranges().next().unwrap();
        let last = range["last"].as_u64().unwrap() + 1;
        range["last"] = last.into();
        range["losses"] = json!([{ "first": 21, "count": 1, "reason": "encode_error" }]);
        for range in copy.ranges() {
            if let Some(opening) = range["audit_run"].as_str() {
                range["audit_run"] = opening.replace("last=29", "last=30").into();
            }
        }
    });
    assert_eq!(verdict.json["complete"], true, "{verdict:#?}");
    assert_forged(&verdict, &["signed_missing"]);
}

#[test]
fn what_the_ledger_says_of_runs_and_requeued_entries_is_signed() {
    let opened = forged(|copy| {
        let mut opens = copy.ranges().filter(|range| range["audit_run"].is_string());
        let range = opens.nth(1).unwrap();
        let opening = range["audit_run"].as_str().unwrap().to_owned();
        range["audit_run"] = (opening + "; killed_starts=2").into();
    });
    assert_forged(&opened, &["not_as_signed"]);
    let requeued = forged(|copy| {
        let range = copy.ranges().next().unwrap();
        let run = "01a21a2e-6a9f-703a-a491-da9c311ae493";
        range["requeued"] = json!([{ "first": 3, "count": 1, "run": run, "was": 9 }]);
    });
    assert_forged(&requeued, &["not_as_signed"]);
}

#[test]
fn seals_cannot_be_left_out() {
    let some = forged(|copy| {
        drop(
            copy.ranges()
                .last()
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove("seal"),
        );
    });
    assert_forged(&some, &["seal_missing"]);
    let all = forged(|copy| {
        for range in copy.ranges() {
            range.as_object_mut().unwrap().remove("seal");
        }
    });
    assert_forged(&all, &["seal_missing"]);
}

/// The first run is cut off, and what it had signed made to what was before this file.
#[test]
fn a_head_that_is_cut_off_with_its_ledger_is_found() {
    let behead = |copy: &mut Copy| {
        let first = copy.ranges().next().unwrap().clone();
        let bytes = first["end"].as_u64().unwrap();
        copy.lines.drain(..30);
        copy.ledger.retain(|line| *line != first);
        for range in copy.ranges() {
            for end in ["start", "end"] {
                range[end] = (range[end].as_u64().unwrap() - bytes).into();
            }
        }
        let before = json!({
            "kind": "before", "publisher": first["publisher"], "run": first["run"],
            "last": first["last"], "seal": first["seal"],
        });
        copy.ledger.retain(|line| line["kind"] != "begun");
        copy.ledger.insert(1, before);
    };
    assert_forged(&forged(behead), &["signed_missing"]);
}

/// The file ends earlier, and the ledger with it.
#[test]
fn a_tail_that_is_cut_off_with_its_ledger_is_found_if_an_audit_has_seen_it() {
    let mut copy = Copy::new();
    copy.write();
    let auditor = Auditor::knowing(&[&copy.key]);
    let path = copy.path();
    auditor.audit(path.to_str().unwrap());
    copy.lines.truncate(30);
    let is_later = |line: &Value| line["kind"] == "stored" && line["start"].as_u64() > Some(0);
    copy.ledger.retain(|line| !is_later(line));
    copy.write();
    let verdict = auditor.judge(path.to_str().unwrap());
    assert_forged(&verdict, &["rolled_back"]);
}
