//! Tries to lose, duplicate or reorder entries by taking the server away: missing, killed, or stopped in the middle.

use std::thread;

use super::*;
use test_support::proxy::Proxy;

/// Waits, from outside, until the stream holds this many messages.
pub(super) fn wait_for_messages(url: &str, count: u64) {
    block_on(async {
        let context = jetstream::new(client(url).await);
        let until = Instant::now() + AMPLE;
        while Instant::now() < until {
            if let Ok(stream) = context.get_stream("AUDIT").await
                && stream.cached_info().state.messages >= count
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("no {count} messages in {AMPLE:?}");
    });
}

#[test]
fn a_server_that_is_down_is_unavailable_at_once_and_found_when_it_comes_up() {
    let mut server = NatsServer::start();
    server.kill();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Disconnected(_))),
        "{delivery:?}"
    );
    assert_eq!(delivery.stored, 0);
    assert!(matches!(rig.position(), Err(SinkError::Disconnected(_))));
    assert!(started.elapsed() < AMPLE / 2, "{:?}", started.elapsed());

    server.restart();
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 10);
    assert_stored(&server, &records);
}

#[test]
fn a_kill_in_the_middle_leaves_a_prefix_and_the_rest_is_resent_once_and_in_order() {
    let mut server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    rig.position().unwrap();
    let records = records(1..=100_000, COMMON);
    let url = server.url();
    let (delivery, answered_after) = thread::scope(|scope| {
        let killer = scope.spawn(|| {
            wait_for_messages(&url, 2_000);
            server.kill();
            Instant::now()
        });
        let delivery = rig.deliver(&batch(&records, AMPLE));
        let answered = Instant::now();
        (
            delivery,
            answered.saturating_duration_since(killer.join().unwrap()),
        )
    });
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unknown(_))),
        "{delivery:?}"
    );
    assert!(
        (1..records.len()).contains(&delivery.stored),
        "{}",
        delivery.stored
    );
    assert!(answered_after < AMPLE / 2, "{answered_after:?}");

    server.restart();
    let kept = read_stream(&server.url(), "AUDIT");
    assert!(
        kept.len() >= delivery.stored,
        "{} of {}",
        kept.len(),
        delivery.stored
    );
    rig.deliver_all(&records[delivery.stored..20_000.max(delivery.stored + 5_000)]);
    let through = 20_000.max(delivery.stored + 5_000);
    assert_stored(&server, &records[..through]);
}

#[test]
fn a_connection_that_is_cut_is_never_taken_up_again_by_the_client() {
    let server = NatsServer::start();
    let proxy = Proxy::cutting_after(1_000_000, &[server.port()]);
    let mut rig = Rig::new(&proxy.url());
    let records = records(1..=5_000, COMMON);
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unknown(_))),
        "{delivery:?}"
    );
    assert!(started.elapsed() < AMPLE / 2, "{:?}", started.elapsed());
    assert_eq!(proxy.accepted(), 1);
    rig.deliver_all(&records[delivery.stored..]);
    assert_eq!(proxy.accepted(), 2);
    assert_stored(&server, &records);
}

#[test]
fn a_server_killed_between_two_batches_is_not_taken_for_a_live_one() {
    let mut server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=20, COMMON);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    server.restart();
    rig.deliver_all(&records[10..]);
    assert_stored(&server, &records);
}

#[test]
fn a_stopped_server_costs_no_more_than_the_limit_and_nothing_is_lost_or_doubled() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    // Twenty times what fits into the client and the sockets: sending itself blocks.
    let records = records(1..=2_000, 40_000);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    server.stop_signal();
    let started = Instant::now();
    let limit = Duration::from_millis(700);
    let delivery = rig.deliver(&batch(&records[10..], limit));
    let took = started.elapsed();
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unknown(_))),
        "{delivery:?}"
    );
    assert_eq!(delivery.stored, 0);
    // Not for ever: long before anything else gives up.
    assert!(took < limit + Duration::from_secs(10), "{took:?}");

    // The connection in doubt is gone, and a new one fails, too.
    let again = rig.deliver(&batch(&records[10..], limit));
    assert!(
        matches!(again.stopped, Some(SinkError::Disconnected(_))),
        "{again:?}"
    );

    server.cont_signal();
    rig.deliver_all(&records[10..]);
    assert_stored(&server, &records);
}

#[test]
fn a_dead_peer_is_noticed_by_the_pings_long_before_the_limit() {
    let server = NatsServer::start();
    let mut rig = Rig::with(&server.url(), |config| {
        config.ping_interval = Duration::from_millis(200);
    });
    let records = records(1..=10, COMMON);
    rig.position().unwrap();
    server.stop_signal();
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unknown(_))),
        "{delivery:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_call_that_is_dropped_half_way_leaves_a_sink_that_goes_on() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=500, COMMON);
    rig.position().unwrap();
    server.stop_signal();
    let batch_of_all = batch(&records, AMPLE);
    let dropped = rig.runtime.block_on(async {
        tokio::time::timeout(Duration::from_millis(100), rig.sink.deliver(&batch_of_all)).await
    });
    assert!(dropped.is_err());
    server.cont_signal();
    rig.deliver_all(&records);
    assert_stored(&server, &records);
}

#[test]
fn the_second_server_is_taken_when_the_first_is_down() {
    let server = NatsServer::start();
    let mut rig = Rig::with(&server.url(), |config| {
        config
            .urls
            .push(format!("nats://127.0.0.1:{}", free_port()).into());
    });
    let records = records(1..=10, COMMON);
    for part in records.chunks(1) {
        rig.sink.connected = None;
        assert_all(&rig.deliver(&batch(part, AMPLE)), 1);
    }
    assert_stored(&server, &records);
}

#[test]
fn a_server_in_lame_duck_mode_is_left_after_the_batch() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records[..5], AMPLE)), 5);
    server.signal(rustix::process::Signal::USR2);
    // By itself the server closes the connection after ten seconds.
    let until = Instant::now() + Duration::from_secs(5);
    while rig
        .sink
        .connected
        .as_ref()
        .unwrap()
        .wire
        .connection
        .is_usable()
    {
        assert!(Instant::now() < until, "the farewell did not arrive");
        let pause = async { tokio::time::sleep(Duration::from_millis(10)).await };
        rig.runtime.block_on(pause);
    }
    let delivery = rig.deliver(&batch(&records[5..], AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Disconnected(_))),
        "{delivery:?}"
    );
}
