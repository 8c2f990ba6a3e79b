//! Tries to have entries acknowledged by a stream that cannot take them, or stuck in front of it.

use std::future::Future;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};

use super::*;
use crate::config::StreamStorage;

/// Acts on the server without the sink.
pub(super) fn beside<F: Future>(server: &NatsServer, act: impl FnOnce(Context) -> F) -> F::Output {
    block_on(async { act(jetstream::new(client(&server.url()).await)).await })
}

/// A stream as somebody else makes it, good for transactions.
pub(super) fn with_cursors() -> Config {
    Config {
        subjects: vec![
            "assembly.audit.>".to_owned(),
            "assembly.cursor.>".to_owned(),
        ],
        allow_atomic_publish: true,
        allow_direct: true,
        ..audit()
    }
}

pub(super) fn audit() -> Config {
    Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["assembly.audit.>".to_owned()],
        ..Config::default()
    }
}

pub(super) fn config_of(server: &NatsServer) -> Config {
    beside(server, |context| async move {
        let stream = context.get_stream("AUDIT").await.unwrap();
        stream.cached_info().config.clone()
    })
}

pub(super) fn create(server: &NatsServer, config: Config) {
    beside(server, |context| async move {
        context.create_stream(config).await.unwrap();
    });
}

pub(super) fn update(server: &NatsServer, config: Config) {
    beside(server, |context| async move {
        context.update_stream(config).await.unwrap();
    });
}

#[test]
fn the_leader_of_a_stream_without_direct_reads_is_asked_for_the_cursor() {
    let server = NatsServer::start();
    let config = Config {
        allow_direct: false,
        ..with_cursors()
    };
    create(&server, config);
    assert!(!config_of(&server).allow_direct);
    let records = records(1..=20, COMMON);
    let mut first = Rig::new(&server.url());
    assert_eq!(first.position(), Ok(None));
    assert_all(&first.deliver(&batch(&records[..10], AMPLE)), 10);
    let mut second = Rig::new(&server.url());
    assert_eq!(second.position(), Ok(Some(records[9].id())));
    assert_all(&second.deliver(&batch(&records[10..], AMPLE)), 10);
    assert_stored(&server, &records);
}

#[test]
fn a_missing_stream_is_made_as_the_settings_say_also_when_it_goes_missing_later() {
    let server = NatsServer::start();
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_max_age = Some(Duration::from_secs(3_600));
        config.stream_max_bytes = Some(50_000_000);
        config.stream_storage = StreamStorage::Memory;
    });
    rig.position().unwrap();
    let made = config_of(&server);
    assert_eq!(made.subjects, ["assembly.audit.>", "assembly.cursor.>"]);
    assert!(made.allow_atomic_publish && made.allow_direct);
    assert!(made.deny_delete && made.deny_purge && !made.allow_rollup);
    assert_eq!(made.max_age, Duration::from_secs(3_600));
    assert_eq!(made.max_bytes, 50_000_000);
    assert_eq!(made.storage, StorageType::Memory);
    assert_eq!(made.discard, DiscardPolicy::New);

    beside(&server, |context| async move {
        context.delete_stream("AUDIT").await.unwrap();
    });
    let records = records(1..=10, COMMON);
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Unavailable(_))),
        "{delivery:?}"
    );
    rig.deliver_all(&records);
    assert_stored(&server, &records);
}

#[test]
fn a_missing_stream_that_is_only_to_be_verified_is_misconfigured_until_it_is_made() {
    let server = NatsServer::start();
    let mut rig = Rig::with(&server.url(), |config| {
        config.stream_care = StreamCare::Verify;
    });
    let error = rig.position().unwrap_err();
    let SinkError::Misconfigured(why) = &error else {
        panic!("{error:?}");
    };
    assert!(
        why.contains("AUDIT") && why.contains("assembly.audit.>"),
        "{why}"
    );
    create(&server, audit());
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 10);
    assert_stored(&server, &records);
}

