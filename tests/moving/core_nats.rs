//! Core NATS, as Agent Assembly publishes: at most once, and nothing lost that was never sent.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use spillring::{AtMostOnceNatsSink, AuditEntry, Config, Drainer, Event, NatsConfig, State};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::bench::{LIMIT, config, end, entry, eventually, until_settled};
use crate::support::nats::{NatsServer, client};

/// Long enough for a message that must not come.
const SILENCE: Duration = Duration::from_millis(300);

struct Listener {
    runtime: Runtime,
    client: Client,
    subscriber: Subscriber,
}

impl Listener {
    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (client, subscriber) = runtime.block_on(async {
            let client = client(url).await;
            let subscriber = client.subscribe("assembly.audit.>").await.unwrap();
            client.flush().await.unwrap();
            (client, subscriber)
        });
        Self {
            runtime,
            client,
            subscriber,
        }
    }

    fn next(&mut self) -> Option<Message> {
        assert!(self.client.server_info().max_payload > 0);
        let subscriber = &mut self.subscriber;
        let next = async { timeout(SILENCE, subscriber.next()).await };
        self.runtime.block_on(next).ok().flatten()
    }

    fn seqs(&mut self) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(message) = self.next() {
            let entry: AuditEntry = serde_json::from_slice(&message.payload).unwrap();
            seqs.push(entry.seq());
        }
        seqs
    }
}

fn nats(url: &str) -> NatsConfig {
    let mut nats = NatsConfig::default();
    nats.urls = vec![url.into()];
    nats
}

fn start(config: Config, nats: NatsConfig) -> Drainer<AuditEntry> {
    spillring::start(config, AtMostOnceNatsSink::new(nats).unwrap()).unwrap()
}

#[test]
fn who_subscribes_gets_entries_in_order_with_their_numbers() {
    let server = NatsServer::start_without_jetstream();
    let mut listener = Listener::new(&server.url());
    let dir = tempfile::tempdir().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    for seq in 1..=200 {
        drainer.publisher().publish(entry(seq));
    }
    until_settled(&drainer);
    let stats = end(drainer, 200);
    let first = listener.next().unwrap();
    assert_eq!(
        first.subject.as_str(),
        format!("assembly.audit.{}", entry(1).subject())
    );
    let headers = first.headers.unwrap();
    assert!(headers.get("Audit-Id").unwrap().as_str().ends_with(".1"));
    assert_eq!(listener.seqs(), (2..=200).collect::<Vec<_>>());
    assert_eq!((stats.delivered, stats.lost.total()), (200, 0));
}

#[test]
fn what_is_published_while_the_server_is_away_arrives_behind_it_in_order() {
    let mut server = NatsServer::start_without_jetstream();
    let url = server.url();
    server.kill();
    let dir = TempDir::new().unwrap();
    let drainer = start(config(dir.path()), nats(&url));
    for seq in 1..=50 {
        drainer.publisher().publish(entry(seq));
    }
    drainer.publisher().flush().wait(LIMIT).unwrap();
    assert_eq!(drainer.stats().spilled, 50);
    // The subscriber must be there before the publisher is.
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    server.restart();
    let mut listener = Listener::new(&url);
    let drainer = start(config(dir.path()), nats(&url));
    until_settled(&drainer);
    end(drainer, 0);
    assert_eq!(listener.seqs(), (1..=50).collect::<Vec<_>>());
}

/// The server says only afterwards, and of no message, that it does not permit them.
#[test]
fn nothing_is_lost_to_a_server_that_permits_nothing() {
    let mut server = NatsServer::start_with(DENIED);
    let dir = TempDir::new().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    for seq in 1..=50 {
        drainer.publisher().publish(entry(seq));
    }
    eventually("it is found out", || {
        let stats = drainer.stats();
        stats.delivery_errors > 0 && stats.state == State::Spilling
    });
    assert_eq!(drainer.stats().delivered, 0);
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    server.restart_with("");
    let mut listener = Listener::new(&server.url());
    let drainer = start(config(dir.path()), nats(&server.url()));
    until_settled(&drainer);
    end(drainer, 0);
    assert_eq!(listener.seqs(), (1..=50).collect::<Vec<_>>());
}

const DENIED: &str = "authorization { users: [{ user: agent, password: secret, permissions: { publish: \"other.>\" } }] }\nno_auth_user: agent";
