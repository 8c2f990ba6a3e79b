//! Promise: a service manager learns through `NOTIFY_SOCKET` when a publisher is ready and when it stops, and its
//! watchdog gets signs of life only while the drainer moves.

use std::fs;
use std::io::{self, BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;
use test_support::child::Process;

use super::bench::{Bench, SESSIONS, Said, wait_for};
use super::serving::{Serving, address_in};

/// How long is waited for a message.
const MESSAGE_MAX: Duration = Duration::from_secs(30);

/// What systemd has at the other end.
struct Manager(UnixDatagram);

impl Manager {
    /// With what it puts into the environment of its services.
    fn new(bench: &Bench, command: &mut Command) -> Self {
        command.env("NOTIFY_SOCKET", bench.path("notify"));
        Self::listen(bench)
    }

    fn listen(bench: &Bench) -> Self {
        let socket = UnixDatagram::bind(bench.path("notify")).unwrap();
        socket.set_read_timeout(Some(MESSAGE_MAX)).unwrap();
        Self(socket)
    }

    /// The lines of the next message.
    fn message(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("a message");
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Reads on to a message with this line, and hands out all that were read.
    fn up_to(&self, line: &str) -> Vec<Vec<String>> {
        let mut messages = Vec::new();
        wait_for(|| {
            messages.push(self.message());
            messages.last()?.iter().any(|it| it == line).then_some(())
        })
        .unwrap_or_else(|| panic!("no {line} in {messages:?}"));
        messages
    }
}

#[test]
fn ready_then_signs_of_life_then_stopping() {
    let bench = Bench::new();
    let arguments = ["run", "--spill", "spill", "--listen", "127.0.0.1:0"];
    let mut command = bench.command(&arguments);
    let manager = Manager::new(&bench, command.env("WATCHDOG_USEC", "200000"));
    let mut serving = Serving::spawn(&mut command);
    let first = manager.message();
    assert!(first.contains(&"READY=1".to_owned()), "{first:?}");
    for _ in 0..3 {
        manager.up_to("WATCHDOG=1");
    }
    serving.publish(&fs::read(SESSIONS).unwrap());
    manager.up_to("STATUS=live, entries go to the sink; 2,000 delivered, 0 waiting");
    serving.signal(Signal::TERM);
    let last = manager.up_to("STOPPING=1");
    assert!(!last.concat().contains(&"READY=1".to_owned()), "{last:?}");
}

/// Without HTTP, and without a watchdog.
#[test]
fn a_start_that_fails_is_not_ready() {
    let bench = Bench::new();
    let (mut first, stdin) = bench.piped(&["run", "--spill", "spill"]);
    let pid = first.id();
    bench.status_when(|status| status["pid"] == pid);
    let mut command = bench.command(&["run", "--spill", "spill"]);
    let manager = Manager::new(&bench, &mut command);
    Said::of(command.spawn().unwrap()).assert_code(6);
    manager.0.set_nonblocking(true).unwrap();
    let nothing = manager.0.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    drop(stdin);
    first.wait().unwrap();
    manager.0.set_nonblocking(false).unwrap();
    Said::of(command.spawn().unwrap()).assert_code(0);
    let messages = manager.up_to("STOPPING=1").concat();
    assert!(messages.contains(&"READY=1".to_owned()), "{messages:?}");
    assert!(!messages.contains(&"WATCHDOG=1".to_owned()), "{messages:?}");
}

#[test]
fn a_manager_that_is_away_for_a_while_still_learns_that_it_is_ready() {
    let bench = Bench::new();
    let mut command = bench.command(&["run", "--spill", "spill"]);
    command.env("NOTIFY_SOCKET", bench.path("notify"));
    command.env("WATCHDOG_USEC", "200000").stdin(Stdio::piped());
    let mut child = Process::from(command.spawn().unwrap());
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let failed = |line: &str| line.contains("the service manager cannot be notified");
    said.find(|line| failed(line.as_ref().unwrap()))
        .unwrap()
        .unwrap();
    let manager = Manager::listen(&bench);
    manager.up_to("READY=1");
    drop(child.stdin.take());
    manager.up_to("STOPPING=1");
    assert!(
        said.all(|line| !failed(&line.unwrap())),
        "it is reported twice"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Its log goes into a pipe that nobody reads: once that is full, the drainer waits in it for ever.
#[test]
fn a_drainer_that_hangs_is_not_healthy_and_gives_no_sign_of_life() {
    let bench = Bench::new();
    let (log, stderr) = io::pipe().unwrap();
    let mut log = BufReader::new(log);
    let sink = ["run", "--spill", "spill", "--sink", "jsonl:later/out"];
    let listen = ["--listen", "127.0.0.1:0"];
    let mut command = bench.command(&[&sink[..], &listen].concat());
    command.env("RUST_LOG", "spillring=info");
    command.stderr(stderr.try_clone().unwrap());
    let manager = Manager::new(&bench, command.env("WATCHDOG_USEC", "200000"));
    let child = command.stdin(Stdio::piped()).spawn().unwrap();
    let address = address_in(&mut log).expect("it says where it serves");
    let mut serving = Serving::of(child, address);
    manager.up_to("WATCHDOG=1");
    serving.publish(&fs::read(SESSIONS).unwrap());
    bench.status_when(|status| status["stats"]["spilled"] == 2_000);
    assert_eq!(serving.get("/healthz").status, 200);

    // The sink works, so the state changes, which the drainer logs.
    fill(&stderr);
    fs::create_dir(bench.path("later")).unwrap();
    let hung = serving.when("/healthz", |response| response.status == 503);
    assert!(hung.body.starts_with("the drainer hangs"), "{hung:?}");
    assert_eq!(serving.get("/readyz").status, 503);
    let hangs = |messages: &[Vec<String>]| messages.concat().join("\n").contains("drainer hangs");
    while !hangs(&[manager.message()]) {}
    for _ in 0..5 {
        let message = manager.message();
        assert!(!message.contains(&"WATCHDOG=1".to_owned()), "{message:?}");
    }

    drop((stderr, command));
    let reader = std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    serving.when("/healthz", |response| response.status == 200);
    manager.up_to("WATCHDOG=1");
    drop(serving);
    reader.join().unwrap().unwrap();
}

/// Writes until nothing more fits, not even a byte.
fn fill(pipe: &PipeWriter) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    // A handle of our own: the other one still waits for room.
    let unwaiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut options = fs::OpenOptions::new();
    let mut own = options
        .write(true)
        .custom_flags(unwaiting)
        .open(path)
        .unwrap();
    while own.write(&[b'.'; 4096]).is_ok() {}
    while own.write(b".").is_ok() {}
}
