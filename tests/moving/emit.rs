//! Any asynchronous function that takes an entry is a sink.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spillring::AuditEntry;
use spillring::error::SinkError;
use spillring::event::Record;
use spillring::operate::DeadLetters;
use spillring::sink::EmitSink;

use crate::bench::{LIMIT, config, end, entry, eventually, until_settled};

/// What is refused, and what becomes of it.
#[test]
fn what_is_rejected_becomes_a_dead_letter_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&taken);
    let sink = EmitSink::entries(move |entry: AuditEntry| {
        let taken = Arc::clone(&theirs);
        async move {
            if entry.seq() == 2 {
                return Err(SinkError::Rejected("not this one".to_owned()));
            }
            taken.lock().push(entry.seq());
            Ok(())
        }
    });
    let drainer = spillring::start(config(dir.path()), sink).unwrap();
    for seq in 1..=4 {
        drainer.publisher().publish(entry(seq));
    }
    until_settled(&drainer);
    let stats = end(drainer, 4);
    assert_eq!(*taken.lock(), [1, 3, 4]);
    assert_eq!((stats.delivered, stats.rejected), (3, 1));
}

/// A sink of a type that does not read the entry's JSON.
#[test]
fn what_the_type_does_not_read_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let sink = EmitSink::entries(|_: [u8; 3]| async { Ok(()) });
    let drainer = spillring::start(config(dir.path()), sink).unwrap();
    drainer.publisher().publish(entry(1));
    until_settled(&drainer);
    assert_eq!(end(drainer, 1).rejected, 1);
    let letters = DeadLetters::open(dir.path()).unwrap();
    let letter = letters.iter().next().unwrap().unwrap();
    assert!(
        letter.detail.contains("does not fit the sink's type"),
        "{}",
        letter.detail
    );
}

/// The first call for each entry never ends: it is cut off with the batch's time, and the entry is sent again. Those
/// before it are not.
#[test]
fn a_call_that_hangs_is_cut_off_and_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&calls);
    let sink = EmitSink::new(move |record: Record| {
        let n = record.id().n;
        let again = theirs.lock().contains(&n);
        theirs.lock().push(n);
        async move {
            if n == 3 && !again {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let mut config = config(dir.path());
    config.ack_timeout = Duration::from_millis(50);
    let drainer = spillring::start(config, sink).unwrap();
    for seq in 1..=5 {
        drainer.publisher().publish(entry(seq));
    }
    until_settled(&drainer);
    assert_eq!(end(drainer, 5).delivered, 5);
    assert_eq!(*calls.lock(), [1, 2, 3, 3, 4, 5]);
}

/// The sink lives on, and the entry is tried again before those behind it.
#[test]
fn a_function_that_panics_is_called_again() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&calls);
    let sink = EmitSink::new(move |record: Record| {
        let n = record.id().n;
        let mut calls = theirs.lock();
        let turns = calls.iter().filter(|call| **call == n).count();
        calls.push(n);
        drop(calls);
        assert!((n, turns) != (2, 0), "before anything is awaited");
        async move {
            tokio::task::yield_now().await;
            assert!((n, turns) != (2, 1), "while it is awaited");
            Ok(())
        }
    });
    let drainer = spillring::start(config(dir.path()), sink).unwrap();
    for seq in 1..=3 {
        drainer.publisher().publish(entry(seq));
    }
    until_settled(&drainer);
    assert_eq!(end(drainer, 3).delivered, 3);
    assert_eq!(*calls.lock(), [1, 2, 2, 2, 3]);
}

/// What takes longer than a batch may is not repeated from its beginning.
#[test]
fn a_slow_function_gets_each_entry_once() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&calls);
    let sink = EmitSink::new(move |record: Record| {
        theirs.lock().push(record.id().n);
        async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(())
        }
    });
    let mut config = config(dir.path());
    config.ack_timeout = Duration::from_millis(200);
    let drainer = spillring::start(config, sink).unwrap();
    for seq in 1..=30 {
        drainer.publisher().publish(entry(seq));
    }
    eventually("all are delivered", || drainer.stats().delivered == 30);
    drainer.shutdown(LIMIT).wait(LIMIT * 2).unwrap();
    assert_eq!(*calls.lock(), (1..=30).collect::<Vec<_>>());
}
