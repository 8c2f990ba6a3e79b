//! Promise: an operator can see what became a dead letter, and deliver or delete it, and nothing is done silently.

use std::fs;

use serde_json::Value;

use super::bench::{Bench, SESSIONS, Said};

const RUN: [&str; 7] = [
    "run",
    "--config",
    "config.toml",
    "--sink",
    "jsonl:out",
    "--spill",
    "spill",
];

/// Lines longer than this are refused at first.
const BYTES_MAX: usize = 900;

/// The first lines of the data.
fn lines() -> Vec<String> {
    let text = fs::read_to_string(SESSIONS).unwrap();
    text.lines().take(100).map(str::to_owned).collect()
}

fn too_large(line: &str) -> bool {
    line.len() > BYTES_MAX
}

/// A spill with dead letters: they are the longer lines.
fn bench() -> (Bench, Vec<String>) {
    let bench = Bench::new();
    bench.write(
        "config.toml",
        &format!("[spillring]\nentry_bytes_max = {BYTES_MAX}\n"),
    );
    let all = lines();
    let said = bench.run_with(&RUN, &(all.join("\n") + "\n"));
    said.assert_code(4);
    let refused: Vec<_> = all.iter().filter(|line| too_large(line)).cloned().collect();
    assert!((5..all.len()).contains(&refused.len()), "{}", refused.len());
    (bench, refused)
}

fn letters(bench: &Bench, arguments: &[&str]) -> Said {
    bench.run(&[&["dead-letters", "spill"], arguments].concat())
}

