//! The end accounts for everything, waits for what may still come, and never hangs.

use std::sync::Arc;

use super::bench::PUBLISHER;
use super::*;
use crate::seal::Signer;
use crate::stats::{State, Stats};
use crate::ticket::Ticket;

fn account(ticket: &Ticket<Stats>) -> Stats {
    ticket.wait(Duration::ZERO).unwrap()
}

#[test]
fn an_end_with_nothing_to_do_is_clean_and_quick() {
    let mut bench = Bench::new();
    bench.publish(0..5);
    bench.run_for(SECOND / 10);
    let start = bench.now;
    let ticket = bench.control.shutdown(SECOND * 1_000);
    bench.run_for(SECOND);
    let stats = account(&ticket);
    assert_eq!((stats.state, stats.delivered), (State::Stopped, 5));
    assert_eq!(bench.ended, Some((5, 6, vec![])));
    assert_eq!(bench.orders.last(), Some(&"tick"), "the last status");
    assert!(bench.now - start < SECOND / 10);
}

#[test]
fn an_end_without_time_puts_everything_on_disk() {
    let mut bench = Bench::new();
    bench.sink = Sink::Frozen;
    bench.publish(0..60);
    let ticket = bench.control.shutdown(Duration::ZERO);
    bench.run_for(SECOND);
    let stats = account(&ticket);
    assert_eq!((stats.spilled, stats.in_memory + stats.in_ring), (60, 0));
    assert!(bench.ended.is_some());
}

/// The account says what the next start finds, even if the sink answers at the last moment.
#[test]
fn an_answer_that_comes_while_the_end_is_noted_changes_nothing() {
    let mut bench = Bench::new();
    bench.publish(0..1);
    bench.run_for(SECOND / 10);
    bench.sink = Sink::Frozen;
    bench.publish(1..61);
    bench.run_for(SECOND / 100);
    let ticket = bench.control.shutdown(Duration::ZERO);
    bench.run_until("the end is noted", |bench| bench.ended.is_some());
    bench.sink = Sink::Takes;
    bench.run_for(SECOND);
    let stats = account(&ticket);
    assert_eq!((stats.delivered, stats.spilled), (1, 60));
    assert_eq!((bench.rows.len(), bench.stored.len()), (60, 11));
}

/// At the end the spill knows what was delivered.
#[test]
fn what_was_delivered_is_settled_before_the_end_is_noted() {
    let mut bench = Bench::new();
    bench.sink = Sink::Frozen;
    bench.publish(0..60);
    bench.run_for(SECOND);
    bench.sink = Sink::Takes;
    let ticket = bench.control.shutdown(SECOND);
    bench.run_for(SECOND * 2);
    assert_eq!(account(&ticket).delivered, 60);
    assert!(bench.rows.is_empty());
    let settled = bench.orders.iter().rposition(|order| *order == "settle");
    let ended = bench.orders.iter().rposition(|order| *order == "end");
    assert!(settled < ended);
}

/// The rest after a failure, up to ten seconds, does not count at an end.
#[test]
fn a_disk_that_is_back_after_long_takes_everything_at_an_end() {
    let mut bench = Bench::new();
    bench.sink = Sink::Frozen;
    bench.disk = Disk::Fails;
    bench.publish(0..60);
    bench.run_for(SECOND * 12);
    assert_eq!(bench.stats().spilled, 0);
    bench.disk = Disk::Works;
    let ticket = bench.control.shutdown(Duration::ZERO);
    bench.run_for(SECOND);
    let stats = account(&ticket);
    assert_eq!((stats.spilled, stats.in_memory + stats.in_ring), (60, 0));
    assert!(bench.ended.is_some());
}

/// It comes back within the grace.
#[test]
fn a_disk_that_fails_at_the_end_is_tried_until_the_grace_is_over() {
    for (away, saved) in [(SECOND / 4, 30), (SECOND, 0)] {
        let mut bench = Bench::new();
        bench.sink = Sink::Frozen;
        bench.run_for(SECOND / 100);
        bench.disk = Disk::Fails;
        bench.publish(0..30);
        let ticket = bench.control.shutdown(Duration::ZERO);
        bench.run_for(away);
        bench.disk = Disk::Works;
        bench.run_for(SECOND);
        let stats = account(&ticket);
        assert_eq!(stats.spilled, saved);
        assert_eq!(stats.in_memory + stats.in_ring, 30 - saved);
        assert_eq!(bench.ended.is_some(), saved > 0);
    }
}

/// A disk that hangs with entries gets more time than one that fails.
#[test]
fn an_append_that_takes_long_is_waited_for_and_one_that_hangs_is_not() {
    for (takes, saved) in [(SECOND * 3, 30), (SECOND * 60, 0)] {
        let mut bench = Bench::new();
        bench.sink = Sink::Frozen;
        bench.run_for(SECOND / 100);
        bench.disk = Disk::Frozen;
        bench.publish(0..30);
        let start = bench.now;
        let ticket = bench.control.shutdown(Duration::ZERO);
        bench.run_for(takes);
        bench.disk = Disk::Works;
        bench.run_for(SECOND);
        assert_eq!(account(&ticket).spilled, saved);
        assert!(bench.now - start < SECOND * 7);
    }
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_an_end_that_has_delivered_everything() {
    let mut bench = Bench::new();
    bench.publish(0..5);
    bench.run_for(SECOND / 10);
    bench.disk = Disk::Frozen;
    let start = bench.now;
    let ticket = bench.control.shutdown(SECOND * 1_000);
    bench.run_for(SECOND * 10);
    assert_eq!(account(&ticket).delivered, 5);
    assert!(bench.now - start < SECOND * 6);
    assert_eq!(bench.ended, None);
}

#[test]
fn losses_after_the_last_entry_are_announced_and_noted() {
    let mut bench = Bench::new();
    bench.publish(0..70);
    let ticket = bench.control.shutdown(SECOND);
    bench.run_for(SECOND * 2);
    assert_eq!(account(&ticket).lost.queue_full, 6);
    assert_eq!(bench.through.map(|through| through.n), Some(70));
    let (last_n, first_n, trailing) = bench.ended.clone().unwrap();
    assert_eq!((last_n, first_n), (70, 65));
    assert_eq!(losses(&trailing), [(6, LossReason::QueueFull)]);
}

/// A batch is stored, but its acknowledgement is lost. If the checkpoint was lost with it, nothing after the end makes
/// another.
#[test]
fn a_batch_with_a_lost_answer_is_signed_before_the_end() {
    for (answers, renewals) in [(Sink::Takes, 0), (Sink::AnswerLost(10), 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::new();
        let signer = Signer::open(dir.path(), PUBLISHER, None, SECOND * 60).unwrap();
        bench.drainer.as_mut().unwrap().signer = Some(Arc::new(signer));
        bench.run_for(SECOND / 10);
        bench.sink = answers;
        bench.publish(0..5);
        let ticket = bench.control.shutdown(SECOND * 1_000);
        bench.run_for(SECOND * 10);
        assert_eq!(account(&ticket).delivered, 5);
        assert_eq!(bench.renewals, renewals, "{:?}", bench.sink);
    }
}
