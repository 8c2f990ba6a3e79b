//! Kills the publisher's own process. What it had flushed must arrive, in order, whatever was in flight; of what it had
//! not flushed a prefix may, and the next run says that this one was killed.
//!
//! That process is this test binary, asked for the ignored test at the end, which does what it reads on its stdin.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::bench::{AMPLE, Bench, Running, config, entry, nats};
use crate::reading::{Reading, Run};
use test_support::child::Process;
use test_support::nats::NatsServer;

const URL: &str = "SPILLRING_TEST_URL";
const DIR: &str = "SPILLRING_TEST_DIR";
/// Before what the other process has to say, among the lines of its test harness.
const MARK: &str = "said: ";

/// A publisher in a process of its own.
struct Other {
    child: Process,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(bench: &Bench, server: &NatsServer) -> Self {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["--exact", "killed::the_other_process", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env(URL, server.url())
            .env(DIR, bench.spill())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let orders = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self {
            child: child.into(),
            orders,
            lines,
        }
    }

    /// Orders something, and waits until it is done.
    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it listens");
        for line in self.lines.by_ref() {
            if let Some((_, said)) = line.expect("a line").split_once(MARK) {
                assert_eq!(said, order);
                return;
            }
        }
        panic!("it died over {order:?}");
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
    }
}

/// The next start on the same directory publishes these lines, and delivers everything.
fn restart(bench: &Bench, lines: std::ops::Range<usize>) -> u64 {
    let mut running: Running = bench.start();
    running.publish(lines);
    running.deliver_all().inherited
}

/// The killed run holds a prefix of what it published, and at least what was flushed.
#[track_caller]
fn assert_prefix(run: &Run, flushed: usize, published: usize) {
    let held = run.entries.len();
    assert!((flushed..=published).contains(&held), "{held} of {flushed}");
    run.assert_lines(0..held);
}

#[test]
fn a_publisher_killed_with_a_backlog_loses_nothing_that_was_flushed() {
    let mut server = NatsServer::start();
    server.kill();
    let bench = Bench::new(&server.url());
    let mut other = Other::start(&bench, &server);
    other.order("publish 0 1000");
    other.order("flush");
    other.order("publish 1000 1500");
    other.kill();
    server.restart();
    let inherited = restart(&bench, 1_500..2_000);
    assert!((1_000..=1_500).contains(&inherited), "{inherited}");
    let [one, other] = Reading::of(&server).runs_each_once();
    assert_prefix(&one, 1_000, 1_500);
    assert_eq!(one.last_n(), inherited);
    other.assert_lines(1_500..2_000);
    other.assert_follows_killed(&one);
}

/// The batch in flight was sent, and may or may not be stored; those behind it are in the spill. Were it not in the
/// spill as well, the kill would tear a hole.
#[test]
fn a_publisher_killed_with_a_batch_in_flight_leaves_no_hole() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let mut other = Other::start(&bench, &server);
    other.order("publish 0 300");
    other.order("deliver 300");
    server.stop_signal();
    other.order("publish 300 900");
    other.order("flush");
    other.kill();
    server.cont_signal();
    let inherited = restart(&bench, 900..1_500);
    assert_eq!(inherited, 600);
    let [one, other] = Reading::of(&server).runs_each_once();
    one.assert_lines(0..900);
    other.assert_lines(900..1_500);
    other.assert_follows_killed(&one);
}

/// The same, but the server dies as well, so that the batch in flight is certainly gone.
#[test]
fn a_publisher_and_a_server_killed_together_leave_no_hole() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let mut other = Other::start(&bench, &server);
    other.order("publish 0 300");
    other.order("deliver 300");
    server.stop_signal();
    other.order("publish 300 900");
    other.order("flush");
    server.kill();
    other.kill();
    server.restart();
    assert_eq!(restart(&bench, 900..1_000), 600);
    let [one, other] = Reading::of(&server).runs_each_once();
    one.assert_lines(0..900);
    other.assert_lines(900..1_000);
    other.assert_follows_killed(&one);
}

/// Killed in full flow, three times over: each time a prefix has arrived, and each run names the one before.
#[test]
fn a_publisher_killed_in_full_flow_again_and_again_leaves_prefixes() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    for _ in 0..3 {
        let mut other = Other::start(&bench, &server);
        other.order("publish 0 500");
        other.order("flush");
        other.order("publish 500 2000");
        other.order("deliver 501");
        other.kill();
    }
    restart(&bench, 0..100);
    let runs: [_; 4] = Reading::of(&server).runs_each_once();
    for run in &runs[..3] {
        assert_prefix(run, 501, 2_000);
    }
    runs[3].assert_lines(0..100);
    for pair in runs.windows(2) {
        pair[1].assert_follows_killed(&pair[0]);
    }
}

#[test]
#[ignore = "run by the tests above, in a process of its own"]
fn the_other_process() {
    let dir = PathBuf::from(env::var_os(DIR).expect("a directory"));
    let mut config = config(&dir);
    // What is in flight stays there.
    config.ack_timeout = Duration::from_secs(60);
    let url = env::var(URL).expect("a URL");
    let sink = spillring::JetStreamSink::new(nats(&url)).expect("settings that can be used");
    let drainer = spillring::start(config, sink).expect("it starts");
    let publisher = drainer.publisher();
    for order in stdin().lines() {
        let order = order.expect("a line");
        let words: Vec<&str> = order.split(' ').collect();
        let number = |place: usize| words[place].parse::<usize>().expect("a number");
        match words[0] {
            "publish" => (number(1)..number(2)).for_each(|line| publisher.publish(entry(line))),
            "flush" => publisher.flush().wait(AMPLE).expect("it is kept"),
            "deliver" => {
                let own = number(1) as u64;
                test_support::eventually::eventually("so many are delivered", || {
                    let stats = publisher.stats();
                    (stats.delivered >= stats.inherited + own).then_some(())
                });
            }
            other => panic!("{other:?} is no order"),
        }
        let mut stdout = stdout();
        writeln!(stdout, "\n{MARK}{order}").expect("somebody listens");
        stdout.flush().expect("somebody listens");
    }
}
