//! Tries to have entries stored twice, out of order, or without their cursor: by sinks unaware of one another, by late
//! transactions, by entries in the middle that the server refuses, by streams that others change.

use async_nats::jetstream::stream::Config;
use serde_json::{Value, json};

use super::streams::{audit, beside, config_of, create, update, with_cursors};
use super::*;
use test_support::proxy::{Proxy, Tamper};

/// The cursors in the stream, without the ids of their batches.
fn cursors(server: &NatsServer) -> Vec<Value> {
    let mut read = read_stream(&server.url(), "AUDIT");
    read.retain(|message| message.subject == format!("assembly.cursor.{PUBLISHER}"));
    let json = |message: &Message| {
        let mut cursor: Value = serde_json::from_slice(&message.payload).unwrap();
        assert!(cursor["batch"].is_string(), "{cursor}");
        cursor.as_object_mut().unwrap().remove("batch");
        cursor
    };
    read.iter().map(json).collect()
}

fn newest_cursor(server: &NatsServer) -> Value {
    cursors(server).pop().unwrap()
}

#[test]
fn the_newest_cursor_says_how_far_the_publisher_has_come_and_each_batch_keeps_its_own() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let mut records = records(1..=3_000, COMMON);
    for record in &mut records[1_500..] {
        record.n += 4;
    }
    records[1_500].losses = vec![Loss {
        count: 4,
        reason: LossReason::QueueFull,
    }];
    assert_eq!(rig.position().unwrap(), None);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    assert_all(&rig.deliver(&batch(&records[10..], AMPLE)), 2_990);
    let run = records[0].run.id.to_string();
    let expected = json!({ "run": run, "first": 1, "last": 3_004, "lost": 4 });
    let all = cursors(&server);
    assert_eq!(all.last(), Some(&expected));
    // Ten, 999 three times, ten less: one for each batch.
    assert_eq!(all.len(), 4);
    assert_eq!(all[0]["last"], 10);
    let mut restarted = Rig::new(&server.url());
    assert_eq!(restarted.position().unwrap(), Some(records[2_999].id()));
    assert_stored(&server, &records);
}

#[test]
fn the_beginning_of_a_run_reports_how_far_the_one_before_had_come() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let (first, second) = (records(1..=5, COMMON), records(1..=5, COMMON));
    let mut through = batch(&first, AMPLE);
    through.through.n = 9;
    assert_all(&rig.deliver(&through), 5);
    assert_all(&rig.deliver(&batch(&second, AMPLE)), 5);
    let read = entries(&server);
    let after: Vec<_> = read.iter().map(|it| it.header("Audit-After")).collect();
    let cursor = format!("{}.9; first=1; lost=4", first[0].run.id);
    let mut expected = vec![None; 10];
    expected[5] = Some(cursor.as_str());
    assert_eq!(after, expected);
}

/// The same publisher twice, as after a clone, or a process that was thought dead.
#[test]
fn a_transaction_that_goes_on_from_an_old_cursor_is_refused() {
    let server = NatsServer::start();
    let (mut one, mut other) = (Rig::new(&server.url()), Rig::new(&server.url()));
    let records = records(1..=20, COMMON);
    one.position().unwrap();
    other.position().unwrap();
    assert_all(&one.deliver(&batch(&records[..10], AMPLE)), 10);
    let late = other.deliver(&batch(&records, AMPLE));
    assert_eq!(late.stored, 0);
    assert!(
        matches!(late.stopped, Some(SinkError::Unknown(_))),
        "{late:?}"
    );
    assert_stored(&server, &records[..10]);
}

