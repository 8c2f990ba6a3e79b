//! Each story runs in a process of its own: this test binary, started again.

use std::any::type_name;
use std::fmt::Debug;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::log;
use crate::shim::Shim;

/// Set in the child: where it notes that the story has come to its end.
const CHILD: &str = "SPILLRING_FAULTS_CHILD";
const DONE: &str = "done";

/// How long a story may take.
const STORY_MAX: Duration = Duration::from_secs(2 * 60);

/// Runs the story in a child that has the shim loaded. `test` is the test that calls this.
pub(crate) fn with_shim<T: Fn()>(test: T, story: impl FnOnce(&Shim)) {
    in_child(
        test,
        Loaded::Shim,
        |command| command,
        || story(&Shim::own()),
    );
}

/// Runs the story in a child without the shim: it may change what belongs to the whole process.
pub(crate) fn alone<T: Fn()>(test: T, story: impl FnOnce()) {
    in_child(test, Loaded::Nothing, |command| command, story);
}

/// What the child has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    Shim,
    Nothing,
}

/// Runs the story in a child; `wrap` may change how that is started.
pub(crate) fn in_child<T: Fn()>(
    _test: T,
    loaded: Loaded,
    wrap: impl FnOnce(Command) -> Command,
    story: impl FnOnce(),
) {
    if let Some(home) = std::env::var_os(CHILD) {
        log::listen();
        story();
        fs::write(Path::new(&home).join(DONE), "").unwrap();
        return;
    }
    let test = name_of::<T>();
    let home = tempfile::tempdir().unwrap();
    let mut command = wrap(test_binary(test));
    command.env(CHILD, home.path());
    if loaded == Loaded::Shim {
        Shim::new(home.path().join("rules")).load_into(&mut command);
    }
    let said = home.path().join("said");
    let output = File::create(&said).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    let status = end_of(command.spawn().unwrap());
    let said = fs::read(&said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(status.success(), "{test}: {status}: {said}");
    for line in said.lines().filter(|line| line.starts_with("skipped: ")) {
        test_support::skipped::skipped(&line["skipped: ".len()..]);
    }
    assert!(
        home.path().join(DONE).exists(),
        "{test} was not run: {said}"
    );
}

/// Runs the story for all cases at once: most of them wait for most of the time. A panic names its case.
pub(crate) fn at_once<C: Debug + Send>(
    cases: impl IntoIterator<Item = C>,
    story: impl Fn(C) + Sync,
) {
    let story = &story;
    thread::scope(|threads| {
        for case in cases {
            let thread = thread::Builder::new().name(format!("{case:?}"));
            thread.spawn_scoped(threads, move || story(case)).unwrap();
        }
    });
}

/// This binary, to run one test of it.
pub(crate) fn test_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// A function's path without the crate, as the harness names tests.
pub(crate) fn name_of<T>() -> &'static str {
    let name = type_name::<T>();
    name.split_once("::").map_or(name, |(_, test)| test)
}

/// Waits, with a limit.
fn end_of(mut child: Child) -> ExitStatus {
    let start = Instant::now();
    while start.elapsed() < STORY_MAX {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ExitStatus::from_raw(1 << 8)
}
