//! Tries to have entries of a fast batch stored twice, out of order, or counted as stored when they are not: with
//! batches that are left half-way, arrive late, are refused in the middle, or lose their connection or server.

use async_nats::HeaderMap;
use serde_json::{Value, json};

use super::outages::wait_for_messages;
use super::streams::beside;
use super::*;
use test_support::proxy::Proxy;

pub(super) const CURSOR: &str = "assembly.cursor.00000000-0000-0000-0000-000000000007";

/// Sends a request to the API of `JetStream`.
pub(super) fn api(server: &NatsServer, request: &str, wanted: Value) -> Value {
    let request = request.to_owned();
    beside(server, |context| async move {
        let said: Value = context.request(request, &wanted).await.unwrap();
        assert!(said.get("error").is_none(), "{said}");
        said
    })
}

/// A stream that takes fast batches only.
pub(super) fn server() -> NatsServer {
    let server = NatsServer::start();
    make(&server);
    server
}

pub(super) fn make(server: &NatsServer) {
    let wanted = json!({
        "name": "AUDIT", "subjects": ["assembly.audit.>", "assembly.cursor.>"], "retention": "limits",
        "storage": "file", "num_replicas": 1, "max_age": 0, "max_bytes": -1, "max_msgs": -1, "max_consumers": -1,
        "max_msgs_per_subject": -1, "discard": "new", "allow_direct": true, "allow_batched": true,
        "deny_purge": true, "deny_delete": true,
    });
    api(server, "STREAM.CREATE.AUDIT", wanted);
}

/// The cursors in the stream, as their states and last numbers.
pub(super) fn cursors(server: &NatsServer) -> Vec<(String, u64)> {
    let mut read = read_stream(&server.url(), "AUDIT");
    read.retain(|message| message.subject == CURSOR);
    let state = |message: &Message| {
        let cursor: Value = serde_json::from_slice(&message.payload).unwrap();
        let state = match &cursor["state"] {
            Value::Object(state) => state.keys().next().unwrap().clone(),
            _ => "closed".to_owned(),
        };
        (state, cursor["last"].as_u64().unwrap())
    };
    read.iter().map(state).collect()
}

/// A fast batch by hand: each message with its number and operation.
pub(super) struct ByHand {
    id: String,
}

impl ByHand {
    pub(super) fn new() -> Self {
        Self {
            id: Uuid::now_v7().simple().to_string(),
        }
    }

    pub(super) fn send(
        &self,
        server: &NatsServer,
        subject: &str,
        headers: &[(&str, String)],
        payload: String,
        at: (u64, u8),
    ) {
        let reply = format!("nobody.{}.10.fail.{}.{}.$FI", self.id, at.0, at.1);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.as_str());
        }
        let subject = subject.to_owned();
        block_on(async {
            let client = client(&server.url()).await;
            let sent = client.publish_with_reply_and_headers(subject, reply, map, payload.into());
            sent.await.unwrap();
            client.flush().await.unwrap();
        });
    }

    /// The open cursor, which continues from the one at `expected`.
    pub(super) fn open(&self, server: &NatsServer, record: &Record, expected: u64) {
        let run = record.run.id.to_string();
        let cursor = json!({
            "run": run, "first": 1, "last": record.n - 1, "lost": 0, "batch": self.id,
            "state": { "open": [run] },
        });
        let headers = [("Nats-Expected-Last-Subject-Sequence", expected.to_string())];
        self.send(server, CURSOR, &headers, cursor.to_string(), (1, 0));
    }

    pub(super) fn append(&self, server: &NatsServer, record: &Record, at: u64) {
        let headers = [("Audit-Id", record.id().to_string())];
        let subject = format!("assembly.audit.{}", record.subject());
        let payload = String::from_utf8(record.bytes.to_vec()).unwrap();
        self.send(server, &subject, &headers, payload, (at, 1));
    }
}