fn listed(bench: &Bench) -> Vec<Value> {
    let said = letters(bench, &["list", "--json"]);
    let lines = said.assert_code(0).out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn id(letter: &Value) -> &str {
    letter["id"].as_str().unwrap()
}

#[test]
fn they_are_listed_and_shown() {
    let (bench, refused) = bench();
    let listed = listed(&bench);
    let sizes: Vec<_> = listed
        .iter()
        .map(|letter| letter["bytes"].as_u64())
        .collect();
    let expected: Vec<_> = refused.iter().map(|line| Some(line.len() as u64)).collect();
    assert_eq!(sizes, expected);
    let first = &listed[0];
    assert_eq!(first["reason"], "oversize");
    let detail = format!("{} bytes; entry_bytes_max is {BYTES_MAX}", refused[0].len());
    assert_eq!(first["detail"], detail);
    assert_eq!(first["requeued_from"], Value::Null);

    let words = letters(&bench, &["list"]);
    let words = &words.assert_code(0).out;
    assert!(
        words.starts_with(id(first)) && words.contains(&detail),
        "{words}"
    );
    assert!(
        words.ends_with(&format!("\n{} dead letters\n", refused.len())),
        "{words}"
    );

    let shown = letters(&bench, &["show", id(first)]);
    let shown = &shown.assert_code(0).out;
    for piece in [
        format!("id            {}\n", id(first)),
        format!("reason        oversize: {detail}\n"),
        format!("size          {} bytes\n", refused[0].len()),
        format!("\n\n{}\n", refused[0]),
    ] {
        assert!(shown.contains(&piece), "no `{piece}` in {shown}");
    }
    let raw = letters(&bench, &["show", id(first), "--raw"]);
    assert_eq!(raw.assert_code(0).out, refused[0]);
    let status = bench.run(&["status", "spill"]);
    let count = format!("dead letters  {}, ", refused.len());
    assert!(status.out.contains(&count), "{}", status.out);
}

/// Some by name, then the others; the limit is gone meanwhile.
#[test]
fn they_are_requeued_and_the_next_run_delivers_each_once() {
    let (bench, refused) = bench();
    let listed = listed(&bench);
    let these = [id(&listed[3]), id(&listed[1])];
    let said = letters(&bench, &[&["requeue"], &these[..]].concat());
    let told: Vec<_> = said.assert_code(0).out.lines().collect();
    assert!(
        told[0].starts_with(&format!("requeued {} as ", these[1])),
        "{told:?}"
    );
    assert_eq!(
        told[2],
        "2 dead letters requeued: the next run delivers what was requeued"
    );
    letters(&bench, &["requeue", "--all"]).assert_code(0);
    assert_eq!(letters(&bench, &["list"]).out, "0 dead letters\n");

    bench
        .run(&["run", "--sink", "jsonl:out", "--spill", "spill"])
        .assert_code(0);
    let all = lines();
    let mut expected: Vec<_> = all
        .iter()
        .filter(|line| !too_large(line))
        .cloned()
        .collect();
    let others = (0..refused.len()).filter(|at| ![1, 3].contains(at));
    expected.extend(
        [1, 3]
            .into_iter()
            .chain(others)
            .map(|at| refused[at].clone()),
    );
    assert!(
        bench.read("out").lines().eq(&expected),
        "{}",
        bench.read("out")
    );
    let verdict = bench
        .run(&["verify", "out", "--json"])
        .assert_code(0)
        .report();
    assert_eq!(verdict["requeued"], refused.len());
    let ended: Vec<_> = verdict["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["ended"])
        .collect();
    assert_eq!(ended, ["clean", "clean", "open"]);
}

/// The limit still holds for one of them.
#[test]
fn what_is_too_large_again_is_a_dead_letter_again() {
    let (bench, _) = bench();
    let before = listed(&bench);
    letters(&bench, &["requeue", id(&before[2])]).assert_code(0);
    let arguments = [
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
    ];
    bench.run(&arguments).assert_code(4);
    let after = listed(&bench);
    assert_eq!(after.len(), before.len());
    let again = after.last().unwrap();
    assert_eq!(again["requeued_from"], before[2]["id"]);
    let shown = letters(&bench, &["show", id(again)]).out;
    assert!(
        shown.contains(&format!("requeued from {}\n", id(&before[2]))),
        "{shown}"
    );
}

#[test]
fn they_are_removed_and_each_is_reported() {
    let (bench, refused) = bench();
    let listed = listed(&bench);
    let one = letters(&bench, &["remove", id(&listed[0])]);
    let told = format!("removed {}\n1 dead letter removed\n", id(&listed[0]));
    assert_eq!(one.assert_code(0).out, told);
    let rest = letters(&bench, &["remove", "--all"]);
    let told = rest.assert_code(0).out.lines();
    assert_eq!(
        told.filter(|line| line.starts_with("removed ")).count(),
        refused.len() - 1
    );
    assert!(
        rest.out
            .ends_with(&format!("\n{} dead letters removed\n", refused.len() - 1))
    );
    assert_eq!(letters(&bench, &["list", "--json"]).assert_code(0).out, "");
}

#[test]
fn what_cannot_be_done_is_reported_and_changes_nothing() {
    let (bench, refused) = bench();
    let listed = listed(&bench);
    let unknown = format!("{}9", id(&listed[0]));
    for action in ["requeue", "remove"] {
        let said = letters(&bench, &[action, id(&listed[0]), &unknown]);
        assert_eq!(said.assert_code(2).out, "");
        let expected = format!("error: there is no dead letter {unknown}: nothing was changed\n");
        assert_eq!(said.err, expected);
        letters(&bench, &[action]).assert_code(2);
        letters(&bench, &[action, "--all", id(&listed[0])]).assert_code(2);
    }
    letters(&bench, &["show", &unknown]).assert_code(2);
    let said = letters(&bench, &["remove", "17"]);
    assert!(
        said.assert_code(2)
            .err
            .contains("give an ID as `list` prints it"),
        "{said:?}"
    );
    let said = bench.run(&["dead-letters", "nowhere", "list"]);
    assert!(
        said.assert_code(2)
            .err
            .contains("/nowhere: give the directory that was passed"),
        "{said:?}"
    );

    let (mut child, _stdin) = bench.piped(&["run", "--spill", "spill"]);
    let pid = child.id();
    bench.status_when(|status| status["pid"] == pid);
    for arguments in [
        &["list"][..],
        &["show", &unknown],
        &["remove", "--all"],
        &["requeue", "--all"],
    ] {
        let said = letters(&bench, arguments);
        let expected = format!("/spill is in use by process {pid}: stop the publisher first");
        assert!(said.assert_code(2).err.contains(&expected), "{said:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let status = bench.status_when(|_| true);
    assert_eq!(status["dead_letters"], refused.len());
}

#[test]
fn entries_for_which_the_dead_letters_have_no_room_are_reported_as_lost() {
    let bench = Bench::new();
    bench.write(
        "config.toml",
        "[spillring]\nentry_bytes_max = 2000\nspill_bytes_max = \"1 MiB\"\n",
    );
    let large = "x".repeat(100_000);
    let run = [&RUN[..], &["--raw", "--subject", "acme.agent-7"]].concat();
    let with_json = [&run[..], &["--report", "json"]].concat();
    let said = bench.run_with(&with_json, &format!("{large}\n").repeat(20));
    let report = said.assert_code(3).report();
    let [kept, lost] = ["dead_lettered", "dead_letters_full"].map(|key| report[key].as_u64());
    assert_eq!(
        (kept, lost),
        (Some(kept_by(&bench)), Some(20 - kept_by(&bench)))
    );
    let said = bench.run_with(&run, &format!("{large}\n"));
    assert!(
        said.assert_code(3).out.contains("1 entry is lost."),
        "{}",
        said.out
    );
}

fn kept_by(bench: &Bench) -> u64 {
    let kept = listed(bench).len() as u64;
    assert!((1..20).contains(&kept), "{kept}");
    kept
}
