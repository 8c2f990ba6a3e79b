//! Takes the server away from a publisher that goes on publishing: not there yet, killed, stopped. Nothing may be
//! refused meanwhile, and nothing missing afterwards.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use spillring::State;

use crate::bench::{ALL, AMPLE, Bench, Running, publish_paced};
use crate::reading::{Reading, Run};
use test_support::nats::NatsServer;

/// How many agents publish at the same time.
const AGENTS: usize = 2;
/// Each: all lines take a second and a half.
const PER_SECOND: u32 = 667;

#[test]
fn with_the_server_up_each_entry_is_stored_once_and_in_order() {
    let server = NatsServer::start();
    let mut bench = Bench::new(&server.url());
    bench.config.ack_timeout = AMPLE;
    let mut running = bench.start();
    running.publish(0..ALL);
    let stats = running.deliver_all();
    assert_eq!((stats.delivered, stats.delivery_errors), (2_000, 0));
    Reading::of(&server).one_run().assert_lines(0..ALL);
}

#[test]
fn a_server_that_comes_up_late_gets_everything_in_order() {
    let mut server = NatsServer::start();
    server.kill();
    let mut running = Bench::new(&server.url()).start();
    running.publish(0..ALL);
    let stats = running.until_all_spilled();
    assert_eq!(stats.in_memory + stats.in_ring, 0, "{stats:#?}");
    server.restart();
    let stats = running.deliver_all();
    assert_eq!(stats.replayed, 2_000);
    Reading::of(&server).one_run().assert_lines(0..ALL);
}

/// A server that cannot be reached is tried again and again, whatever the backoff is for one that can.
#[test]
fn a_server_that_comes_back_is_used_before_a_long_backoff_ends() {
    let mut server = NatsServer::start();
    server.kill();
    let mut bench = Bench::new(&server.url());
    bench.config.backoff_min = Duration::from_secs(10 * 60);
    bench.config.backoff_max = Duration::from_secs(3_600);
    let mut running = bench.start();
    running.publish(0..10);
    running.until("it was tried", |stats| stats.delivery_errors >= 3);
    server.restart();
    running.until_delivered(10);
    running.deliver_all();
    Reading::of(&server).one_run().assert_lines(0..10);
}

/// The agents never learn that there was an outage. Which batch the kill strikes is up to chance: there are many, since
/// each is small, and the entries keep coming.
#[test]
fn a_server_that_is_killed_and_restarted_while_agents_publish_misses_nothing() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let mut running = bench.start();
    while_agents_publish(&mut running, |running, struck| {
        running.until_delivered(300);
        server.kill();
        drop(struck);
        running.until("entries are spilled", |stats| stats.spilled > 100);
        server.restart();
    });
    let stats = running.deliver_all();
    assert!(
        stats.replayed > 100 && stats.delivery_errors > 0,
        "{stats:#?}"
    );
    assert_of_agents(&Reading::of(&server).one_run());
}

/// The kill strikes while a long backlog leaves, with the window full.
#[test]
fn a_server_that_is_killed_during_the_replay_misses_nothing() {
    let mut server = NatsServer::start();
    server.kill();
    let mut bench = Bench::new(&server.url());
    bench.config.batch_max = 1_000;
    // So that there is a middle, however late the kill: after the first 4,000, a batch takes a quarter of a second.
    bench.config.replay_rate_max = Some(4_000);
    let mut running = bench.start();
    running.publish(0..5 * ALL);
    running.until_all_spilled();
    for _ in 0..2 {
        server.restart();
        let before = running.stats().delivered;
        running.until_delivered(before + 1);
        server.kill();
    }
    let stats = running.stats();
    assert!(stats.spilled > 0, "killed in the middle: {stats:#?}");
    server.restart();
    running.deliver_all();
    let expected = (0..5).flat_map(|_| 0..ALL);
    Reading::of(&server).one_run().assert_lines(expected);
}