#[test]
fn a_stream_without_our_subjects_is_misconfigured_and_not_changed() {
    let server = NatsServer::start();
    let other = Config {
        subjects: vec!["other.>".to_owned()],
        ..audit()
    };
    create(&server, other);
    let mut rig = Rig::new(&server.url());
    let error = rig.position().unwrap_err();
    assert!(
        matches!(&error, SinkError::Misconfigured(why) if why.contains("other.>")),
        "{error:?}"
    );
    assert_eq!(config_of(&server).subjects, ["other.>"]);
}

#[test]
fn an_acknowledgement_of_another_stream_does_not_count() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records[..5], AMPLE)), 5);
    update(
        &server,
        Config {
            subjects: vec!["other.>".to_owned()],
            ..config_of(&server)
        },
    );
    create(
        &server,
        Config {
            name: "THIEF".to_owned(),
            allow_atomic_publish: true,
            subjects: vec!["assembly.>".to_owned()],
            ..audit()
        },
    );
    let delivery = rig.deliver(&batch(&records[5..], AMPLE));
    assert_eq!(delivery.stored, 0);
    assert!(delivery.stopped.is_some());
    let error = rig.position().unwrap_err();
    assert!(
        matches!(&error, SinkError::Misconfigured(why) if why.contains("other.>")),
        "{error}"
    );
}

/// Delivers ten records, the fourth of which is refused, and then the later ones: none of them was sent ahead.
fn assert_one_is_rejected(server: &NatsServer, rig: &mut Rig, records: &[Record]) {
    let delivery = rig.deliver(&batch(records, AMPLE));
    assert!(
        matches!(delivery.stopped, Some(SinkError::Rejected(_))),
        "{delivery:?}"
    );
    assert_eq!(delivery.stored, 3);
    assert_stored(server, &records[..3]);
    assert_all(&rig.deliver(&batch(&records[4..], AMPLE)), 6);
    let mut expected = records.to_vec();
    expected.remove(3);
    assert_stored(server, &expected);
}

fn with_large_fourth() -> Vec<Record> {
    let mut records = records(1..=10, COMMON);
    records[3].bytes = vec![b'x'; 4_000].into();
    records
}

#[test]
fn an_entry_above_the_servers_max_payload_is_rejected_and_its_neighbours_go_on() {
    let server = NatsServer::start_with("max_payload: 4096");
    // The headers make it too large.
    assert_one_is_rejected(&server, &mut Rig::new(&server.url()), &with_large_fourth());
}

#[test]
fn an_entry_above_the_streams_max_msg_size_is_rejected_and_its_neighbours_go_on() {
    let server = NatsServer::start();
    create(
        &server,
        Config {
            max_message_size: 4_096,
            ..audit()
        },
    );
    assert_one_is_rejected(&server, &mut Rig::new(&server.url()), &with_large_fourth());
}

#[test]
fn an_entry_that_only_the_server_finds_too_large_is_rejected_and_none_is_lost() {
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
    assert_one_is_rejected(&server, &mut rig, &with_large_fourth());
}

#[test]
fn a_subject_that_cannot_be_published_on_is_rejected_and_breaks_no_connection() {
    let server = NatsServer::start();
    let mut records = records(1..=10, COMMON);
    records[3].subject = "a b\r\nPUB c 0\r\n".into();
    assert_one_is_rejected(&server, &mut Rig::new(&server.url()), &records);
}

#[test]
fn a_full_stream_is_unavailable_and_goes_on_when_there_is_room() {
    let server = NatsServer::start();
    let full = Config {
        max_messages: 7,
        discard: DiscardPolicy::New,
        ..audit()
    };
    create(&server, full.clone());
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10, COMMON);
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert_eq!(delivery.stored, 7);
    assert!(
        matches!(&delivery.stopped, Some(SinkError::Unavailable(why)) if why.contains("full")),
        "{delivery:?}"
    );
    update(
        &server,
        Config {
            max_messages: 10,
            ..full
        },
    );
    assert_all(&rig.deliver(&batch(&records[7..], AMPLE)), 3);
    assert_stored(&server, &records);
}
