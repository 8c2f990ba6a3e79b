//! Tries to erase entries of a stream that was created by the sink: as a user who may publish on one of its subjects,
//! and as a user who may do anything except deleting it.

use async_nats::HeaderMap;
use serde_json::json;

use super::fast::api;
use super::streams::{audit, beside, config_of, create, with_cursors};
use super::*;

/// Publishes with a header on the subject of an entry. Returns whether the stream has stored it.
fn publish(server: &NatsServer, header: (&str, &str)) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header.0, header.1);
    beside(server, |context| async move {
        let subject = "assembly.audit.acme.agent-0";
        let sent = context.publish_with_headers(subject, headers, "evil".into());
        sent.await.unwrap().await.is_ok()
    })
}

#[test]
fn nobody_erases_entries_of_a_stream_that_was_made_here() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=20, COMMON);
    rig.deliver_all(&records);
    assert!(!publish(&server, ("Nats-Rollup", "all")));
    assert!(!publish(&server, ("Nats-Rollup", "sub")));
    beside(&server, |context| async move {
        let stream = context.get_stream("AUDIT").await.unwrap();
        assert!(stream.purge().await.is_err());
        assert!(stream.delete_message(2).await.is_err());
    });
    assert_stored(&server, &records);
}

#[test]
fn a_stream_that_can_be_rolled_up_is_used_and_named_and_hardened_if_that_is_asked_for() {
    let server = NatsServer::start();
    create(
        &server,
        jetstream::stream::Config {
            allow_rollup: true,
            ..with_cursors()
        },
    );
    let records = records(1..=10, COMMON);
    let log = logged(|| Rig::new(&server.url()).deliver_all(&records[..5]));
    assert!(log.contains("can erase all of it"), "{log}");
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_care = StreamCare::Upgrade;
    });
    let log = logged(|| rig.deliver_all(&records[5..]));
    assert!(!log.contains("can erase all of it"), "{log}");
    let hardened = config_of(&server);
    assert!(hardened.deny_delete && hardened.deny_purge && !hardened.allow_rollup);
    assert!(!publish(&server, ("Nats-Rollup", "all")));
    assert_stored(&server, &records);
}

/// Settings that this client does not know belong to others.
#[test]
fn an_upgrade_changes_only_what_is_ours() {
    let server = NatsServer::start();
    let wanted = json!({
        "name": "AUDIT", "subjects": ["assembly.audit.>", "neighbour.>"], "retention": "limits", "storage": "file",
        "num_replicas": 1, "max_age": 0, "max_bytes": 50_000_000, "max_msgs": -1, "max_consumers": 7,
        "max_msgs_per_subject": -1, "discard": "old", "allow_batched": true, "allow_msg_ttl": true,
        "description": "shared", "metadata": { "owner": "somebody" },
    });
    api(&server, "STREAM.CREATE.AUDIT", wanted);
    let before = api(&server, "STREAM.INFO.AUDIT", json!({}))["config"].clone();
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_care = StreamCare::Upgrade;
    });
    rig.deliver_all(&records(1..=10, COMMON));
    let mut after = api(&server, "STREAM.INFO.AUDIT", json!({}))["config"].clone();
    assert_eq!(
        after["subjects"],
        json!(["assembly.audit.>", "neighbour.>", "assembly.cursor.>"])
    );
    for ours in [
        "subjects",
        "allow_atomic",
        "allow_direct",
        "deny_delete",
        "deny_purge",
        "metadata",
    ] {
        assert_eq!(after["metadata"]["owner"], "somebody");
        after[ours] = before[ours].clone();
    }
    after
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    assert_eq!(after, before);
}

#[test]
fn messages_of_a_stream_that_may_be_purged_are_still_stored() {
    let server = NatsServer::start();
    create(&server, audit());
    let records = records(1..=10, COMMON);
    Rig::new(&server.url()).deliver_all(&records);
    assert_stored(&server, &records);
}
