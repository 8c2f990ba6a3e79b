//! Agent Assembly's own `AuditPublisher`, with its own sink and buffer, wired as its runtime wires them:
//! `versus-original up|down|free`; without a name all of them run; with `--test` each runs short.
//!
//! Left out are its Prometheus recorder and the loop that looks at the backlog every five seconds: both would cost it
//! something, and replay is timed from its first call instead.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench may panic, and prints"
)]

#[path = "../../common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use aa_core::storage::{AuditEntry, AuditSink, Result, StorageError};
use aa_runtime::audit_publisher::{AuditPublisher, NatsAuditSink, NatsConfig};
use aa_storage_sqlite_buffer::EventBuffer;
use async_trait::async_trait;
use original_nats::Client;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use common::args::Args;
use common::line::{Figures, Line, Side, grouped, rate};
use common::meter::Meter;
use common::{Entries, PACES, Sizes};
use test_support::eventually::eventually;
use test_support::nats::NatsServer;

/// As many as its runtime lets its buffer keep.
const BUFFER_CAPACITY: usize = 100_000;

/// Who awaits `publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A thread of its own that blocks on the runtime: the task that writes to the socket is woken on another.
    Thread,
    /// A task of the runtime, as in its own program, which yields to the others until the next call is due.
    Task,
}

impl Caller {
    fn how(self) -> &'static str {
        match self {
            Self::Thread => "awaited on a thread",
            Self::Task => "awaited in a task of its runtime",
        }
    }
}

fn main() {
    let args = Args::read();
    let sizes = Sizes::of(&args);
    // As its own `main` builds it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if args.wants("up") {
        up(&runtime, sizes);
    }
    if args.wants("down") {
        down(&runtime, sizes);
    }
    if args.wants("free") {
        free(&runtime, sizes);
    }
}

/// A publisher that is connected to a server.
struct Connected {
    publisher: Arc<AuditPublisher>,
    sink: Arc<NatsAuditSink>,
    client: Client,
    _dir: TempDir,
}

impl Connected {
    fn to(server: &NatsServer, runtime: &Runtime) -> Self {
        let config = NatsConfig {
            url: server.url(),
            ..NatsConfig::default()
        };
        let client = runtime.block_on(config.connect()).expect("a connection");
        let sink = Arc::new(NatsAuditSink::new(client.clone()));
        let (buffer, dir) = buffer();
        Self {
            publisher: Arc::new(AuditPublisher::new(
                Arc::clone(&sink) as Arc<dyn AuditSink>,
                buffer,
            )),
            sink,
            client,
            _dir: dir,
        }
    }
}

fn buffer() -> (Arc<EventBuffer>, TempDir) {
    let dir = common::folder();
    let buffer = EventBuffer::new(dir.path().join("buffer.db"), BUFFER_CAPACITY).expect("a buffer");
    (Arc::new(buffer), dir)
}

/// Publishes the entries, and times each call.
fn publish(
    runtime: &Runtime,
    caller: Caller,
    publisher: &Arc<AuditPublisher>,
    entries: Vec<AuditEntry>,
    meter: Meter,
) -> Meter {
    let publisher = Arc::clone(publisher);
    let calls = calls(caller, publisher, entries, meter);
    match caller {
        Caller::Thread => runtime.block_on(calls),
        Caller::Task => runtime.block_on(async { tokio::spawn(calls).await.expect("no panic") }),
    }
}

async fn calls(
    caller: Caller,
    publisher: Arc<AuditPublisher>,
    entries: Vec<AuditEntry>,
    mut meter: Meter,
) -> Meter {
    for entry in entries {
        while !meter.due() {
            match caller {
                Caller::Thread => std::hint::spin_loop(),
                Caller::Task => tokio::task::yield_now().await,
            }
        }
        let start = meter.start();
        publisher.publish(entry).await;
        meter.stop(start);
    }
    meter
}

/// Service times while the server takes everything.
fn up(runtime: &Runtime, sizes: Sizes) {
    let server = common::server_with_stream();
    let connected = Connected::to(&server, runtime);
    let mut entries = Entries::read();
    let mut published = 0;
    for (condition, pace) in PACES {
        for caller in [Caller::Thread, Caller::Task] {
            let block = entries.take(sizes.block);
            published += block.len() as u64;
            let meter = publish(
                runtime,
                caller,
                &connected.publisher,
                block,
                Meter::new(pace),
            );
            tell(condition, caller.how(), meter.figures());
            runtime.block_on(connected.client.flush()).expect("a flush");
        }
    }
    assert_eq!(connected.publisher.buffered_len().expect("a count"), 0);
    account("NATS up throughout", &server, published);
}

