//! Core NATS, as Agent Assembly publishes: at most once, and nothing lost that was never sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use parking_lot::Mutex;
use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::nats::AtMostOnceNatsSink;
use spillring::{AuditEntry, Config, Drainer, Event, NatsConfig, State};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::bench::{LIMIT, config, end, entry, eventually, until_settled};
use test_support::nats::{NatsServer, client};

/// Long enough for a message that must not come.
const SILENCE: Duration = Duration::from_millis(300);

struct Listener {
    runtime: Runtime,
    /// Reconnects, and subscribes again, by itself.
    _client: Client,
    subscriber: Subscriber,
}

impl Listener {
    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
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
            _client: client,
            subscriber,
        }
    }

    fn next(&mut self, limit: Duration) -> Option<Message> {
        let subscriber = &mut self.subscriber;
        let next = async { timeout(limit, subscriber.next()).await };
        self.runtime.block_on(next).ok().flatten()
    }

    /// All that comes, at least so many.
    fn seqs(&mut self, least: usize) -> Vec<u64> {
        let limits = std::iter::repeat_n(LIMIT, least).chain(std::iter::repeat(SILENCE));
        limits.map_while(|limit| self.seq(limit)).collect()
    }

    fn seq(&mut self, limit: Duration) -> Option<u64> {
        let entry: AuditEntry = serde_json::from_slice(&self.next(limit)?.payload).unwrap();
        Some(entry.seq())
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
fn a_subscriber_gets_entries_in_order_with_their_numbers() {
    let server = NatsServer::start_without_jetstream();
    let mut listener = Listener::new(&server.url());
    let dir = tempfile::tempdir().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    for seq in 1..=200 {
        drainer.publisher().publish(entry(seq));
    }
    until_settled(&drainer);
    let stats = end(drainer, 200);
    let first = listener.next(LIMIT).unwrap();
    assert_eq!(
        first.subject.as_str(),
        format!("assembly.audit.{}", entry(1).subject())
    );
    let headers = first.headers.unwrap();
    assert!(headers.get("Audit-Id").unwrap().as_str().ends_with(".1"));
    assert_eq!(listener.seqs(199), (2..=200).collect::<Vec<_>>());
    assert_eq!((stats.delivered, stats.lost.total()), (200, 0));
}

#[test]
fn entries_published_during_an_outage_arrive_after_it_in_order() {
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
    assert_eq!(listener.seqs(50), (1..=50).collect::<Vec<_>>());
}

/// What the subscriber misses is gone, but nothing comes twice, and nothing overtakes.
#[test]
fn nothing_is_sent_twice_to_a_server_that_is_killed_again_and_again() {
    let mut server = NatsServer::start_without_jetstream();
    let mut listener = Listener::new(&server.url());
    let dir = TempDir::new().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    let mut next = 0;
    let mut publish = |count| {
        for _ in 0..count {
            next += 1;
            drainer.publisher().publish(entry(next));
            thread::sleep(Duration::from_micros(100));
        }
    };
    let mut seqs = Vec::new();
    for _ in 0..3 {
        publish(500);
        // Before the first kill something has arrived; later ones need not wait until the subscriber is back.
        eventually("a hundred have arrived", || {
            seqs.extend(listener.seq(SILENCE));
            seqs.len() >= 100
        });
        server.kill();
        publish(500);
        server.restart();
    }
    publish(1);
    until_settled(&drainer);
    let stats = end(drainer, 3_001);
    assert_eq!(stats.delivered, 3_001);
    seqs.extend(listener.seqs(0));
    assert_increasing(&seqs, 100);
}

/// Its connections stay open, and hold a part of a batch when the batch's time is up.
#[test]
fn a_server_that_hangs_gets_all_of_it_once_and_in_order() {
    let server = NatsServer::start_without_jetstream();
    let mut listener = Listener::new(&server.url());
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path());
    config.ack_timeout = Duration::from_millis(200);
    // So that a batch's time is up with all of it in the client, and the next one's with a part of it.
    config.batch_max = 100;
    let drainer = start(config, nats(&server.url()));
    drainer.publisher().publish(entry(1));
    until_settled(&drainer);
    server.stop_signal();
    // More than the sockets between the two hold.
    for seq in 2..=MANY.into() {
        drainer.publisher().publish(entry(seq));
    }
    eventually("it is found out", || drainer.stats().delivery_errors > 0);
    server.cont_signal();
    until_settled(&drainer);
    end(drainer, MANY.into());
    let many = MANY.try_into().unwrap();
    assert_increasing(&listener.seqs(many), many);
}