/// A process whose memory was copied runs twice, under the same run: one has stored what the other has not.
#[test]
fn the_cursor_of_a_batch_that_was_never_sent_is_another_process() {
    let server = NatsServer::start();
    let (mut one, mut other) = (Rig::new(&server.url()), Rig::new(&server.url()));
    let records = records(1..=30, COMMON);
    assert_all(&one.deliver(&batch(&records[..10], AMPLE)), 10);
    assert_eq!(other.position().unwrap(), Some(records[9].id()));
    assert_all(&one.deliver(&batch(&records[10..20], AMPLE)), 10);
    let late = other.deliver(&batch(&records[10..], AMPLE));
    assert_eq!(late.stored, 0);
    let position = other.position().unwrap().unwrap();
    assert_ne!(position.run, records[0].run.id);
    // The process that sent the batch continues.
    one.doubt = true;
    assert_all(&one.deliver(&batch(&records[20..], AMPLE)), 10);
    assert_stored(&server, &records);
}

/// Only the server knows that it will not take the entry. It must be found without storing any later entry too early.
#[test]
fn an_entry_in_the_middle_of_many_that_the_server_refuses_is_found() {
    for culprit in [0, 1, 497, 998] {
        let server = NatsServer::start();
        let mut rig = Rig::new(&server.url());
        rig.position().unwrap();
        update(
            &server,
            Config {
                max_message_size: 2_000,
                ..config_of(&server)
            },
        );
        let mut records = records(1..=999, COMMON);
        records[culprit].bytes = vec![b'x'; 4_000].into();
        let delivery = rig.deliver(&batch(&records, AMPLE));
        assert_eq!(delivery.stored, culprit);
        assert!(
            matches!(&delivery.stopped, Some(SinkError::Rejected(why)) if why.contains("max")),
            "{delivery:?}"
        );
        assert_stored(&server, &records[..culprit]);
        records.remove(culprit);
        if culprit < 998 {
            rig.deliver_all(&records[culprit..]);
        }
        assert_stored(&server, &records);
    }
}

/// With the cursor there is one message too many: the commit is answered with the limit of the server.
#[test]
fn a_server_that_takes_fewer_messages_in_a_batch_gets_smaller_ones() {
    let server = NatsServer::start_with_jetstream("limits { batch { max_msgs: 999 } }");
    create(&server, with_cursors());
    let mut rig = Rig::new(&server.url());
    let records = records(1..=1_998, COMMON);
    assert_all(&rig.deliver(&batch(&records[..999], AMPLE)), 999);
    assert_all(&rig.deliver(&batch(&records[999..], AMPLE)), 999);
    let sizes: Vec<_> = cursors(&server)
        .iter()
        .map(|it| it["last"].clone())
        .collect();
    assert_eq!(sizes, [500, 999, 1_499, 1_998]);
    assert_stored(&server, &records);
}

#[test]
fn an_entry_on_a_subject_that_the_stream_does_not_take_is_refused_and_its_neighbours_go_on() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    rig.position().unwrap();
    update(
        &server,
        Config {
            subjects: vec![
                "assembly.audit.acme.agent-0".to_owned(),
                "assembly.audit.acme.agent-1".to_owned(),
                "assembly.cursor.>".to_owned(),
            ],
            ..config_of(&server)
        },
    );
    // Number 2 goes to agent-2.
    let records = records(1..=2, COMMON);
    for connected in ["before", "after"] {
        let delivery = rig.deliver(&batch(&records[1..], AMPLE));
        assert_eq!(delivery.stored, 0, "{connected}");
        assert!(delivery.stopped.is_some());
        rig.sink.connected = None;
    }
    let delivery = rig.deliver(&batch(&records[1..], AMPLE));
    assert!(
        matches!(&delivery.stopped, Some(SinkError::Rejected(why)) if why.contains("agent-2")),
        "{delivery:?}"
    );
    rig.deliver_all(&records[..1]);
    assert_stored(&server, &records[..1]);
}

#[test]
fn a_stream_as_it_was_made_before_is_upgraded_if_that_is_asked_for() {
    let server = NatsServer::start();
    create(&server, audit());
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_care = StreamCare::Upgrade;
    });
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 10);
    assert_eq!(cursors(&server).len(), 1);
    let upgraded = config_of(&server);
    assert!(upgraded.allow_atomic_publish && upgraded.deny_delete && upgraded.deny_purge);
    assert_eq!(upgraded.subjects, ["assembly.audit.>", "assembly.cursor.>"]);
    assert_stored(&server, &records);
}

