//! The promise: `publish` and `try_publish` neither allocate nor enter the kernel, whatever the ring's state, and an
//! audit entry stays small. Allocations are counted per thread. For system calls, a child process (this test binary
//! again) installs a seccomp filter on the publishing threads that kills the process at the first one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seccompiler::{SeccompAction, SeccompFilter};
use spillring::{
    AuditEntry, Batch, BoxFuture, Config, Delivery, Drainer, Position, Publisher, PublisherId,
    Sink, SinkError, TryPublishError,
};

/// Names the scenario to the child process.
const SCENARIO: &str = "SPILLRING_HOT_PATH";
const ROUNDS: usize = 20_000;
const LIMIT: Duration = Duration::from_secs(60);

/// Takes everything at once, or, shut, nothing ever.
#[derive(Debug, Clone, Copy)]
enum Gate {
    Open,
    Shut,
}

impl Sink for Gate {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        match self {
            Self::Open => Box::pin(async { Delivery::all(batch) }),
            Self::Shut => Box::pin(std::future::pending()),
        }
    }
}

fn entries(count: usize) -> Vec<AuditEntry> {
    let text = std::fs::read_to_string("tests/data/sessions.jsonl").unwrap();
    let parsed: Vec<AuditEntry> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    parsed.iter().cycle().take(count).cloned().collect()
}

fn start(gate: Gate, dir: &tempfile::TempDir) -> Drainer<AuditEntry> {
    let mut config = Config::new(dir.path().join("spill"));
    config.spill_bytes_max = 1 << 20;
    if matches!(gate, Gate::Shut) {
        config.ring_capacity = 64;
    }
    spillring::start(config, gate).unwrap()
}

/// Publishes until the ring, the spill at its cap behind it, refuses for good.
fn fill(publisher: &Publisher<AuditEntry>) {
    let start = Instant::now();
    let mut refused_since = None;
    let entry = &entries(1)[0];
    while refused_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        assert!(start.elapsed() < LIMIT, "the ring does not fill");
        match publisher.try_publish(entry.clone()) {
            Ok(()) => refused_since = None,
            Err(_) => {
                refused_since.get_or_insert_with(Instant::now);
                thread::yield_now();
            }
        }
    }
}

/// Closes the publisher, and waits until that is done.
fn close(drainer: Drainer<AuditEntry>) {
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
}

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn publishing_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let drainer = start(Gate::Open, &dir);
    let publisher = drainer.publisher();
    let mut batch = entries(2 * ROUNDS).into_iter();
    let count = allocations(|| {
        for entry in batch.by_ref().take(ROUNDS) {
            publisher.publish(entry);
        }
        for entry in batch.by_ref() {
            assert!(
                publisher.try_publish(entry).is_ok(),
                "the ring holds them all"
            );
        }
    });
    assert_eq!(count, 0);
    close(drainer);
}

#[test]
fn refusing_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let drainer = start(Gate::Shut, &dir);
    let publisher = drainer.publisher();
    fill(&publisher);
    let refuse = |expected: fn(&TryPublishError<AuditEntry>) -> bool| {
        let batch = entries(ROUNDS);
        let entry = batch[0].clone();
        allocations(|| {
            for entry in batch {
                publisher.publish(entry);
            }
            let mut again = Some(entry);
            for _ in 0..ROUNDS {
                let refused = publisher.try_publish(again.take().unwrap()).unwrap_err();
                assert!(expected(&refused));
                again = Some(refused.into_entry());
            }
        })
    };
    assert_eq!(
        refuse(|refused| matches!(refused, TryPublishError::Full(_))),
        0
    );
    close(drainer);
    assert_eq!(
        refuse(|refused| matches!(refused, TryPublishError::Closed(_))),
        0
    );
}

#[test]
fn an_audit_entry_is_small() {
    assert!(
        size_of::<AuditEntry>() <= 160,
        "{} bytes",
        size_of::<AuditEntry>()
    );
}

#[test]
fn publishing_enters_no_kernel() {
    assert_eq!(child("open"), Some(0));
}

#[test]
fn publishing_from_several_threads_enters_no_kernel() {
    assert_eq!(child("contended"), Some(0));
}

#[test]
fn refusing_when_full_enters_no_kernel() {
    assert_eq!(child("full"), Some(0));
}

#[test]
fn refusing_when_closed_enters_no_kernel() {
    assert_eq!(child("closed"), Some(0));
}

/// The test of the tests: a thread that does enter the kernel is killed for it.
#[test]
fn the_filter_kills() {
    assert_eq!(child("guilty"), None);
}

/// Runs the scenario in a child; `None` if a signal has killed it.
fn child(scenario: &str) -> Option<i32> {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scenario", "--nocapture", "--test-threads", "1"])
        .env(SCENARIO, scenario)
        .status()
        .unwrap()
        .code()
}

/// Not a test of its own: what the child does.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let gate = if scenario == "full" {
        Gate::Shut
    } else {
        Gate::Open
    };
    let drainer = start(gate, &dir);
    let publisher = drainer.publisher();
    match scenario.as_str() {
        "open" => behind_filters(&publisher, 1, publish),
        "contended" => behind_filters(&publisher, 4, publish),
        "full" => {
            fill(&publisher);
            behind_filters(&publisher, 2, be_refused);
        }
        "closed" => {
            close(drainer);
            behind_filters(&publisher, 2, be_refused);
        }
        "guilty" => behind_filters(&publisher, 1, |_, _| thread::yield_now()),
        unknown => panic!("no scenario is called {unknown}"),
    }
}

/// Runs the work on so many threads, each behind a filter that lets no system call pass, and exits when all are done:
/// the threads cannot even end.
fn behind_filters(
    publisher: &Publisher<AuditEntry>,
    threads: usize,
    work: fn(&Publisher<AuditEntry>, &mut Vec<AuditEntry>),
) -> ! {
    let (ready, done) = (Barrier::new(threads), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut batch = entries(ROUNDS / threads);
                publisher.publish(batch[0].clone());
                ready.wait();
                seccompiler::apply_filter(&no_system_call()).unwrap();
                work(publisher, &mut batch);
                done.fetch_add(1, Ordering::Release);
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        let start = Instant::now();
        while done.load(Ordering::Acquire) < threads {
            assert!(start.elapsed() < LIMIT, "the threads do not come to an end");
            thread::yield_now();
        }
        std::process::exit(0)
    })
}

fn publish(publisher: &Publisher<AuditEntry>, batch: &mut Vec<AuditEntry>) {
    let half = batch.len() / 2;
    for entry in batch.drain(..half) {
        publisher.publish(entry);
    }
    for entry in batch.drain(..) {
        assert!(
            publisher.try_publish(entry).is_ok(),
            "the ring holds them all"
        );
    }
}

/// Of the refused entries none is dropped within sight of the filter: returning memory to the system is the
/// allocator's business. `publish` is given one without memory of its own.
fn be_refused(publisher: &Publisher<AuditEntry>, batch: &mut Vec<AuditEntry>) {
    let (agent, session) = (batch[0].agent_id(), batch[0].session_id());
    for _ in 0..ROUNDS {
        let entry = batch.pop().unwrap();
        batch.push(publisher.try_publish(entry).unwrap_err().into_entry());
        let kind = spillring::AuditEventType::ToolDispatched;
        publisher.publish(AuditEntry::new(
            0,
            1,
            kind,
            agent,
            session,
            String::new(),
            [0; 32],
        ));
    }
}

fn no_system_call() -> seccompiler::BpfProgram {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules = std::collections::BTreeMap::new();
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )
    .unwrap()
    .try_into()
    .unwrap()
}
