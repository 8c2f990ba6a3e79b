//! A publisher that leaves a trail, and what is done to the trail of a stream.

use std::sync::LazyLock;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context, stream};
use spillring::config::SpillDurability;
use spillring::seal::PublicKeys;
use spillring::{AuditEntry, Config, Drainer, JetStreamSink, NatsConfig, Sink, Stats};
use tempfile::TempDir;

use test_support::nats::{Message, NatsServer, block_on, client, read_stream};

/// More than any shutdown here needs.
const AMPLE: Duration = Duration::from_secs(20);

static ENTRIES: LazyLock<Vec<AuditEntry>> = LazyLock::new(|| {
    let lines = include_str!("../data/sessions.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
});

/// Entries of the data, in their order.
pub(super) fn entries(range: std::ops::Range<usize>) -> Vec<AuditEntry> {
    ENTRIES[range].to_vec()
}

/// A publisher's directory, which outlives its runs.
pub(super) struct Publisher {
    pub(super) dir: TempDir,
}

/// One run of it.
pub(super) struct Run {
    drainer: Drainer<AuditEntry>,
    published: u64,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn start(&self, sink: impl Sink) -> Run {
        let mut config = Config::new(self.dir.path().join("spill"));
        config.batch_max = 10;
        config.spill_durability = SpillDurability::ProcessCrash;
        Run {
            drainer: spillring::start(config, sink).unwrap(),
            published: 0,
        }
    }

    /// Its first public key.
    pub(super) fn key(&self) -> String {
        let keys = PublicKeys::read(&self.dir.path().join("spill"));
        keys.unwrap().unwrap().first
    }

    pub(super) fn start_on(&self, server: &NatsServer) -> Run {
        self.start(sink(server))
    }
}

impl Run {
    pub(super) fn publish(&mut self, entries: Vec<AuditEntry>) {
        let publisher = self.drainer.publisher();
        for entry in entries {
            publisher.publish(entry);
            self.published += 1;
        }
    }

    /// Waits until all that was published is delivered, or buried.
    pub(super) fn settle(&self) {
        test_support::eventually::eventually("all is delivered", || {
            let stats = self.drainer.stats();
            (stats.delivered + stats.dead_lettered == self.published).then_some(())
        });
    }

    pub(super) fn of(drainer: Drainer<AuditEntry>) -> Self {
        Self {
            drainer,
            published: 0,
        }
    }

    /// Delivers nothing more.
    pub(super) fn end_at_once(self) {
        let ended = self.drainer.shutdown(Duration::ZERO).wait(AMPLE);
        ended.unwrap();
    }

    pub(super) fn end(self) -> Stats {
        self.drainer.shutdown(AMPLE).wait(AMPLE * 2).unwrap()
    }
}

pub(super) fn sink(server: &NatsServer) -> JetStreamSink {
    let mut nats = NatsConfig::default();
    nats.urls = vec![server.url().as_str().into()];
    JetStreamSink::new(nats).unwrap()
}

/// A trail as the library has left it in a stream: two runs of thirty entries.
pub(super) fn stream_trail() -> Vec<Message> {
    signed_trail().0
}

/// The same, and the publisher's first public key.
pub(super) fn signed_trail() -> (Vec<Message>, String) {
    static TRAIL: LazyLock<(Vec<Message>, String)> = LazyLock::new(|| {
        let (server, publisher) = (NatsServer::start(), Publisher::new());
        for part in [0..30, 30..60] {
            let mut run = publisher.start_on(&server);
            run.publish(entries(part));
            run.end();
        }
        (read_stream(&server.url(), "AUDIT"), publisher.key())
    });
    TRAIL.clone()
}

/// Where the entries stand in a trail; cursors stand between them.
pub(super) fn places(trail: &[Message]) -> Vec<usize> {
    let at = |at: &usize| trail[*at].header("Audit-Id").is_some();
    (0..trail.len()).filter(at).collect()
}

/// Where the newest cursor is.
pub(super) fn cursor(trail: &[Message]) -> usize {
    let mut all = (0..trail.len()).rev();
    all.find(|at| trail[*at].subject.starts_with("assembly.cursor."))
        .unwrap()
}

/// A stream that holds exactly these messages.
pub(super) fn stream_of(trail: &[Message]) -> NatsServer {
    stream_with(trail, |_| ())
}

pub(super) fn stream_with(trail: &[Message], set: impl FnOnce(&mut stream::Config)) -> NatsServer {
    let server = NatsServer::start();
    let mut config = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec![
            "assembly.audit.>".to_owned(),
            "assembly.cursor.*".to_owned(),
        ],
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    set(&mut config);
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        context.create_stream(config).await.unwrap();
        for message in trail {
            store(&context, message).await;
        }
    });
    server
}

/// Stores a message with its headers; one of a transaction as a transaction of its own.
async fn store(context: &Context, message: &Message) {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        if !name.starts_with("Nats-") {
            headers.insert(name.as_str(), value.as_str());
        }
    }
    if message.header("Audit-Id").is_some() && message.header("Nats-Batch-Id").is_some() {
        headers.insert("Nats-Batch-Id", uuid::Uuid::now_v7().simple().to_string());
        headers.insert("Nats-Batch-Sequence", "1");
        headers.insert("Nats-Batch-Commit", "1");
    }
    let payload = message.payload.clone();
    let subject = message.subject.clone();
    let sent = context
        .publish_with_headers(subject, headers, payload)
        .await;
    sent.unwrap().await.unwrap();
}

/// Deletes messages as whoever may manage the stream can.
pub(super) fn delete(server: &NatsServer, sequences: impl IntoIterator<Item = u64>) {
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let stream = context.get_stream("AUDIT").await.unwrap();
        for sequence in sequences {
            assert!(stream.delete_message(sequence).await.unwrap());
        }
    });
}