/// A stream whose subjects are taken elsewhere cannot be upgraded; entries are sent as messages.
#[test]
fn a_stream_that_cannot_be_upgraded_is_used_as_it_is() {
    let server = NatsServer::start();
    create(&server, audit());
    create(
        &server,
        Config {
            name: "OTHER".to_owned(),
            subjects: vec!["assembly.cursor.>".to_owned()],
            ..audit()
        },
    );
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_care = StreamCare::Upgrade;
    });
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 10);
    assert_stored(&server, &records);
    assert_eq!(config_of(&server).subjects, ["assembly.audit.>"]);
}

/// As by a server of version 2.12.0.
#[test]
fn entries_go_as_messages_where_no_batch_with_the_newest_cursor_is_taken() {
    let server = NatsServer::start();
    let proxy = Proxy::new(&[server.port()]);
    let mut rig = Rig::new(&proxy.url());
    let records = records(1..=20, COMMON);
    rig.deliver_all(&records[..10]);
    proxy.tamper(Some(Tamper::Misfenced));
    let log = logged(|| rig.deliver_all(&records[10..]));
    assert_eq!(log.matches("refuses every batch").count(), 1, "{log}");
    assert_stored(&server, &records);
}

/// What was acknowledged is not sent again, and a new cursor begins where it was lost.
#[test]
fn a_purged_cursor_is_noticed_and_the_publisher_goes_on() {
    let server = NatsServer::start();
    create(&server, with_cursors());
    let mut rig = Rig::new(&server.url());
    let records = records(1..=20, COMMON);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    beside(&server, |context| async move {
        let stream = context.get_stream("AUDIT").await.unwrap();
        stream.purge().await.unwrap();
    });
    let log = logged(|| rig.deliver_all(&records[10..]));
    assert_eq!(log.matches("the cursor is gone").count(), 1, "{log}");
    assert_stored(&server, &records[10..]);
    let run = records[0].run.id.to_string();
    let expected = json!({ "run": run, "first": 11, "last": 20, "lost": 0 });
    assert_eq!(newest_cursor(&server), expected);
}

#[test]
fn a_stream_that_is_made_again_is_noticed() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=20, COMMON);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    beside(&server, |context| async move {
        context.delete_stream("AUDIT").await.unwrap();
    });
    let log = logged(|| rig.deliver_all(&records[10..]));
    assert_eq!(log.matches("deleted and created again").count(), 1, "{log}");
    assert_stored(&server, &records[10..]);
}

/// As after a restore from a backup, or a power cut: the servers have lost what they had acknowledged.
#[test]
fn a_stream_that_went_back_is_noticed() {
    let mut server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=30, COMMON);
    assert_all(&rig.deliver(&batch(&records[..10], AMPLE)), 10);
    server.kill();
    let backup = server.save_store();
    server.restart();
    rig.deliver_all(&records[10..20]);
    server.kill();
    server.restore_store(&backup);
    let log = logged(|| {
        server.restart();
        rig.deliver_all(&records[20..]);
    });
    assert!(log.contains("servers have lost entries"), "{log}");
    let left: Vec<Record> = records[..10]
        .iter()
        .chain(&records[20..])
        .cloned()
        .collect();
    assert_stored(&server, &left);
}

#[test]
fn something_else_on_the_subject_of_the_cursor_is_misconfigured() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    rig.position().unwrap();
    beside(&server, |context| async move {
        let subject = format!("assembly.cursor.{PUBLISHER}");
        let sent = context.publish(subject, "hello".into()).await.unwrap();
        sent.await.unwrap();
    });
    let error = rig.position().unwrap_err();
    assert!(
        matches!(&error, SinkError::Misconfigured(why) if why.contains("not a cursor")),
        "{error}"
    );
}
