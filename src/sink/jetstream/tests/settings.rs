//! Uses the settings of the stream to try to stop delivery for good, to have an entry dropped that the stream would
//! take by now, or to make everything vanish.

use async_nats::HeaderMap;
use serde_json::{Value, json};

use super::fast::{CURSOR, api};
use super::streams::beside;
use super::*;

/// A stream as somebody else makes it, with some settings of their own.
fn make(server: &NatsServer, settings: &Value) {
    let mut wanted = json!({
        "name": "AUDIT", "subjects": ["assembly.audit.>", "assembly.cursor.>"], "retention": "limits",
        "storage": "file", "num_replicas": 1, "max_age": 0, "max_bytes": -1, "max_msgs": -1, "max_consumers": -1,
        "max_msgs_per_subject": -1, "discard": "old", "allow_direct": true, "allow_atomic": true,
        "allow_batched": true,
    });
    merge(&mut wanted, settings);
    api(server, "STREAM.CREATE.AUDIT", wanted);
}

/// Changes settings of the stream while it is in use.
fn change(server: &NatsServer, settings: &Value) {
    let mut wanted = api(server, "STREAM.INFO.AUDIT", json!({}))["config"].clone();
    merge(&mut wanted, settings);
    api(server, "STREAM.UPDATE.AUDIT", wanted);
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// Delivers until everything is stored or rejected. Returns which records were rejected, by place, and how many calls
/// it took.
fn deliver(rig: &mut Rig, records: &[Record]) -> (Vec<usize>, usize) {
    let (mut next, mut rejected, mut calls) = (0, Vec::new(), 0);
    let until = Instant::now() + AMPLE;
    while next < records.len() {
        assert!(Instant::now() < until, "only {next}");
        let delivery = rig.deliver(&batch(&records[next..], Duration::from_secs(3)));
        calls += 1;
        next += delivery.stored;
        if let Some(SinkError::Rejected(_)) = delivery.stopped {
            rejected.push(next);
            next += 1;
        }
    }
    (rejected, calls)
}

#[test]
fn what_the_stream_takes_by_now_is_not_given_up() {
    let server = NatsServer::start();
    make(&server, &json!({ "max_msg_size": 2_000 }));
    let mut rig = Rig::new(&server.url());
    let mut records = records(1..=20, COMMON);
    records[7].bytes = vec![b'x'; 4_000].into();
    records[15].subject = "elsewhere.agent".into();
    rig.deliver_all(&records[..5]);
    change(
        &server,
        &json!({ "max_msg_size": 10_000, "subjects": ["assembly.audit.acme.*", "assembly.cursor.>"] }),
    );
    let (rejected, calls) = deliver(&mut rig, &records[5..15]);
    assert_eq!((rejected, calls < 4), (vec![], true));
    change(
        &server,
        &json!({ "subjects": ["assembly.audit.>", "assembly.cursor.>"] }),
    );
    let (rejected, calls) = deliver(&mut rig, &records[15..]);
    assert_eq!((rejected, calls < 4), (vec![], true));
    assert_stored(&server, &records);
}

#[test]
fn batches_that_are_switched_off_while_they_are_used_become_messages() {
    for off in [
        json!({ "allow_atomic": false, "allow_batched": false }),
        json!({ "subjects": ["assembly.audit.>"] }),
    ] {
        let server = NatsServer::start();
        make(&server, &json!({}));
        let mut rig = Rig::new(&server.url());
        let records = records(1..=20, COMMON);
        rig.deliver_all(&records[..10]);
        change(&server, &off);
        let (rejected, calls) = deliver(&mut rig, &records[10..]);
        assert_eq!((rejected, calls < 5), (vec![], true), "{off}");
        assert_stored(&server, &records);
    }
}

/// The others continue when one agent has used up its share.
#[test]
fn one_full_subject_does_not_hold_up_the_others() {
    let server = NatsServer::start();
    make(
        &server,
        &json!({ "max_msgs_per_subject": 2, "discard": "new", "discard_new_per_subject": true }),
    );
    let mut rig = Rig::new(&server.url());
    // Three agents in turns.
    let records = records(1..=9, COMMON);
    let (rejected, _) = deliver(&mut rig, &records);
    assert_eq!(rejected, [6, 7, 8]);
    assert_stored(&server, &records[..6]);
}

#[test]
fn a_stream_that_renames_the_subjects_of_cursors_is_used_for_messages() {
    let server = NatsServer::start();
    make(
        &server,
        &json!({ "subject_transform": { "src": "assembly.cursor.>", "dest": "renamed.>" } }),
    );
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    let log = logged(|| rig.deliver_all(&records));
    assert!(log.contains("subject_transform"), "{log}");
    assert_eq!(rig.position().unwrap(), None);
    assert_stored(&server, &records);
}

#[test]
fn a_stream_that_would_keep_nothing_is_refused_until_somebody_is_waiting() {
    let server = NatsServer::start();
    make(&server, &json!({ "retention": "interest" }));
    let mut rig = Rig::new(&server.url());
    let error = rig.position().unwrap_err();
    assert!(
        matches!(&error, SinkError::Misconfigured(why) if why.contains("has no consumer")),
        "{error}"
    );
    beside(&server, |context| async move {
        let stream = context.get_stream("AUDIT").await.unwrap();
        let wanted = jetstream::consumer::pull::Config {
            durable_name: Some("archive".to_owned()),
            ..Default::default()
        };
        stream.create_consumer(wanted).await.unwrap();
    });
    let records = records(1..=10, COMMON);
    rig.deliver_all(&records);
    assert_stored(&server, &records);
}

#[test]
fn streams_that_take_no_entries_are_refused_with_what_to_do() {
    for (settings, why) in [
        (
            json!({ "mirror": { "name": "ORIGIN" }, "subjects": null }),
            "is a mirror",
        ),
        (json!({ "allow_msg_counter": true }), "takes counters only"),
        (json!({ "no_ack": true }), "acknowledges nothing"),
        (json!({ "sealed": true }), "is sealed"),
    ] {
        let server = NatsServer::start();
        let mut wanted = json!({ "allow_atomic": false, "allow_batched": false });
        let sealed = settings.get("sealed").is_some();
        if !sealed {
            merge(&mut wanted, &settings);
        }
        make(&server, &wanted);
        if sealed {
            change(&server, &settings);
        }
        let error = Rig::new(&server.url()).position().unwrap_err();
        assert!(
            matches!(&error, SinkError::Misconfigured(said) if said.contains(why)),
            "{settings}: {error}"
        );
    }
}

/// An idle publisher of a stream with `max_age` finds its cursor gone, or replaced by a marker.
#[test]
fn a_cursor_that_has_expired_is_no_obstacle() {
    for marked in [false, true] {
        let server = NatsServer::start();
        make(&server, &json!({ "max_age": 1_000_000_000_u64 }));
        let mut rig = Rig::new(&server.url());
        let records = records(1..=20, COMMON);
        rig.deliver_all(&records[..10]);
        let until = Instant::now() + AMPLE;
        let left = || api(&server, "STREAM.INFO.AUDIT", json!({}))["state"]["messages"].as_u64();
        while left() > Some(0) {
            assert!(Instant::now() < until);
        }
        change(&server, &json!({ "max_age": 3_600_000_000_000_u64 }));
        if marked {
            // The server's own marker would expire within `max_age`, too.
            let mut marker = HeaderMap::new();
            marker.insert("Nats-Marker-Reason", "MaxAge");
            beside(&server, |context| async move {
                let sent = context.publish_with_headers(CURSOR, marker, "".into());
                sent.await.unwrap().await.unwrap();
            });
        }
        rig.doubt = true;
        let log = logged(|| assert_all(&rig.deliver(&batch(&records[10..], AMPLE)), 10));
        assert!(!log.contains("ERROR spillring"), "{log}");
        assert_eq!(rig.position().unwrap(), Some(records[19].id()));
    }
}

#[test]
fn a_subject_that_the_server_ends_the_connection_for_is_rejected_and_its_neighbours_go_on() {
    for settings in [
        json!({}),
        json!({ "allow_atomic": false }),
        json!({ "subjects": ["assembly.audit.>"] }),
    ] {
        let server = NatsServer::start();
        make(&server, &settings);
        let mut rig = Rig::new(&server.url());
        let mut records = records(1..=20, COMMON);
        records[6].subject = format!("{}.agent", "o".repeat(4_100)).into();
        let log = logged(|| assert_eq!(deliver(&mut rig, &records).0, [6], "{settings}"));
        assert!(log.to_lowercase().contains("maximum control line"), "{log}");
        records.remove(6);
        assert_stored(&server, &records);
    }
}

/// Both capture the same subjects; the nearer one answers first.
#[test]
fn an_acknowledgement_of_the_same_stream_in_another_domain_does_not_count() {
    let port = free_port();
    let domain = |name: &str, more: &str| {
        let store = tempfile::TempDir::new().unwrap();
        let extra = format!(
            "jetstream {{ domain: {name}, store_dir: {:?} }}\n{more}",
            store.path()
        );
        (NatsServer::start_with(&extra), store)
    };
    let (hub, _one) = domain(
        "hub",
        &format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"),
    );
    let remote = format!("leafnodes {{ remotes: [ {{ url: \"nats://127.0.0.1:{port}\" }} ] }}");
    let (leaf, _two) = domain("leaf", &remote);
    make(&leaf, &json!({}));
    let mut rig = Rig::with(&leaf.url(), |config| {
        config.jetstream_domain = Some("hub".to_owned());
    });
    let until = Instant::now() + AMPLE;
    while rig.position().is_err() {
        assert!(Instant::now() < until, "{:?}", rig.position());
    }
    // Whichever answers first: what counts as stored is stored where it should be.
    let all = records(1..=200, COMMON);
    let mut foreign = 0;
    for part in all.chunks(10) {
        let delivery = rig.deliver(&batch(part, AMPLE));
        match &delivery.stopped {
            Some(SinkError::Misconfigured(why)) => {
                assert!(why.contains("of the domain leaf"), "{why}");
                foreign += 1;
            }
            stopped => assert!(stopped.is_none() || delivery.stored == 0, "{delivery:?}"),
        }
        let stored: Vec<_> = part[..delivery.stored]
            .iter()
            .map(|it| it.id().to_string())
            .collect();
        let there = entries(&hub);
        assert!(
            stored.iter().all(|id| ids(&there).contains(&id.as_str())),
            "{delivery:?}"
        );
    }
    assert!(foreign > 0);
}
