//! Tries to keep the sink from its stream: by wrong credentials, certificates, addresses and ports, and by servers that
//! vanish. A rig drives the sink as its thread would.

mod access;
mod failover;
mod logs;
mod operator;
mod options;
mod ports;
mod secrets;
mod tls;

use std::time::{Duration, Instant};

use async_nats::jetstream;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId, Record};
use spillring::nats::TlsHandshake;
use spillring::sink::Delivery;
use spillring::sink::conformance::{Draft, resend};
use spillring::{JetStreamSink, NatsConfig, Sink};
use test_support::nats::{Message, NatsServer, block_on, client, free_port, read_stream};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// More than any delivery below needs.
const AMPLE: Duration = Duration::from_secs(60);

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
        let mut config = NatsConfig::default();
        config.urls = vec![url.into()];
        change(&mut config);
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            sink: JetStreamSink::new(config).unwrap(),
            doubt: true,
        }
    }

    fn deliver(&mut self, batch: &Batch) -> Delivery {
        let known = if self.doubt {
            self.position_of(batch.publisher())
        } else {
            Ok(None)
        };
        let rest = match known {
            Ok(at) => resend(batch, at),
            Err(why) => return Delivery::stopped(0, why),
        };
        let mut delivery = self.runtime.block_on(self.sink.deliver(&rest));
        delivery.stored += batch.records().len() - rest.records().len();
        self.doubt = matches!(delivery.stopped, Some(SinkError::Unknown(_)));
        delivery
    }

    fn position_of(&mut self, publisher: PublisherId) -> Result<Option<Position>, SinkError> {
        let found = self.runtime.block_on(self.sink.position(&publisher))?;
        self.doubt = false;
        Ok(found)
    }

    /// That of a publisher who has stored nothing. Those who have are in doubt after it.
    fn position(&mut self) -> Result<(), SinkError> {
        let found = self.position_of(PublisherId(Uuid::from_u128(7)))?;
        assert_eq!(found, None);
        self.doubt = true;
        Ok(())
    }

    /// Delivers again what was not stored, as the drainer does, until everything is.
    fn deliver_all(&mut self, batch: &Batch) {
        let until = Instant::now() + AMPLE;
        let mut rest = resend(batch, None);
        while !rest.records().is_empty() {
            let left = rest.records().len();
            assert!(Instant::now() < until, "{left} not stored in {AMPLE:?}");
            let delivery = self.deliver(&rest);
            let stored = &rest.records()[..delivery.stored];
            rest = resend(&rest, stored.last().map(Record::id));
        }
    }
}

/// Ten more entries of a common size.
fn ten(draft: &mut Draft) -> Batch {
    for n in 0..10 {
        draft.entry(format!("{n:>850}"));
    }
    draft.batch()
}

fn ids(messages: &[Message]) -> Vec<&str> {
    let id = |message| Message::header(message, "Audit-Id").unwrap();
    messages.iter().map(id).collect()
}

/// The messages are exactly the entries of these batches, each once, in order.
#[track_caller]
fn assert_all_in(mut read: Vec<Message>, batches: &[&Batch]) {
    read.retain(|message| message.subject.starts_with("assembly.audit."));
    let records = batches.iter().flat_map(|batch| batch.records());
    let expected: Vec<String> = records.map(|it| it.id().to_string()).collect();
    assert_eq!(ids(&read), expected);
}

fn assert_whole(delivery: &Delivery) {
    assert_eq!((delivery.stored, &delivery.stopped), (10, &None));
}
