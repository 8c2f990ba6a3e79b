//! A directory with the binary at work in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_support::child::Process;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Real entries, one a line.
pub(super) const SESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sessions.jsonl");

/// The working directory of the binary: the spill is in `spill`, and what is delivered in `out`.
pub(super) struct Bench {
    dir: TempDir,
}

/// What the binary has said, and its exit code.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The binary with these arguments, with nothing of the caller's environment that it looks at.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spillring"));
        command.args(arguments).current_dir(self.dir.path());
        command
            .env_remove("RUST_LOG")
            .env_remove("SPILLRING_SPILL_KEY")
            .env("TMPDIR", self.dir.path());
        for name in [
            "URL", "TOKEN", "USER", "PASSWORD", "CREDS", "NKEY", "CA", "CERT", "KEY", "CONTEXT",
        ] {
            command.env_remove(format!("NATS_{name}"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Whether bash is content with this.
    pub(super) fn bash(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("bash");
        command.args(arguments).current_dir(self.dir.path());
        command.status().unwrap().success()
    }

    /// Runs to the end, without input.
    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).spawn().unwrap())
    }

    /// Runs to the end, with this input.
    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let (child, mut stdin) = self.piped(arguments);
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let said = Said::of(child);
        writer.join().unwrap().unwrap();
        said
    }

    /// Starts it, with a pipe for its input.
    pub(super) fn piped(&self, arguments: &[&str]) -> (Process, ChildStdin) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        (child.into(), stdin)
    }

    /// What `status --json` says, once this holds of it.
    pub(super) fn status_when(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        wait_for(|| {
            let said = self.run(&["status", "spill", "--json"]);
            last = said.out + &said.err;
            serde_json::from_str(&last)
                .ok()
                .filter(|status| holds(status))
        })
        .unwrap_or_else(|| panic!("the status never became so; it was {last}"))
    }
}

impl Said {
    /// Waits for the end, with a limit.
    pub(super) fn of(child: impl Into<Process>) -> Self {
        let mut child: Process = child.into();
        let pid = child.id();
        let out = read_all(child.stdout.take().unwrap());
        let err = read_all(child.stderr.take().unwrap());
        let status = wait_for(|| child.try_wait().unwrap());
        drop(child);
        let output = Output {
            status: status.unwrap_or_else(|| panic!("process {pid} did not come to an end")),
            stdout: out.join().unwrap(),
            stderr: err.join().unwrap(),
        };
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The report of `--report json`.
    pub(super) fn report(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    #[track_caller]
    pub(super) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Looks until there is something, or the limit has passed.
pub(super) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > LIMIT {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Fails without printing megabytes.
#[track_caller]
pub(super) fn assert_same(delivered: &Path, expected: &[u8]) {
    let found = fs::read(delivered).unwrap();
    let at = found
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    assert_eq!(
        (at, found.len()),
        (None, expected.len()),
        "the first difference, and the length"
    );
}
