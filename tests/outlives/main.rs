//! A process that publishes from four threads at full rate is killed with SIGKILL, again and again, also within its
//! first moments and while it takes over what the one before it has left. With `ring_dir`, whatever `publish` had
//! returned for comes out exactly once and in order, and each run says its last number.
//!
//! What had returned is known from counters in a file of their own, which is shared memory as well.
//!
//! `SPILLRING_KILLS=1000` kills so often; on a tmpfs if `TMPDIR` is one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

mod group;
mod mark;
mod place;

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;

use group::Group;
use mark::Mark;
use place::{LIMIT, Place, THREADS, Task, Way};
use test_support::skipped::skipped;

/// How many entries a thread publishes before it ends the process.
const ENOUGH: u64 = 1_000;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// A process that wants too much memory takes so much at once.
const GREED: usize = 1 << 20;

/// So many processes are killed.
fn kills(by_default: usize) -> usize {
    std::env::var("SPILLRING_KILLS").map_or(by_default, |kills| kills.parse().unwrap())
}

#[test]
fn published_entries_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let kills = kills(60);
    place.kill(kills, |random| {
        if random.bool() {
            Way::Lines
        } else {
            Way::NoLines
        }
    });
    place.deliver(&Way::Lines);
    place.judge(&place.lines(), kills);
}

#[cfg(feature = "nats")]
#[test]
fn published_entries_for_a_server_outlive_the_process() {
    use test_support::nats::{NatsServer, free_port, read_stream};

    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let server = NatsServer::start();
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    let kills = kills(20);
    place.kill(kills, |random| match random.u32(..3) {
        0 => Way::Nats(nobody.clone()),
        _ => Way::Nats(server.url()),
    });
    place.deliver(&Way::Nats(server.url()));
    let messages = read_stream(&server.url(), "AUDIT");
    let entries = messages
        .iter()
        .filter(|message| message.subject.starts_with("assembly.audit."));
    let entries = entries.map(|message| String::from_utf8(message.payload.to_vec()).unwrap());
    place.judge(&entries.collect::<Vec<_>>(), kills);
}

/// A panic ends so as well where it aborts.
#[test]
fn published_entries_outlive_an_abort_or_exit() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let ends = ["abort", "overflow", "exit"];
    for (life, end) in ends.iter().enumerate() {
        let status = place.child(life, &Way::NoLines, end).wait().unwrap();
        let expected = (*end != "exit").then_some(SIGABRT);
        assert_eq!(status.signal(), expected, "{status}: {}", place.said());
    }
    place.deliver(&Way::Lines);
    place.judge(&place.lines(), ends.len());
}

#[test]
fn published_entries_outlive_an_out_of_memory_kill() {
    let Some(group) = Group::new() else {
        return skipped("no control group can be made here");
    };
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let group = group.dir().to_str().unwrap();
    let status = place.child(0, &Way::NoLines, group).wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "{status}: {}", place.said());
    place.deliver(&Way::Lines);
    place.judge(&place.lines(), 1);
}

/// The process ends in the middle of its work, if it is to end by itself. None of its destructors run.
fn end(how: &str) {
    match how {
        "" => {}
        "abort" => std::process::abort(),
        "overflow" => drop(black_box(overflow(&[0; 1_024]))),
        "exit" => std::process::exit(0),
        group => {
            Group::join(Path::new(group));
            let mut taken = Vec::new();
            loop {
                taken.push(black_box(vec![1_u8; GREED]));
            }
        }
    }
}

#[expect(unconditional_recursion, reason = "until the stack is used up")]
fn overflow(before: &[u8; 1_024]) -> u8 {
    let mut frame = *black_box(before);
    frame[0] = frame[0].wrapping_add(1);
    overflow(&frame).wrapping_add(frame[1])
}

/// Not a test, but the process that is killed: nothing happens without its task.
#[test]
fn child() {
    let Some(task) = Task::found() else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let drainer = task.place.start(&task.way);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (publisher, task) = (drainer.publisher(), &task);
            scope.spawn(move || {
                for n in 0.. {
                    let mark = Mark::new(task.life as u64, thread as u64, n);
                    publisher.publish_timeout(mark, LIMIT).unwrap();
                    task.place.note_returned(task.life, thread, n + 1);
                    if n == ENOUGH && thread == 0 {
                        end(&task.ends);
                    }
                }
            });
        }
    });
}