#[test]
fn a_fast_batch_begins_with_an_open_cursor_and_ends_with_a_closed_one() {
    let server = server();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=10_000, COMMON);
    assert_eq!(rig.position().unwrap(), None);
    assert_all(&rig.deliver(&batch(&records[..1], AMPLE)), 1);
    assert_all(&rig.deliver(&batch(&records[1..5_000], AMPLE)), 4_999);
    let mut restarted = Rig::new(&server.url());
    assert_eq!(restarted.position().unwrap(), Some(records[4_999].id()));
    assert_all(&restarted.deliver(&batch(&records[5_000..], AMPLE)), 5_000);
    assert_stored(&server, &records);
    let state = |state: &str, last| (state.to_owned(), last);
    let expected = [
        state("open", 0),
        state("closed", 1),
        state("open", 1),
        state("closed", 5_000),
        state("open", 5_000),
        state("closed", 10_000),
    ];
    assert_eq!(cursors(&server), expected);
}

#[test]
fn a_batch_that_was_left_half_way_is_found_and_nothing_of_it_is_taken_later() {
    for stored in [0, 1, 7] {
        let server = server();
        let records = records(1..=20, COMMON);
        let left = ByHand::new();
        left.open(&server, &records[0], 0);
        for (record, at) in records[..stored].iter().zip(2..) {
            left.append(&server, record, at);
        }
        wait_for_messages(&server.url(), stored as u64 + 1);

        let mut rig = Rig::new(&server.url());
        let position = rig.position().unwrap().unwrap();
        assert_eq!(
            (position.run, position.n),
            (records[0].run.id, stored as u64)
        );
        // What was under way arrives late.
        left.append(&server, &records[stored], stored as u64 + 2);
        rig.deliver_all(&records[stored..]);
        left.append(&server, &records[stored + 1], stored as u64 + 3);
        assert_eq!(rig.position().unwrap(), Some(records[19].id()));
        assert_stored(&server, &records);
    }
}

/// Nobody can continue it, and nobody can fence it by a fast message.
#[test]
fn a_batch_that_was_left_half_way_is_found_although_fast_batches_were_switched_off() {
    let server = server();
    let records = records(1..=20, COMMON);
    let left = ByHand::new();
    left.open(&server, &records[0], 0);
    for (record, at) in records[..3].iter().zip(2..) {
        left.append(&server, record, at);
    }
    wait_for_messages(&server.url(), 4);
    let mut settings = api(&server, "STREAM.INFO.AUDIT", json!({}))["config"].clone();
    settings["allow_batched"] = json!(false);
    settings["allow_atomic"] = json!(true);
    api(&server, "STREAM.UPDATE.AUDIT", settings);
    let mut rig = Rig::new(&server.url());
    assert_eq!(rig.position().unwrap(), Some(records[2].id()));
    rig.deliver_all(&records[3..]);
    assert_stored(&server, &records);
}

#[test]
fn a_batch_whose_last_acknowledgement_is_lost_is_whole() {
    let server = server();
    let records = records(1..=3, COMMON);
    let left = ByHand::new();
    left.open(&server, &records[0], 0);
    left.append(&server, &records[0], 2);
    wait_for_messages(&server.url(), 2);
    let run = records[0].run.id.to_string();
    let closed = json!({ "run": run, "first": 1, "last": 1, "lost": 0, "batch": left.id });
    left.send(&server, CURSOR, &[], closed.to_string(), (3, 2));
    wait_for_messages(&server.url(), 3);
    let mut rig = Rig::new(&server.url());
    assert_eq!(rig.position().unwrap(), Some(records[0].id()));
    rig.deliver_all(&records[1..]);
    assert_stored(&server, &records);
}

/// All of it arrives late, after somebody else has continued from the same cursor.
#[test]
fn a_batch_that_comes_late_is_refused_as_a_whole() {
    let server = server();
    let records = records(1..=20, COMMON);
    let mut rig = Rig::new(&server.url());
    rig.deliver_all(&records[..10]);
    let late = ByHand::new();
    late.open(&server, &records[0], 1);
    for (record, at) in records[..5].iter().zip(2..) {
        late.append(&server, record, at);
    }
    rig.deliver_all(&records[10..]);
    assert_stored(&server, &records);
}

