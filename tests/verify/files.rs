//! What can be done to a file of JSON lines: its bytes are edited, and, for some deeds, its ledger is written to match.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use spillring::{AuditEntry, JsonLinesSink};
use tempfile::TempDir;

use super::said::{Verdict, verify};
use super::trail::{Publisher, entries};

/// A file with its ledger, taken apart.
pub(super) struct Copy {
    dir: TempDir,
    pub(super) lines: Vec<String>,
    pub(super) ledger: Vec<Value>,
    /// The first public key of the publisher.
    pub(super) key: String,
}

impl Copy {
    /// As the library has left it: two runs of thirty entries, the second in three appends.
    pub(super) fn new() -> Self {
        let publisher = Publisher::new();
        let output = publisher.dir.path().join("audit.jsonl");
        for bounds in [&[0, 30][..], &[30, 40, 50, 60]] {
            let mut run = publisher.start(JsonLinesSink::new(&output));
            for bound in bounds.windows(2) {
                run.publish(entries(bound[0]..bound[1]));
                run.settle();
            }
            run.end();
        }
        let text = fs::read_to_string(&output).unwrap();
        let told = fs::read_to_string(publisher.dir.path().join("audit.jsonl.ledger")).unwrap();
        let body = |line: &str| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            ledger: told.lines().map(body).collect(),
            key: publisher.key(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    pub(super) fn write_ledger(&self) {
        let line = |told: &Value| {
            let body = told.to_string();
            format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))
        };
        let text: String = self.ledger.iter().map(line).collect();
        fs::write(self.dir.path().join("audit.jsonl.ledger"), text).unwrap();
    }

    pub(super) fn write(&self) {
        self.write_ledger();
        fs::write(self.path(), self.lines.concat()).unwrap();
    }

    fn judge(&self) -> Verdict {
        self.write();
        verify(self.path().to_str().unwrap(), &[])
    }

    /// The ranges of the ledger, and the places of the lines that each tells of.
    pub(super) fn ranges(&mut self) -> impl Iterator<Item = &mut Value> {
        self.ledger
            .iter_mut()
            .filter(|line| line["kind"] == "stored")
    }

    /// Lets the ledger tell of the lines as they are, when `entries` lines of each range are left.
    pub(super) fn cover_up(&mut self, entries: &[usize]) {
        let lines = self.lines.clone();
        let (mut line, mut byte, mut dealt_with) = (0, 0, [0; 2]);
        let mut runs = Vec::new();
        for (range, &count) in self.ranges().zip(entries) {
            let text = lines[line..line + count].concat();
            line += count;
            if !runs.contains(&range["run"]) {
                runs.push(range["run"].clone());
            }
            let last = &mut dealt_with[runs.len() - 1];
            range["first"] = (*last + 1).into();
            *last += count;
            range["last"] = (*last).into();
            range["entries"] = count.into();
            range["start"] = byte.into();
            byte += text.len();
            range["end"] = byte.into();
            range["crc32"] = crc32fast::hash(text.as_bytes()).into();
        }
        let last = dealt_with[0];
        for range in self.ranges() {
            if let Some(opening) = range["audit_run"].as_str() {
                range["audit_run"] = opening.replace("last=30", &format!("last={last}")).into();
            }
        }
    }

    pub(super) fn entries_of_ranges(&mut self) -> Vec<usize> {
        let entries =
            |range: &mut Value| usize::try_from(range["entries"].as_u64().unwrap()).unwrap();
        self.ranges().map(entries).collect()
    }
}

fn mutated(change: impl FnOnce(&mut Copy)) -> Verdict {
    let mut copy = Copy::new();
    change(&mut copy);
    copy.judge()
}

/// A line in the middle of the first run.
const MIDDLE: usize = 20;

/// Two lines of the first run that follow one another in their session.
fn neighbours() -> (usize, usize) {
    let sessions: Vec<_> = entries(0..30).iter().map(AuditEntry::session_id).collect();
    let next = |at: &usize| (at + 1..30).find(|next| sessions[*next] == sessions[*at]);
    let mut pairs = (5..30).filter_map(|at| Some((at, next(&at)?)));
    pairs.next().unwrap()
}

#[test]
fn the_copy_itself_holds() {
    let verdict = mutated(|_| ());
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("entries"), [30, 30]);
    assert_eq!(verdict.of_runs("ended"), ["clean", "open"]);
    let covered = mutated(|copy| {
        let entries = copy.entries_of_ranges();
        copy.cover_up(&entries);
    });
    covered.assert_holds();
}

#[test]
fn one_deleted_in_the_middle_is_a_line_that_the_ledger_reports() {
    for line in [0, neighbours().0, 35] {
        let verdict = mutated(|copy| drop(copy.lines.remove(line)));
        verdict
            .assert_breaks(&["lines_missing"])
            .assert_is(false, true);
    }
}

#[test]
fn a_deletion_with_a_ledger_that_covers_it_up_breaks_the_chain() {
    let verdict = mutated(|copy| {
        let mut entries = copy.entries_of_ranges();
        entries[0] -= 1;
        copy.lines.remove(neighbours().0);
        copy.cover_up(&entries);
    });
    verdict.assert_breaks(&["chain_gap"]).assert_is(true, false);
}

