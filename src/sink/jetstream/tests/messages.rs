//! Streams without transactions: tries to lose entries, or to have them stored twice within the stream's duplicate
//! window, or later without a log line.

use async_nats::jetstream::stream::Config;

use super::streams::{audit, create};
use super::*;
use test_support::nats::Release;
use test_support::skipped::skipped;

/// As the gateway of Agent Assembly makes it.
fn plain_stream() -> NatsServer {
    let server = NatsServer::start();
    create(&server, audit());
    server
}

#[test]
fn a_stream_without_transactions_gets_messages_with_ids_and_logs_that_once() {
    let server = plain_stream();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=3_000, COMMON);
    let log = logged(|| {
        for part in records.chunks(1_000) {
            assert_all(&rig.deliver(&batch(part, AMPLE)), 1_000);
            rig.sink.connected = None;
        }
    });
    assert_eq!(log.matches("at least once").count(), 1, "{log}");
    assert_stored(&server, &records);
    for (message, record) in read_stream(&server.url(), "AUDIT").iter().zip(&records) {
        let id = record.id().to_string();
        assert_eq!(message.header("Nats-Msg-Id"), Some(id.as_str()));
    }
}

#[test]
fn what_was_stored_already_is_not_stored_again_inside_the_duplicate_window() {
    let server = plain_stream();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=100, COMMON);
    assert_all(&rig.deliver(&batch(&records[..60], AMPLE)), 60);
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 100);
    assert_stored(&server, &records);
}

/// The server takes a batch, and its acknowledgements are lost for longer than it recognises ids.
#[test]
fn a_doubtful_batch_after_the_duplicate_window_is_logged() {
    let server = NatsServer::start();
    let window = Duration::from_millis(500);
    create(
        &server,
        Config {
            duplicate_window: window,
            ..audit()
        },
    );
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    rig.position().unwrap();
    server.stop_signal();
    let lost = rig.deliver(&batch(&records, Duration::from_millis(200)));
    assert!(
        matches!(lost.stopped, Some(SinkError::Unknown(_))),
        "{lost:?}"
    );
    server.cont_signal();
    // As long as an outage that outlasts the window: there is nothing to wait for except the clock.
    std::thread::sleep(window * 3);
    let log = logged(|| rig.deliver_all(&records));
    assert_eq!(log.matches("stored twice").count(), 1, "{log}");
    let read = read_stream(&server.url(), "AUDIT");
    let stored = ids(&read);
    for record in &records {
        let id = record.id().to_string();
        assert!((1..=2).contains(&stored.iter().filter(|it| **it == id).count()));
    }
}

/// Servers without transactions: the older one silently accepts every setting.
#[test]
fn a_server_that_knows_no_transactions_gets_messages() {
    for release in [Release::Before2_12, Release::Debian] {
        let Some(mut server) = NatsServer::start_release(release) else {
            skipped(&format!("the nats-server of {release:?}"));
            continue;
        };
        let mut rig = Rig::with(&server.url(), |config| {
            config.stream_care = StreamCare::Upgrade;
        });
        let records = records(1..=3_000, COMMON);
        let log = logged(|| assert_all(&rig.deliver(&batch(&records[..1_500], AMPLE)), 1_500));
        assert_eq!(
            log.matches("at least once").count(),
            1,
            "{release:?}: {log}"
        );
        server.restart();
        rig.deliver_all(&records[1_500..]);
        assert_stored(&server, &records);
    }
}
