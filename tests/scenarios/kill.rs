//! A publisher is killed with SIGKILL at random moments: while the sink is up, down, stalled, and with a batch at the
//! sink while later entries are on disk. Whatever it had flushed, as a journal of its own says, comes out exactly once
//! and in order after a restart; of the rest, only the newest may be missing.
//!
//! The process to be killed is this test binary, started again with a variable that says where it works.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use spillring::event::RunEnd;

use test_support::bench::{
    LIMIT, Note, assert_announced, end, eventually, name, names, quick, until_delivered,
};
use test_support::child::Process;
use test_support::sinks::{Mode, Remote};

const WHERE: &str = "SPILLRING_KILL_DIR";
const HOW: &str = "SPILLRING_KILL_MODE";

/// What the child's sink is like, and what it does while the child is publishing.
const MODES: [&str; 5] = ["up", "down", "stalled", "flapping", "prefixes"];

/// Kills per mode: each is a run on the same directory, so that backlogs of killed runs pile up.
const KILLS: usize = 25;

#[test]
fn what_was_flushed_before_a_kill_comes_out_once_and_in_order() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let mut random = fastrand::Rng::with_seed(mode.len() as u64);
        for _ in 0..KILLS {
            let flushed_before = flushed(dir.path());
            let mut child = publisher(dir.path(), mode);
            let more = random.u64(1..600);
            eventually("the child has flushed", || {
                assert!(child.try_wait().unwrap().is_none(), "the child has ended");
                flushed(dir.path()) > flushed_before + more
            });
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_delivered(dir.path(), mode);
    }
}

/// The parent takes over with a sink that is up.
fn assert_delivered(dir: &Path, mode: &str) {
    let flushed = flushed(dir);
    let remote = Remote::in_file(&dir.join("sink"));
    let drainer = spillring::start(quick(&dir.join("spill")), remote.sink()).unwrap();
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    let stats = end(drainer, 1);
    assert_eq!(stats.discarded.total(), 0);
    let stored = remote.stored();
    assert_announced(&stored);
    let last = stored.last().unwrap().opens.clone().expect("a new run");
    assert_eq!(last.previous.unwrap().2, RunEnd::Killed);
    let mut texts = remote.texts();
    assert_eq!(texts.pop().as_deref(), Some("afterwards"));
    let journal = published(dir);
    let mut at = 0;
    for (first, last_flushed) in &journal {
        let expected = names(*first..=*last_flushed);
        let found = &texts[at..at + expected.len()];
        assert_eq!(found, expected, "{mode}: flushed by one run");
        at += expected.len();
        // Behind what was flushed, a prefix of what was published without one.
        let mut next = last_flushed + 1;
        while texts.get(at) == Some(&name(next)) {
            (at, next) = (at + 1, next + 1);
        }
    }
    assert_eq!(
        at,
        texts.len(),
        "{mode}: something comes twice or out of order"
    );
    assert!(flushed > 0);
}

/// Per run of the child: the first number that it published, and the last that it had flushed.
fn published(dir: &Path) -> Vec<(usize, usize)> {
    let text = fs::read_to_string(dir.join("journal")).unwrap_or_default();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        match line.trim().split_once(' ').unwrap() {
            ("first", n) => {
                let n: usize = n.parse().unwrap();
                runs.push((n, n - 1));
            }
            ("flushed", n) => runs.last_mut().unwrap().1 = n.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }
    runs
}

fn flushed(dir: &Path) -> u64 {
    let runs = published(dir);
    runs.iter()
        .map(|(first, last)| (last + 1 - first) as u64)
        .sum()
}

fn publisher(dir: &Path, mode: &str) -> Process {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(WHERE, dir)
        .env(HOW, mode)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
        .into()
}

/// Not a test, but the process that is killed: nothing happens without the variable.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(WHERE).map(PathBuf::from) else {
        return;
    };
    let how = std::env::var(HOW).unwrap();
    let mut journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("journal"))
        .unwrap();
    // Numbers go on where no earlier run can have come to.
    let first = (published(&dir).len() + 1) * 1_000_000;
    note(&mut journal, "first", first);
    let remote = Remote::in_file(&dir.join("sink"));
    let start = Instant::now();
    let drainer = spillring::start(quick(&dir.join("spill")), remote.sink()).unwrap();
    let publisher = drainer.publisher();
    let mut random = fastrand::Rng::new();
    let mut next = first;
    while start.elapsed() < LIMIT {
        remote.set(sink_mode(&how, &mut random));
        for _ in 0..random.usize(1..60) {
            publisher
                .publish_timeout(Note::new(name(next)), LIMIT)
                .unwrap();
            next += 1;
        }
        publisher.flush().wait(LIMIT).unwrap();
        note(&mut journal, "flushed", next - 1);
        // Entries that nobody waits for: in the ring, in memory, at the sink, when the kill comes.
        for _ in 0..random.usize(0..200) {
            publisher
                .publish_timeout(Note::new(name(next)), LIMIT)
                .unwrap();
            next += 1;
        }
    }
}

/// One write, so that a kill leaves a whole line or none.
fn note(journal: &mut File, what: &str, number: usize) {
    let line = format!("{what} {number}\n");
    journal.write_all(line.as_bytes()).unwrap();
}

fn sink_mode(how: &str, random: &mut fastrand::Rng) -> Mode {
    match how {
        "up" => Mode::Up,
        "down" => Mode::Down,
        // A batch is at the sink, and what follows is spilled with it.
        "stalled" if random.u8(0..8) == 0 => Mode::Up,
        "stalled" => Mode::Stalled,
        "prefixes" => Mode::Prefixes(random.usize(0..20)),
        _ => [Mode::Up, Mode::Down, Mode::Stalled][random.usize(0..3)],
    }
}
