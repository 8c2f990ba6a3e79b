//! Tries to catch `publish` and `try_publish` in a system call. Each scenario runs in a process of its own; there every
//! publishing thread, after its first publish, hands itself to a filter that lets no system call pass: the kernel kills
//! the process at the first, with SIGSYS. Such a thread can't even end, so it counts itself done and spins, and the
//! process exits around it.
//!
//! What is published owns no memory: what the allocator does when a refused entry is freed is not asked here.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use spillring::Publisher;

use super::rig::{LIMIT, Parcel, close, fill, start, start_in_file};

const CHILD: &str = "SPILLRING_HOT_PATH_CHILD";
const SIGSYS: i32 = 31;
const ENTRIES: usize = 100_000;
const THREADS: usize = 3;

/// Runs the scenario in a process of its own, by running the named test of this binary there alone.
fn in_child(test: &str, scenario: fn()) -> Output {
    if std::env::var_os(CHILD).is_some() {
        scenario();
        std::process::exit(0);
    }
    let binary = std::env::current_exe().expect("the path of this binary");
    let test = format!("system_calls::{test}");
    let mut command = Command::new(binary);
    command.args(["--exact", &test, "--nocapture"]);
    // A killed process leaves its files behind: they lie in a directory of this one's.
    let dir = tempfile::tempdir().expect("a directory");
    command.env(CHILD, "1").env("TMPDIR", dir.path());
    command.output().expect("a child process")
}

fn assert_no_system_call(test: &str, scenario: fn()) {
    let output = in_child(test, scenario);
    let signal = output.status.signal();
    assert_ne!(signal, Some(SIGSYS), "a system call was made");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

/// Does the work on so many threads that may make no system call, and waits until all have done it.
fn without_system_calls(
    threads: usize,
    publisher: &Publisher<Parcel>,
    work: fn(&Publisher<Parcel>),
) {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..threads {
        let (publisher, done) = (publisher.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            publisher.publish(Parcel::plain());
            apply_filter(&deny_all()).expect("the kernel takes the filter");
            work(&publisher);
            done.fetch_add(1, Ordering::Release);
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let begin = Instant::now();
    while done.load(Ordering::Acquire) < threads {
        assert!(begin.elapsed() < LIMIT, "the threads don't come to an end");
        std::thread::yield_now();
    }
}

fn deny_all() -> BpfProgram {
    let arch = std::env::consts::ARCH.try_into();
    let filter = SeccompFilter::new(
        BTreeMap::new(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch.expect("an architecture that the filter knows"),
    );
    let program = filter.and_then(BpfProgram::try_from);
    program.expect("the filter compiles")
}

fn publish_many(publisher: &Publisher<Parcel>) {
    for _ in 0..ENTRIES / 2 {
        publisher.publish(Parcel::plain());
        drop(publisher.try_publish(Parcel::plain()));
    }
}

#[test]
fn none_while_the_drainer_works() {
    assert_no_system_call("none_while_the_drainer_works", || {
        let (_dir, drainer) = start();
        without_system_calls(1, &drainer.publisher(), publish_many);
        close(drainer);
    });
}

#[test]
fn none_with_contending_publishers() {
    assert_no_system_call("none_with_contending_publishers", || {
        let (_dir, drainer) = start();
        without_system_calls(THREADS, &drainer.publisher(), publish_many);
        close(drainer);
    });
}

/// It is full now and again.
#[test]
fn none_with_the_ring_in_a_file() {
    assert_no_system_call("none_with_the_ring_in_a_file", || {
        let (_dir, drainer) = start_in_file();
        without_system_calls(THREADS, &drainer.publisher(), publish_many);
        close(drainer);
    });
}

#[test]
fn none_with_a_full_ring() {
    assert_no_system_call("none_with_a_full_ring", || {
        let (_dir, drainer) = start();
        let publisher = drainer.publisher();
        let bolt = fill(&publisher);
        without_system_calls(THREADS, &publisher, publish_many);
        bolt.draw();
        close(drainer);
    });
}

#[test]
fn none_after_the_close() {
    assert_no_system_call("none_after_the_close", || {
        let (_dir, drainer) = start();
        let publisher = drainer.publisher();
        close(drainer);
        without_system_calls(THREADS, &publisher, publish_many);
    });
}

/// A test of the tests.
#[test]
fn a_system_call_is_noticed() {
    let output = in_child("a_system_call_is_noticed", || {
        let (_dir, drainer) = start();
        without_system_calls(1, &drainer.publisher(), |_| std::thread::yield_now());
    });
    assert_eq!(output.status.signal(), Some(SIGSYS));
}