const MANY: u32 = 40_000;

fn assert_increasing(seqs: &[u64], least: usize) {
    let mut pairs = seqs.windows(2);
    let stray = pairs.find(|pair| pair[0] >= pair[1]);
    assert_eq!(stray, None, "twice, or out of order");
    assert!(seqs.len() >= least, "{} have arrived", seqs.len());
}

/// What is logged in this process.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn at_most_once_delivery_is_logged_once() {
    let subscriber = tracing_subscriber::fmt().with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut server = NatsServer::start_without_jetstream();
    let dir = TempDir::new().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    drainer.publisher().publish(entry(1));
    until_settled(&drainer);
    server.restart();
    drainer.publisher().publish(entry(2));
    until_settled(&drainer);
    end(drainer, 2);
    let log = String::from_utf8(LOG.lock().clone()).unwrap();
    let of_this_server = server.url().trim_start_matches("nats://").to_owned();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("at most once") && line.contains(&of_this_server))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("WARN"), "{}", told[0]);
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
    assert_eq!(listener.seqs(50), (1..=50).collect::<Vec<_>>());
}

/// The first message that is sent alone is one that goes out.
#[test]
fn a_first_message_that_is_too_large_does_not_hide_a_denial() {
    let server = NatsServer::start_with(&format!("max_payload: 2000\n{DENIED}"));
    let dir = TempDir::new().unwrap();
    let drainer = start(config(dir.path()), nats(&server.url()));
    drainer.publisher().publish(padded(4_000));
    eventually("it is refused", || drainer.stats().rejected == 1);
    for seq in 2..=51 {
        drainer.publisher().publish(entry(seq));
    }
    eventually("it is found out", || drainer.stats().delivery_errors > 0);
    assert_eq!(drainer.stats().delivered, 0);
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
}

fn padded(bytes: usize) -> AuditEntry {
    let (agent, session) = (AgentId::from_bytes([0; 16]), SessionId::from_bytes([0; 16]));
    let event = AuditEventType::ToolCallIntercepted;
    AuditEntry::new(1, 1, event, agent, session, "x".repeat(bytes), [0; 32])
}

/// The denial comes after a tenth of a second and more.
#[test]
fn nothing_is_lost_to_a_server_far_away_that_permits_nothing() {
    let server = NatsServer::start_with(DENIED);
    let port = far_away(server.port(), Duration::from_millis(70));
    let dir = TempDir::new().unwrap();
    let drainer = start(
        config(dir.path()),
        nats(&format!("nats://127.0.0.1:{port}")),
    );
    for seq in 1..=2_000 {
        drainer.publisher().publish(entry(seq));
    }
    eventually("it is found out, again and again", || {
        drainer.stats().delivery_errors > 2
    });
    assert_eq!(drainer.stats().delivered, 0);
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
}

/// A port from which everything takes this long to get there, and back. Its threads end with the connections.
fn far_away(port: u16, delay: Duration) -> u16 {
    let near = TcpListener::bind("127.0.0.1:0").unwrap();
    let its_port = near.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((client, _)) = near.accept() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            let (client_too, server_too) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || carry(client, server, delay));
            thread::spawn(move || carry(server_too, client_too, delay));
        }
    });
    its_port
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (tell, told) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (at, bytes) in told {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if tell
            .send((Instant::now() + delay, buffer[..count].to_vec()))
            .is_err()
        {
            break;
        }
    }
    drop(tell);
    writer.join().unwrap();
}

const DENIED: &str = "authorization { users: [{ user: agent, password: secret, permissions: { publish: \"other.>\" } }] }\nno_auth_user: agent";
