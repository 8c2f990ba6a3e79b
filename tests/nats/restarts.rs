//! A shutdown while the server is away, and the start after it.

use std::time::Duration;

use spillring::State;

use crate::bench::{ALL, Bench};
use crate::reading::Reading;
use test_support::eventually::eventually;
use test_support::nats::NatsServer;

#[test]
fn what_a_shutdown_could_not_deliver_is_spilled_and_delivered_by_the_next_start() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    let mut first = bench.start();
    first.publish(0..500);
    first.until_delivered(500);
    server.stop_signal();
    first.publish(500..1_000);
    let stats = first.shutdown(Duration::from_millis(300));
    assert_eq!((stats.delivered, stats.spilled), (500, 500), "{stats:#?}");
    let report = spillring::operate::status(bench.spill()).expect("a status");
    assert_eq!(
        (report.stats.state, report.stats.spilled),
        (State::Stopped, 500),
        "{report:#?}"
    );
    assert_eq!(report.pid, None);

    server.cont_signal();
    let mut second = bench.start();
    second.publish(1_000..ALL);
    let stats = second.deliver_all();
    assert_eq!((stats.inherited, stats.delivered), (500, 1_500));
    let [one, other] = Reading::of(&server).runs_each_once();
    one.assert_lines(0..1_000);
    other.assert_lines(1_000..ALL);
    other.assert_follows_clean(&one, 1_000);
}

/// Three starts that never see the server: the fourth delivers for all of them, in the order of the runs.
#[test]
fn a_backlog_of_several_runs_arrives_run_by_run() {
    let mut server = NatsServer::start();
    server.kill();
    let bench = Bench::new(&server.url());
    for part in 0..3 {
        let mut running = bench.start();
        running.publish(part * 500..(part + 1) * 500);
        let stats = running.shutdown(Duration::ZERO);
        assert_eq!(stats.spilled, 500 * (part as u64 + 1), "{stats:#?}");
    }
    server.restart();
    let mut last = bench.start();
    last.publish(1_500..ALL);
    last.deliver_all();
    let runs: [_; 4] = Reading::of(&server).runs_each_once();
    for (part, run) in runs.iter().enumerate() {
        run.assert_lines(part * 500..(part + 1) * 500);
    }
    for pair in runs.windows(2) {
        pair[1].assert_follows_clean(&pair[0], 500);
    }
}

/// Live entries of a new run must wait for the backlog of the old one, in the same stream and on the same subjects.
#[test]
fn a_publisher_that_is_dropped_instead_of_shut_down_spills_as_well() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url());
    server.stop_signal();
    let mut first = bench.start();
    first.publish(0..700);
    drop(first);
    // A drop waits for a second at most.
    eventually("the directory is free", || {
        let running = spillring::operate::running_status(&bench.config.spill_dir);
        running.unwrap().is_none().then_some(())
    });
    server.cont_signal();
    let mut second = bench.start();
    second.publish(700..ALL);
    let stats = second.deliver_all();
    assert_eq!(stats.inherited, 700);
    let [one, other] = Reading::of(&server).runs_each_once();
    one.assert_lines(0..700);
    other.assert_lines(700..ALL);
    other.assert_follows_clean(&one, 700);
}
