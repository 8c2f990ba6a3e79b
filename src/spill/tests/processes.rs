//! Two processes and one directory: the second is refused at once, and what a killed one had committed is there.
//!
//! The other process is this test binary, asked for one of the two ignored tests at the end.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::dead_letters::{DeadLetters, Selection};

const DIR: &str = "SPILLRING_TEST_DIR";
/// Before what the other process has to say, among the lines of its test harness.
const MARK: &str = "said: ";

pub(super) struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    pub(super) fn start(test: &str, dir: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", &format!("spill::tests::processes::{test}")])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    pub(super) fn hear(&mut self) -> Result<Option<u64>, Box<dyn Error>> {
        for line in self.lines.by_ref() {
            if let Some((_, said)) = line?.split_once(MARK) {
                return Ok(Some(said.parse()?));
            }
        }
        Ok(None)
    }

    pub(super) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

fn say(number: u64) -> Outcome {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n{MARK}{number}")?;
    stdout.flush()?;
    Ok(())
}

#[test]
fn a_second_opener_is_refused_at_once_and_told_by_whom() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut other = Other::start("other_holds_the_directory", dir.path())?;
    let pid = other.hear()?.ok_or("it died")?;
    let asked = Instant::now();
    let refused = open(dir.path());
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(
        matches!(refused, Err(SpillError::InUse { pid: Some(found), .. }) if u64::from(found) == pid),
        "{refused:?}"
    );
    other.kill()?;
    let held = open(dir.path())?;
    let own = Some(std::process::id());
    let refused = open(dir.path());
    assert!(
        matches!(refused, Err(SpillError::InUse { pid, .. }) if pid == own),
        "{refused:?}"
    );
    drop(held);
    Ok(())
}

#[test]
fn what_a_killed_process_had_committed_is_there() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut other = Other::start("other_appends_for_ever", dir.path())?;
    let mut committed = 0;
    while committed < 3_000 {
        committed = other.hear()?.ok_or("it died")?;
    }
    other.kill()?;
    while let Some(later) = other.hear()? {
        committed = later;
    }
    let mut spill = open(dir.path())?;
    let read = numbers(&all(&mut spill)?);
    assert!(
        read.len() as u64 >= committed,
        "{} of {committed}",
        read.len()
    );
    assert!(
        read.iter().copied().eq(1..=read.len() as u64),
        "a hole or a doublet"
    );
    audit(&spill)
}

#[test]
#[ignore = "the other process of the tests above"]
fn other_holds_the_directory() -> Outcome {
    let _held = open(Path::new(&std::env::var_os(DIR).ok_or("no directory")?))?;
    say(u64::from(std::process::id()))?;
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "the other process of the tests above"]
fn other_appends_for_ever() -> Outcome {
    let mut spill = open(Path::new(&std::env::var_os(DIR).ok_or("no directory")?))?;
    let run = spill.begin_run()?;
    for first in (1..).step_by(100) {
        spill.append(&records(&run, first..first + 100))?;
        say(first + 99)?;
    }
    Ok(())
}

/// Says how many have moved, after each page, and stops at the tenth.
#[test]
#[ignore = "the other process of a test on dead letters"]
fn other_requeues() -> Outcome {
    let dir = std::env::var_os(DIR).ok_or("no directory")?;
    let letters = DeadLetters::open(dir)?;
    let mut moved = 0;
    letters.requeue(&Selection::All, |_, _| {
        moved += 1;
        if moved % 256 == 0 {
            say(moved).ok();
        }
        if moved == 2_560 {
            loop {
                std::thread::park();
            }
        }
    })?;
    Ok(())
}