/// A stopped server holds its connections open and says nothing: only the acknowledgement limit reveals it. When it
/// goes on, it finds in its sockets what was sent before, and takes it beside what is sent again.
#[test]
fn a_server_that_stops_for_longer_than_the_limit_misses_nothing() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let mut running = bench.start();
    while_agents_publish(&mut running, |running, struck| {
        running.until_delivered(300);
        server.stop_signal();
        drop(struck);
        // The first error is the limit; the second, that no connection can be made.
        let errors = |count| move |stats: &spillring::Stats| stats.delivery_errors >= count;
        running.until("the silence is noticed", errors(1));
        let during = running.until("it is still silent", errors(2));
        assert_eq!(during.state, State::Spilling);
        assert!(during.spilled > 0, "{during:#?}");
        server.cont_signal();
    });
    let stats = running.deliver_all();
    assert!(stats.replayed > 0, "{stats:#?}");
    assert_of_agents(&Reading::of(&server).one_run());
}

/// The same with nothing but a single batch, which the server stores after all: sent again, it must be known there.
#[test]
fn a_batch_whose_acknowledgement_comes_too_late_is_not_doubled() {
    let server = NatsServer::start();
    let mut running = Bench::new(&server.url()).start();
    running.publish(0..10);
    running.until_delivered(10);
    server.stop_signal();
    let before = running.stats().delivery_errors;
    running.publish(10..60);
    running.until("the limit passes", |stats| stats.delivery_errors > before);
    server.cont_signal();
    running.deliver_all();
    Reading::of(&server).one_run().assert_lines(0..60);
}

#[test]
fn two_publishers_on_one_stream_keep_their_orders_apart_through_a_kill() {
    let mut server = NatsServer::start();
    let benches = [Bench::new(&server.url()), Bench::new(&server.url())];
    let mut both = benches.each_ref().map(Bench::start);
    for running in &mut both {
        running.publish(0..ALL / 2);
        running.until_delivered(1);
    }
    server.kill();
    for running in &mut both {
        running.publish(ALL / 2..ALL);
    }
    server.restart();
    for running in both {
        running.deliver_all();
    }
    let [one, other] = Reading::of(&server).runs_each_once();
    assert_ne!(one.told("publisher"), other.told("publisher"));
    for run in [one, other] {
        run.assert_lines(0..ALL);
        assert_eq!(run.told("previous"), None);
    }
}

#[test]
fn flush_answers_once_the_entries_are_on_disk_though_the_server_is_away() {
    let server = NatsServer::start();
    let mut running = Bench::new(&server.url()).start();
    server.stop_signal();
    running.publish(0..50);
    let flushed = running.publisher.flush();
    assert_eq!(flushed.wait(Duration::from_secs(20)), Ok(()));
    let stats = running.stats();
    assert_eq!((stats.spilled, stats.in_memory), (50, 0), "{stats:#?}");
    server.cont_signal();
    running.deliver_all();
    Reading::of(&server).one_run().assert_lines(0..50);
}

/// Publishes all lines, shared out among the agents, while something happens. The last quarter comes after the strike,
/// however late that is.
fn while_agents_publish(
    running: &mut Running,
    happens: impl FnOnce(&Running, Vec<mpsc::Sender<()>>),
) {
    thread::scope(|scope| {
        let agents = (0..AGENTS).map(|agent| {
            let publisher = running.publisher.clone();
            let (struck, until_struck) = mpsc::channel();
            scope.spawn(move || {
                let mut lines = (agent..ALL).step_by(AGENTS);
                let first = lines.by_ref().take(ALL / AGENTS * 3 / 4);
                publish_paced(&publisher, first, PER_SECOND);
                until_struck.recv().unwrap_err();
                publish_paced(&publisher, lines, PER_SECOND);
            });
            struck
        });
        let struck = agents.collect();
        happens(running, struck);
    });
    running.attempted_elsewhere(ALL);
}

/// Each line stands there once, and each agent's in the order of its publishing.
#[track_caller]
fn assert_of_agents(run: &Run) {
    assert_eq!((run.last_n(), run.lost()), (2_000, 0));
    let lines = run.lines();
    for agent in 0..AGENTS {
        let theirs = lines.iter().copied().filter(|line| line % AGENTS == agent);
        assert!(
            theirs.eq((agent..ALL).step_by(AGENTS)),
            "the lines of agent {agent}"
        );
    }
}
