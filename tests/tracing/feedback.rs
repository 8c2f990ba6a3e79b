//! A sink that logs at each call, on its thread and on a thread of the pool, drives a client that logs, to a server
//! that is away: no such line becomes an entry, or the log of a failure would be the next thing that fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::log_writer::LogWriter;
use spillring::sink::{BoxFuture, Delivery};
use spillring::{JetStreamSink, JsonLinesSink, NatsConfig, RawEntry, Sink};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use test_support::bench::{LIMIT, eventually, quick};
use test_support::nats::{NatsServer, read_stream};

const LINES: usize = 300;
/// How often each party must have logged before the server comes back.
const OFTEN: usize = 20;

/// Counts the lines that reach `tracing` at all, by target.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Heard {
    fn of(&self, target: &str) -> usize {
        let heard = self.0.lock();
        let below = heard.iter().filter(|(of, _)| of.starts_with(target));
        below.map(|(_, count)| count).sum()
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        *self.0.lock().entry(event.metadata().target()).or_default() += 1;
    }
}

/// Logs what it does, twice.
struct Chatty(JetStreamSink);

async fn chat() {
    tracing::warn!(target: "chatty", "called");
    let pool = tokio::task::spawn_blocking(|| tracing::warn!(target: "pool", "called"));
    pool.await.unwrap();
}

impl Sink for Chatty {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async {
            chat().await;
            self.0.position(of).await
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async {
            chat().await;
            self.0.deliver(batch).await
        })
    }
}

#[test]
fn log_lines_of_spillring_and_its_sink_never_become_entries() {
    let mut server = NatsServer::start();
    let mut nats = NatsConfig::default();
    nats.urls = vec![server.url().into()];
    let sink = Chatty(JetStreamSink::new(nats).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let drainer = spillring::start(quick(&dir.path().join("spill")), sink).unwrap();
    let heard = Heard::default();
    tracing_subscriber::registry()
        .with(heard.clone())
        .with(LogWriter::new(drainer.publisher(), "tenant.app").into_json_layer())
        .init();
    let log = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            tracing::info!(target: "app", number, "called");
        }
    };

    // Complains on this thread.
    let other = JsonLinesSink::new(dir.path().join("other.jsonl"));
    drop(spillring::start::<RawEntry>(quick(&dir.path().join("other")), other).unwrap());
    log(0..100);
    eventually("lines are delivered", || drainer.stats().delivered >= 100);
    server.kill();
    log(100..200);
    eventually("everybody has logged", || {
        heard.of("chatty") >= OFTEN
            && heard.of("pool") >= OFTEN
            && heard.of("async_nats") >= OFTEN
            && heard.of("spillring") >= 1
    });
    server.restart();
    log(200..LINES);
    let stats = drainer.shutdown(LIMIT).wait(LIMIT).unwrap();

    let messages = read_stream(&server.url(), "AUDIT");
    let entries = messages
        .iter()
        .filter(|message| message.subject.starts_with("assembly.audit."));
    let mut numbers = Vec::new();
    for entry in entries {
        let line: Value = serde_json::from_slice(&entry.payload).unwrap();
        assert_eq!(line["target"], "app", "{line}");
        numbers.push(line["fields"]["number"].clone());
    }
    assert_eq!(numbers, (0..LINES).collect::<Vec<_>>());
    assert_eq!(stats.accepted, LINES as u64);
}