/// Service times while the server is away, each call as soon as the last has returned; how fast it spills at the
/// deepest; and how fast the backlog leaves when the server is back.
fn down(runtime: &Runtime, sizes: Sizes) {
    let mut server = common::server_with_stream();
    let connected = Connected::to(&server, runtime);
    let publisher = &connected.publisher;
    let mut entries = Entries::read();
    server.kill();
    eventually("it has noticed", || {
        (!connected.sink.is_connected()).then_some(())
    });
    let buffered = || publisher.buffered_len().expect("a count") as u64;
    let mut run = |count: usize| {
        let block = entries.take(count);
        publish(runtime, Caller::Task, publisher, block, Meter::new(None))
    };
    for depth in sizes.depths {
        run(usize::try_from(depth - buffered()).expect("not that many"));
        assert_eq!(buffered(), depth);
        let begin = Instant::now();
        let meter = run(sizes.window);
        let seconds = begin.elapsed().as_secs_f64();
        let condition = common::down(depth, sizes.window);
        tell(
            &condition,
            "each once the last has returned",
            meter.figures(),
        );
        if depth == sizes.deepest() {
            tell(
                &format!("spilling at {} in the backlog", grouped(depth)),
                "publish awaited; survives a kill",
                rate(sizes.window as u64, seconds),
            );
        }
    }
    replay(runtime, &mut server, &connected, sizes);
}

fn replay(runtime: &Runtime, server: &mut NatsServer, connected: &Connected, sizes: Sizes) {
    let backlog = connected.publisher.buffered_len().expect("a count") as u64;
    server.restart();
    eventually("it is connected again", || {
        connected.sink.is_connected().then_some(())
    });
    let begin = Instant::now();
    let flushed = runtime
        .block_on(connected.publisher.flush_pending())
        .expect("a flush");
    let seconds = begin.elapsed().as_secs_f64();
    runtime.block_on(connected.client.flush()).expect("a flush");
    assert_eq!(flushed as u64, backlog, "the backlog did not leave at once");
    assert_eq!(backlog, sizes.replayed());
    tell(
        &format!("replay of {} to NATS", grouped(backlog)),
        "core NATS, unacknowledged",
        rate(backlog, seconds),
    );
    account("NATS down, then back", server, backlog);
}

/// Replay into a sink that costs nothing.
fn free(runtime: &Runtime, sizes: Sizes) {
    let (buffer, _dir) = buffer();
    let shut = AuditPublisher::new(Arc::new(Shut), Arc::clone(&buffer));
    let open = AuditPublisher::new(Arc::new(Free), buffer);
    let count = usize::try_from(sizes.free).expect("not that many");
    let flushed = runtime.block_on(async {
        for entry in Entries::read().take(count) {
            shut.publish(entry).await;
        }
        let begin = Instant::now();
        let flushed = open.flush_pending().await.expect("a flush");
        let seconds = begin.elapsed().as_secs_f64();
        tell(
            &format!(
                "replay of {} into a sink that costs nothing",
                grouped(sizes.free)
            ),
            "one by one",
            rate(sizes.free, seconds),
        );
        flushed
    });
    assert_eq!(flushed, count);
}

/// Takes nothing.
struct Shut;

/// Takes everything at once.
struct Free;

#[async_trait]
impl AuditSink for Shut {
    async fn emit(&self, _event: AuditEntry) -> Result<()> {
        Err(StorageError::Backend("shut".to_owned()))
    }
}

#[async_trait]
impl AuditSink for Free {
    async fn emit(&self, _event: AuditEntry) -> Result<()> {
        Ok(())
    }
}

/// What arrived is counted, and nothing is asked of it: it is not acknowledged.
fn account(condition: &str, server: &NatsServer, published: u64) {
    let (arrived, in_order) = common::arrived(server, published);
    let figures = Figures::Count {
        published,
        arrived,
        in_order,
    };
    tell(condition, "core NATS", figures);
}

fn tell(condition: &str, how: &str, figures: Figures) {
    let line = Line {
        side: Side::Original,
        condition: condition.to_owned(),
        how: how.to_owned(),
        figures,
    };
    line.tell();
}
