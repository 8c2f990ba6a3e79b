//! Promise: with a key nothing of an entry can be read from the spill directory, whatever is killed; without it, or
//! with another one, each command says so and changes nothing; with it everything comes out, once and in order.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::bench::{Bench, SESSIONS, Said};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// All files below but the lock, which every publisher writes its process id to.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !path.ends_with("lock") {
            let content = fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
    files
}

fn sessions() -> String {
    fs::read_to_string(SESSIONS).unwrap()
}

/// A spill with all of the sessions in it, written by a publisher that was killed while its sink was away.
fn killed(key: Option<&str>) -> Bench {
    let bench = Bench::new();
    bench.write("key", KEY);
    bench.write("other", OTHER);
    for file in ["key", "other"] {
        fs::set_permissions(bench.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let own = key.map_or_else(String::new, |file| format!("spill_key_file = \"{file}\"\n"));
    bench.write("config.toml", &format!("[spillring]\n{own}"));
    let arguments = [
        "run",
        "--config",
        "config.toml",
        "--input",
        SESSIONS,
        "--sink",
        "jsonl:later/out",
        "--spill",
        "spill",
    ];
    let (mut child, _stdin) = bench.piped(&arguments);
    bench.status_when(|status| status["stats"]["spilled"] == 2_000);
    child.kill().unwrap();
    child.wait().unwrap();
    bench
}

/// Delivers what is in the spill.
const RUN: [&str; 7] = [
    "run",
    "--input",
    "/dev/null",
    "--sink",
    "jsonl:out",
    "--spill",
    "spill",
];

fn with_key(bench: &Bench, arguments: &[&str]) -> Said {
    bench.run(&[arguments, &["--spill-key-file", "key"]].concat())
}

fn deliver(bench: &Bench) {
    with_key(bench, &RUN).assert_code(0);
}

#[test]
fn no_file_shows_an_entry_and_all_of_them_are_delivered_after_a_kill() {
    // A member of every entry, and a number that only the first one has.
    let sessions = sessions();
    let first = sessions.lines().next().unwrap();
    for key in [None, Some("key")] {
        let bench = killed(key);
        let shows = |text: &str| {
            let text = text.as_bytes();
            let mut files = files(&bench.path("spill")).into_values();
            files.any(|bytes| bytes.windows(text.len()).any(|window| window == text))
        };
        assert_eq!(shows(&first[..40]), key.is_none());
        assert_eq!(shows(r#""event_type""#), key.is_none());
        deliver(&bench);
        assert_eq!(bench.read("out"), sessions);
    }
}

#[test]
fn without_the_key_each_command_says_so_and_changes_nothing() {
    let bench = killed(Some("key"));
    let before = files(&bench.path("spill"));
    let commands: [(&[&str], i32); 5] = [
        (&RUN, 6),
        (&["export", "spill"], 2),
        (&["status", "spill"], 2),
        (&["dead-letters", "spill", "list"], 2),
        (&["dead-letters", "spill", "requeue", "--all"], 2),
    ];
    for (arguments, code) in commands {
        let said = bench.run(arguments);
        said.assert_code(code);
        assert!(
            said.err.contains("spill is encrypted: give its key"),
            "{}",
            said.err
        );
        let wrong = [arguments, &["--spill-key-file", "other"]].concat();
        let said = bench.run(&wrong);
        said.assert_code(code);
        assert!(
            said.err.contains("spill is encrypted with another key"),
            "{}",
            said.err
        );
        assert!(!said.err.contains(OTHER) && said.out.is_empty(), "{said:?}");
    }
    bench.write(
        "without.toml",
        "[spillring]\nwhen_spill_unusable = \"start_without\"\n",
    );
    let said = bench.run_with(
        &[
            "run",
            "--config",
            "without.toml",
            "--sink",
            "jsonl:out",
            "--spill",
            "spill",
        ],
        &sessions(),
    );
    said.assert_code(0);
    assert!(
        said.err.contains("starting WITHOUT a spill"),
        "{}",
        said.err
    );
    assert_eq!(bench.read("out"), sessions());
    assert!(
        files(&bench.path("spill")) == before,
        "something was changed"
    );

    let mut child = bench.command(&["export", "spill"]);
    let said = Said::of(child.env("SPILLRING_SPILL_KEY", KEY).spawn().unwrap());
    assert_eq!(said.assert_code(0).out.lines().count(), 2_000);
    assert!(
        files(&bench.path("spill")) == before,
        "looking has changed something"
    );
}

#[test]
fn dead_letters_are_encrypted_shown_and_requeued() {
    let bench = Bench::new();
    bench.write("key", KEY);
    bench.write(
        "config.toml",
        "[spillring]\nspill_key_file = \"key\"\nentry_bytes_max = 700\n",
    );
    let lines = sessions();
    let line = lines.lines().find(|line| line.len() > 700).unwrap();
    let run = [
        "run",
        "--config",
        "config.toml",
        "--sink",
        "jsonl:out",
        "--spill",
        "spill",
    ];
    let said = bench.run_with(&run, &format!("{line}\n"));
    said.assert_code(4);
    assert!(
        said.err.contains("other users may read the key"),
        "{}",
        said.err
    );
    let part = &line.as_bytes()[..40];
    let shown = files(&bench.path("spill")).into_values();
    assert!(
        !shown
            .into_iter()
            .any(|bytes| bytes.windows(40).any(|window| window == part))
    );

    let said = with_key(&bench, &["dead-letters", "spill", "list"]);
    let id = said
        .assert_code(0)
        .out
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    let said = with_key(&bench, &["dead-letters", "spill", "show", &id, "--raw"]);
    assert_eq!(said.assert_code(0).out, line);
    with_key(&bench, &["dead-letters", "spill", "requeue", "--all"]).assert_code(0);
    deliver(&bench);
    assert_eq!(bench.read("out"), format!("{line}\n"));
}

#[test]
fn a_key_that_cannot_be_used_is_named_and_never_shown() {
    let bench = Bench::new();
    bench.write("short", &KEY[2..]);
    for (file, reason) in [("short", "64 hexadecimal digits"), ("none", "No such file")] {
        let said = bench.run(&[
            "config",
            "check",
            "--spill",
            "spill",
            "--spill-key-file",
            file,
        ]);
        said.assert_code(2);
        assert!(
            said.err.contains(file) && said.err.contains(reason),
            "{}",
            said.err
        );
        assert!(!said.err.contains(&KEY[2..]), "{}", said.err);
    }
    let mut command = bench.command(&["run", "--sink", "jsonl:out", "--spill", "spill"]);
    let said = Said::of(command.env("SPILLRING_SPILL_KEY", "").spawn().unwrap());
    said.assert_code(2);
    assert!(said.err.contains("SPILLRING_SPILL_KEY"), "{}", said.err);
    assert!(!bench.path("spill").exists());
}