#[test]
fn two_swapped_are_found_by_the_checksum() {
    let verdict = mutated(|copy| copy.lines.swap(MIDDLE, MIDDLE + 1));
    assert_eq!(verdict.json["intact"], false);
    assert_eq!(verdict.place("checksum_mismatch")["byte"], 0);
}

/// Two entries of one session. Only the signature shows that this is no race of two threads.
#[test]
fn a_swap_with_a_ledger_that_covers_it_up_looks_like_a_race() {
    let verdict = mutated(|copy| {
        let (one, other) = neighbours();
        copy.lines.swap(one, other);
        let entries = copy.entries_of_ranges();
        copy.cover_up(&entries);
    });
    assert_eq!(verdict.breaks(), [""; 0]);
    assert_eq!(verdict.notes()[0], "session_raced");
    assert_eq!(verdict.forged(), ["not_as_signed"]);
}

#[test]
fn one_doubled_is_a_line_too_many() {
    let verdict = mutated(|copy| copy.lines.insert(MIDDLE, copy.lines[MIDDLE].clone()));
    verdict
        .assert_breaks(&["lines_extra", "chain_doubled"])
        .assert_is(true, false);
    let covered = mutated(|copy| {
        copy.lines.insert(MIDDLE, copy.lines[MIDDLE].clone());
        let mut entries = copy.entries_of_ranges();
        entries[0] += 1;
        copy.cover_up(&entries);
    });
    covered
        .assert_breaks(&["chain_doubled"])
        .assert_is(true, false);
}

fn edit(copy: &mut Copy) {
    let edited = copy.lines[MIDDLE].replacen("\"timestamp_ns\":1", "\"timestamp_ns\":2", 1);
    assert_ne!(edited, copy.lines[MIDDLE]);
    copy.lines[MIDDLE] = edited;
}

#[test]
fn an_edited_entry_is_called_so_and_no_ledger_covers_it_up() {
    let verdict = mutated(edit);
    verdict
        .assert_breaks(&["checksum_mismatch", "edited"])
        .assert_is(true, false);
    assert_eq!(verdict.place("edited")["line"], MIDDLE + 1);
    let covered = mutated(|copy| {
        edit(copy);
        let entries = copy.entries_of_ranges();
        copy.cover_up(&entries);
    });
    covered.assert_breaks(&["edited"]).assert_is(true, false);
}

/// It makes no difference to the others that it is longer now.
#[test]
fn an_edit_that_shifts_later_lines_is_found_where_it_is() {
    let verdict = mutated(|copy| {
        let edited = copy.lines[MIDDLE].replacen("\"payload\":\"", "\"payload\":\"more ", 1);
        assert_ne!(edited, copy.lines[MIDDLE]);
        copy.lines[MIDDLE] = edited;
    });
    verdict
        .assert_breaks(&["checksum_mismatch", "edited"])
        .assert_is(true, false);
}

#[test]
fn a_cut_tail_is_missing_after_what_the_ledger_reports() {
    for cut in [1, 5, 30] {
        let verdict = mutated(|copy| copy.lines.truncate(60 - cut));
        assert_eq!(verdict.json["complete"], false);
        assert_eq!(verdict.json["intact"], true, "{verdict:#?}");
        verdict.place("tail_missing");
    }
    let verdict = mutated(|copy| {
        let half = copy.lines[59].len() / 2;
        copy.lines[59].truncate(half);
    });
    verdict
        .assert_breaks(&["tail_missing"])
        .assert_is(false, true);
}

#[test]
fn lines_spliced_in_are_too_many() {
    let verdict = mutated(|copy| {
        let foreign = (0..3).map(|_| "{\"by\":\"hand\"}\n".to_owned());
        copy.lines
            .splice(MIDDLE..MIDDLE, foreign.collect::<Vec<_>>());
    });
    verdict
        .assert_breaks(&["lines_extra"])
        .assert_is(true, false);
}

#[test]
fn a_ledger_with_a_range_taken_out_contradicts_itself() {
    let verdict = mutated(|copy| {
        let stored = copy
            .ledger
            .iter()
            .position(|line| line["kind"] == "stored")
            .unwrap();
        copy.ledger.remove(stored);
    });
    assert_eq!(verdict.json["intact"], false);
    assert_eq!(verdict.place("ledger_damaged")["ledger_line"], 2);
}

#[test]
fn a_bad_line_of_the_ledger_is_damage_and_a_torn_last_one_is_not() {
    let copy = Copy::new();
    copy.judge().assert_holds();
    let ledger = copy.dir.path().join("audit.jsonl.ledger");
    let good = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, format!("{good}0123abcd {{\"kind\":\"sto")).unwrap();
    let verdict = verify(copy.path().to_str().unwrap(), &[]);
    assert_eq!(verdict.assert_holds().notes(), ["ledger_torn"]);
    let mut lines: Vec<_> = good.lines().collect();
    lines.insert(1, "0123abcd {}");
    fs::write(&ledger, lines.join("\n") + "\n").unwrap();
    let verdict = verify(copy.path().to_str().unwrap(), &[]);
    verdict
        .assert_breaks(&["ledger_damaged"])
        .assert_is(true, false);
}
