//! Tries to break "once and in order" against real servers: a rig drives the sink as its thread would, and a separate
//! reader checks what the stream then holds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod append_only;
mod fast;
mod halfway;
mod messages;
mod outages;
mod permissions;
mod settings;
mod streams;
mod transactions;
mod unfound;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::JetStreamSink;
use crate::config::{NatsConfig, StreamCare};
use crate::error::SinkError;
use crate::event::{Batch, Loss, LossReason, Position, PublisherId, Record, Run, RunId};
use crate::sink::{Delivery, Sink};
use test_support::nats::{Message, NatsServer, block_on, client, free_port, read_stream};

/// More than any delivery below needs.
const AMPLE: Duration = Duration::from_secs(30);
const PUBLISHER: PublisherId = PublisherId(Uuid::from_u128(7));
/// The size of a common entry.
const COMMON: usize = 850;

/// The sink, and the runtime that its thread would have. Like the drainer it asks for the position after a doubt, and
/// does not resend what is stored.
struct Rig {
    runtime: Runtime,
    sink: JetStreamSink,
    doubt: bool,
}

impl Rig {
    fn new(url: &str) -> Self {
        Self::with(url, |_| {})
    }

    fn with(url: &str, change: impl FnOnce(&mut NatsConfig)) -> Self {
        let mut config = NatsConfig {
            urls: vec![url.into()],
            ..NatsConfig::default()
        };
        change(&mut config);
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            sink: JetStreamSink::new(config).unwrap(),
            doubt: true,
        }
    }

    fn deliver(&mut self, batch: &Batch) -> Delivery {
        let mut skipped = 0;
        if self.doubt {
            match self.position() {
                Err(why) => return Delivery::stopped(0, why),
                Ok(None) => {}
                Ok(Some(at)) => {
                    let ids = batch.records().iter().map(Record::id);
                    skipped = ids
                        .take_while(|id| id.run == at.run && id.n <= at.n)
                        .count();
                }
            }
        }
        let rest = Batch {
            publisher: batch.publisher,
            records: batch.records[skipped..].to_vec(),
            through: batch.through,
            limit: batch.limit,
            signer: batch.signer.clone(),
        };
        let mut delivery = self.runtime.block_on(self.sink.deliver(&rest));
        delivery.stored += skipped;
        self.doubt = matches!(delivery.stopped, Some(SinkError::Unknown(_)));
        delivery
    }

    fn position(&mut self) -> Result<Option<Position>, SinkError> {
        let found = self.runtime.block_on(self.sink.position(&PUBLISHER))?;
        self.doubt = false;
        Ok(found)
    }

    /// Delivers again what was not stored, as the drainer does, until everything is.
    fn deliver_all(&mut self, records: &[Record]) {
        let until = Instant::now() + AMPLE;
        let (mut stored, mut why) = (0, None);
        while stored < records.len() {
            assert!(
                Instant::now() < until,
                "only {stored} stored in {AMPLE:?}: {why:?}"
            );
            let delivery = self.deliver(&batch(&records[stored..], AMPLE));
            (stored, why) = (stored + delivery.stored, delivery.stopped);
        }
    }
}

fn run() -> Arc<Run> {
    Arc::new(Run {
        id: RunId(Uuid::now_v7()),
        publisher: PUBLISHER,
        local: 1,
        previous: None,
        killed_starts: 0,
    })
}

/// Records of one run, with these numbers and payloads of this size.
fn records(numbers: RangeInclusive<u64>, size: usize) -> Vec<Record> {
    let run = run();
    numbers
        .map(|n| Record {
            run: Arc::clone(&run),
            n,
            losses: Vec::new(),
            popped_ms: 0,
            requeued: None,
            since: Instant::now(),
            subject: format!("acme.agent-{}", n % 3).into(),
            bytes: format!("{n:>size$}").into_bytes().into(),
        })
        .collect()
}

fn batch(records: &[Record], limit: Duration) -> Batch {
    Batch {
        publisher: PUBLISHER,
        records: records.to_vec(),
        through: records.last().unwrap().id(),
        limit,
        signer: None,
    }
}

/// The client runs on this thread, too.
fn logged(act: impl FnOnce()) -> String {
    test_support::logged::logged(tracing::Level::TRACE, act)
}

fn ids(messages: &[Message]) -> Vec<&str> {
    let id = |message| Message::header(message, "Audit-Id").unwrap();
    messages.iter().map(id).collect()
}

/// The entries of the stream.
fn entries(server: &NatsServer) -> Vec<Message> {
    let mut read = read_stream(&server.url(), "AUDIT");
    read.retain(|message| message.subject.starts_with("assembly.audit."));
    read
}

/// The stream holds exactly these records, each once, in order.
fn assert_stored(server: &NatsServer, records: &[Record]) {
    let read = entries(server);
    let expected: Vec<String> = records.iter().map(|it| it.id().to_string()).collect();
    assert_eq!(ids(&read), expected);
}

fn assert_all(delivery: &Delivery, count: usize) {
    assert_eq!((delivery.stored, &delivery.stopped), (count, &None));
}

#[test]
fn a_batch_larger_than_the_window_is_stored_in_order_with_subjects_headers_and_bytes() {
    let server = NatsServer::start();
    let mut rig = Rig::new(&server.url());
    let mut records = records(1..=3_000, COMMON);
    records[1].losses = vec![Loss {
        count: 4,
        reason: LossReason::QueueFull,
    }];
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 3_000);

    let read = entries(&server);
    assert_eq!(read.len(), records.len());
    for (message, record) in read.iter().zip(&records) {
        let id = record.id().to_string();
        assert_eq!(
            message.subject,
            format!("assembly.audit.{}", record.subject())
        );
        assert_eq!(message.payload, record.bytes());
        assert_eq!(message.header("Audit-Id"), Some(id.as_str()));
        assert_eq!(message.header("Nats-Msg-Id"), None);
        let lost = (record.lost_before() > 0).then_some("4");
        assert_eq!(message.header("Audit-Lost"), lost);
        let opens = (record.n == 1).then(|| format!("publisher={PUBLISHER}"));
        assert_eq!(message.header("Audit-Run"), opens.as_deref());
    }
}

#[test]
fn one_connection_serves_many_batches() {
    let server = NatsServer::start_with("debug: true");
    let mut rig = Rig::new(&server.url());
    let records = records(1..=50, COMMON);
    rig.position().unwrap();
    for part in records.chunks(5) {
        assert_all(&rig.deliver(&batch(part, AMPLE)), 5);
    }
    assert_stored(&server, &records);
    let connections = server.log().matches("Client connection created").count();
    // Besides the sink, only the harness before it and the reader after it connected.
    assert_eq!(connections, 3, "{}", server.log());
}
