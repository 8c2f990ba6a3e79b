//! A process logs, and is killed with SIGKILL as soon as it has: with `ring_dir`, the next start delivers every line.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};
use spillring::log_writer::LogWriter;
use spillring::{Config, JsonLinesSink};

use crate::lines_of;

const DIR: &str = "SPILLRING_TEST_LOG_DIR";
const LINES: usize = 1_000;

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir.join("spill"));
    config.ring_dir = Some(dir.join("ring"));
    config
}

#[test]
fn lines_outlive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed", "--ignored"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(9), "{child:?}");

    let lines = lines_of(&config(dir.path()), &dir.path().join("app.jsonl"));
    let numbers: Vec<_> = lines.iter().map(|line| &line["fields"]["number"]).collect();
    assert_eq!(numbers, (0..LINES).collect::<Vec<_>>());
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn the_process_that_is_killed() {
    let dir = std::env::var_os(DIR).expect("run by a test");
    let dir = Path::new(&dir);
    let sink = JsonLinesSink::new(dir.join("app.jsonl"));
    let (writer, _guard) = LogWriter::start(config(dir), sink, "tenant.app").unwrap();
    tracing_subscriber::fmt().json().with_writer(writer).init();
    for number in 0..LINES {
        tracing::info!(number, "called");
    }
    kill_process(getpid(), Signal::KILL).unwrap();
}
