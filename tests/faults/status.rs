//! The file in which a publisher says how it goes cannot be replaced: there is no inode for another one, or renaming
//! fails. `spillring status` shows the present state all the same.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};

use rustix::io::Errno;
use serde_json::Value;

use crate::child::at_once;
use crate::shim::{CREATE, RENAME, Rule, Shim, WRITE};
use test_support::bench::eventually;
use test_support::child::Process;

const SESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sessions.jsonl");

/// A publisher that runs under the shim, with a sink that takes nothing.
struct Publisher {
    dir: PathBuf,
    child: Process,
    stdin: ChildStdin,
    /// Not yet published.
    lines: Vec<String>,
}

impl Publisher {
    fn start(dir: &Path, shim: &Shim) -> Self {
        let mut command = spillring(dir);
        command.args(["run", "--spill", "spill", "--sink", "jsonl:missing/out"]);
        shim.load_into(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sessions = fs::read_to_string(SESSIONS).unwrap();
        Self {
            dir: dir.to_owned(),
            stdin: child.stdin.take().unwrap(),
            child: child.into(),
            lines: sessions.lines().map(str::to_owned).collect(),
        }
    }

    fn publish(&mut self, count: usize) {
        let lines: Vec<_> = self.lines.drain(..count).collect();
        let lines = lines.join("\n") + "\n";
        self.stdin.write_all(lines.as_bytes()).unwrap();
    }

    fn status(&self) -> Value {
        let output = say(&self.dir, &["status", "spill", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    #[track_caller]
    fn until_spilled(&self, count: u64) {
        eventually("the status is up to date", || {
            let status = self.status();
            status["pid"] == self.child.id() && status["stats"]["spilled"] == count
        });
    }

    /// From one report to the next.
    #[track_caller]
    fn until_said_again(&self) {
        let said = self.status()["at_ms"].clone();
        eventually("it says something again", || self.status()["at_ms"] != said);
    }
}

fn spillring(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillring"));
    command.current_dir(dir).env_remove("RUST_LOG");
    command
}

fn say(dir: &Path, arguments: &[&str]) -> Output {
    spillring(dir).args(arguments).output().unwrap()
}

#[test]
fn a_status_that_cannot_be_replaced_is_up_to_date() {
    let faults = [
        (RENAME, Errno::IO),
        (RENAME, Errno::ACCESS),
        (CREATE, Errno::NOSPC),
        (CREATE | RENAME, Errno::DQUOT),
    ];
    at_once(faults, |(calls, error)| up_to_date(calls, error));
}

fn up_to_date(calls: u32, error: Errno) {
    let dir = tempfile::tempdir().unwrap();
    let shim = Shim::new(dir.path().join("rules"));
    let mut publisher = Publisher::start(dir.path(), &shim);
    publisher.publish(100);
    publisher.until_spilled(100);
    let fault = shim.begin(&Rule::fail(calls, error, "*status.json*"));
    fault.until_hit();
    publisher.publish(700);
    publisher.until_spilled(800);
    publisher.until_said_again();
}

/// The first status finds no room: the publisher is not taken for one that does not run.
#[test]
fn a_publisher_without_a_status_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let shim = Shim::new(dir.path().join("rules"));
    let none = Rule::fail(WRITE | CREATE | RENAME, Errno::NOSPC, "*status.json*");
    let fault = shim.begin(&none);
    let publisher = Publisher::start(dir.path(), &shim);
    fault.until_hit();
    let said = say(dir.path(), &["status", "spill"]);
    let words = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.status.code(), Some(5), "{words}");
    assert!(
        words.contains(&format!("process {}", publisher.child.id())),
        "{words}"
    );
}