#[test]
fn an_entry_that_only_the_server_refuses_is_found_and_its_neighbours_go_on() {
    for culprit in [0, 1, 497, 998] {
        let server = server();
        let mut rig = Rig::new(&server.url());
        rig.position().unwrap();
        let mut settings = api(&server, "STREAM.INFO.AUDIT", json!({}))["config"].clone();
        settings["max_msg_size"] = json!(2_000);
        api(&server, "STREAM.UPDATE.AUDIT", settings);
        let mut records = records(1..=999, COMMON);
        records[culprit].bytes = vec![b'x'; 4_000].into();
        let (mut stored, until) = (0, Instant::now() + AMPLE);
        let rejected = loop {
            assert!(Instant::now() < until);
            let delivery = rig.deliver(&batch(&records[stored..], AMPLE));
            stored += delivery.stored;
            if let Some(SinkError::Rejected(why)) = delivery.stopped {
                break why;
            }
        };
        assert!(rejected.contains("max"), "{rejected}");
        assert_eq!(stored, culprit);
        assert_stored(&server, &records[..culprit]);
        records.remove(culprit);
        if culprit < 998 {
            rig.deliver_all(&records[culprit..]);
        }
        assert_stored(&server, &records);
    }
}

#[test]
fn a_kill_of_the_server_in_the_middle_doubles_nothing() {
    let mut server = server();
    let mut rig = Rig::new(&server.url());
    let records = records(1..=30_000, COMMON);
    let url = server.url();
    let delivery = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            wait_for_messages(&url, 2_000);
            server.kill();
        });
        let delivery = rig.deliver(&batch(&records, AMPLE));
        killer.join().unwrap();
        delivery
    });
    assert!(delivery.stopped.is_some(), "{delivery:?}");
    server.restart();
    rig.deliver_all(&records[delivery.stored..]);
    assert_stored(&server, &records);
}

#[test]
fn a_connection_that_is_cut_in_the_middle_doubles_nothing() {
    let server = server();
    for cut in [100, 40_000, 1_000_000, 3_000_000] {
        let proxy = Proxy::cutting_after(cut, &[server.port()]);
        let mut rig = Rig::new(&proxy.url());
        let before = entries(&server).len();
        let records = records(1..=5_000, COMMON);
        rig.deliver_all(&records);
        let read = entries(&server);
        let expected: Vec<String> = records.iter().map(|it| it.id().to_string()).collect();
        assert_eq!(ids(&read[before..]), expected, "cut after {cut}");
    }
}

#[test]
fn where_entries_may_not_be_read_there_are_no_fast_batches() {
    let publish = [
        "$JS.API.STREAM.INFO.AUDIT".to_owned(),
        format!("$JS.API.DIRECT.GET.AUDIT.{CURSOR}"),
        "assembly.>".to_owned(),
    ];
    let server = NatsServer::start_with(&format!(
        "authorization {{ users: [
            {{ user: all, password: p }}
            {{ user: limited, password: p, permissions: {{ publish: {publish:?}, subscribe: \"_INBOX.>\" }} }}
        ] }}"
    ));
    Rig::new(&server.url_as("all:p")).position().unwrap();
    let mut rig = Rig::new(&server.url_as("limited:p"));
    let records = records(1..=200, COMMON);
    for part in records.chunks(10) {
        assert_all(&rig.deliver(&batch(part, AMPLE)), 10);
    }
    let read = read_stream(&server.url_as("all:p"), "AUDIT");
    let open = read.iter().filter(|it| it.subject == CURSOR);
    let open = open.filter(|it| String::from_utf8_lossy(&it.payload).contains("open"));
    assert_eq!(open.count(), 0);
    assert_eq!(read.len(), 220);
}
