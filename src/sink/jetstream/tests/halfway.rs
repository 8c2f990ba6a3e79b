//! Tries to lose or duplicate entries of a fast batch that is left half-way: by lowering the server's limits in the
//! middle, and by disturbing the recovery.

use std::thread;

use super::fast::{ByHand, cursors, make, server};
use super::outages::wait_for_messages;
use super::streams::beside;
use super::*;
use crate::sink::jetstream::access::RENEW_EVERY;
use test_support::eventually::eventually;
use test_support::proxy::{Direction, Fault, Proxy};

/// A batch of several portions waits for acknowledgements when `max_payload` becomes too small for an entry in the
/// middle.
fn lower_max_payload(lower: impl Fn(&mut NatsServer, &str)) {
    const CULPRIT: usize = 250;
    let mut server = server();
    let proxy = Proxy::new(&[server.port()]);
    let mut rig = Rig::new(&proxy.url());
    let mut records = records(1..=500, COMMON);
    rig.deliver_all(&records[..1]);
    records[CULPRIT].bytes = vec![b'x'; 20_000].into();
    let before = read_stream(&server.url(), "AUDIT").len() as u64;

    proxy.suffer(Some(Fault::Stalled(Direction::ToClient)));
    let delivery = thread::scope(|scope| {
        let deliver = scope.spawn(|| rig.deliver(&batch(&records[1..], AMPLE)));
        wait_for_messages(&server.url(), before + 10);
        lower(&mut server, "max_payload: 10000");
        proxy.suffer(None);
        deliver.join().unwrap()
    });
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unknown(_))),
        "{delivery:?}"
    );
    let (mut stored, until) = (1 + delivery.stored, Instant::now() + AMPLE);
    let rejected = loop {
        assert!(Instant::now() < until);
        let delivery = rig.deliver(&batch(&records[stored..], AMPLE));
        stored += delivery.stored;
        if let Some(SinkError::Rejected(why)) = delivery.stopped {
            break why;
        }
    };
    assert!(rejected.contains("`max_payload`"), "{rejected}");
    assert_eq!(stored, CULPRIT);
    assert_stored(&server, &records[..CULPRIT]);
    records.remove(CULPRIT);
    rig.deliver_all(&records[CULPRIT..]);
    assert_stored(&server, &records);
}

#[test]
fn a_max_payload_that_is_lowered_by_a_reload_in_the_middle_loses_and_doubles_nothing() {
    lower_max_payload(NatsServer::reload_with);
}

#[test]
fn a_max_payload_that_is_lowered_by_a_restart_in_the_middle_loses_and_doubles_nothing() {
    lower_max_payload(NatsServer::restart_with);
}

/// Somebody else has the only batch that the stream allows to be open.
#[test]
fn a_batch_that_was_left_half_way_is_fenced_although_no_other_may_be_opened() {
    let server = NatsServer::start_with_jetstream(
        "limits { batch { max_inflight_per_stream: 1, timeout: \"10m\" } }",
    );
    make(&server);
    let records = records(1..=20, COMMON);
    let left = ByHand::new();
    left.open(&server, &records[0], 0);
    for (record, at) in records[..3].iter().zip(2..) {
        left.append(&server, record, at);
    }
    wait_for_messages(&server.url(), 4);
    // A gap ends it.
    left.append(&server, &records[4], 9);
    let other = ByHand::new();
    let anothers = |at| other.send(&server, "assembly.cursor.other", &[], "{}".to_owned(), at);
    anothers((1, 0));
    wait_for_messages(&server.url(), 5);

    let mut rig = Rig::new(&server.url());
    assert_eq!(rig.position().unwrap(), Some(records[2].id()));
    let newest = cursors(&server).pop().unwrap();
    assert_eq!(newest, ("fence".to_owned(), 0));
    let refused = rig.deliver(&batch(&records[3..], AMPLE)).stopped.unwrap();
    assert!(
        refused.to_string().contains("too many inflight"),
        "{refused}"
    );
    left.append(&server, &records[3], 5);
    anothers((2, 2));
    rig.deliver_all(&records[3..]);
    assert_stored(&server, &records);
}

/// Between the entries of the batch are several pages of other messages, and the connection breaks after the first
/// page.
#[test]
fn recovery_that_is_interrupted_goes_on_where_it_was() {
    const OTHERS: u64 = 2_500;
    let server = server();
    let records = records(1..=20, COMMON);
    let left = ByHand::new();
    left.open(&server, &records[0], 0);
    left.append(&server, &records[0], 2);
    beside(&server, |context| async move {
        for _ in 0..OTHERS {
            let client = context.client();
            client
                .publish("assembly.audit.other", "x".into())
                .await
                .unwrap();
        }
        context.client().flush().await.unwrap();
    });
    wait_for_messages(&server.url(), 2 + OTHERS);
    left.append(&server, &records[1], 3);
    wait_for_messages(&server.url(), 3 + OTHERS);

    let proxy = Proxy::new(&[server.port()]);
    let mut rig = Rig::new(&proxy.url());
    proxy.cut_after_reads(1);
    rig.position().unwrap_err();
    assert_eq!(proxy.reads(), [2, 1_002]);
    assert_eq!(rig.position().unwrap(), Some(records[1].id()));
    assert_eq!(proxy.reads(), [1_002, 2_002]);
    assert_eq!(proxy.accepted(), 2);
    rig.deliver_all(&records[2..]);
    let mut read = entries(&server);
    read.retain(|message| message.subject != "assembly.audit.other");
    let expected: Vec<String> = records.iter().map(|it| it.id().to_string()).collect();
    assert_eq!(ids(&read), expected);
}

/// A server does not announce it on existing connections.
#[test]
fn a_max_payload_that_is_raised_by_a_reload_is_noticed_before_an_entry_is_dropped() {
    let mut server = NatsServer::start_with("max_payload: 10000");
    let mut rig = Rig::new(&server.url());
    let mut records = records(1..=20, COMMON);
    rig.deliver_all(&records[..5]);
    records[10].bytes = vec![b'x'; 20_000].into();
    server.reload_with("max_payload: 30000");
    eventually("the connection is old", || {
        let connected = rig.sink.connected.as_ref().unwrap();
        (connected.wire.connection.age() >= RENEW_EVERY).then_some(())
    });
    rig.deliver_all(&records[5..]);
    assert_stored(&server, &records);
}
