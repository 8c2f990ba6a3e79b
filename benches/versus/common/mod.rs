//! What both sides share: the same entries, into an equal stream on an equal server, timed and reported alike.

#![allow(dead_code, reason = "each side uses its part of it")]

#[path = "../../support/args.rs"]
pub(crate) mod args;
pub(crate) mod line;
pub(crate) mod meter;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use args::Args;
use line::grouped;
use test_support::nats::{NatsServer, block_on, client, visit_stream};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5 * 60);
/// How long nothing may come before nothing more is waited for.
const MORE_MAX: Duration = Duration::from_secs(2);
/// The stream, and what it takes.
const STREAM: &str = "AUDIT";
const SUBJECTS: &str = "assembly.audit.>";

/// How many calls are measured, and at which depths of the backlog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Calls of a block with the server up.
    pub(crate) block: usize,
    /// Calls at each depth with the server down.
    pub(crate) window: usize,
    pub(crate) depths: [u64; 4],
    /// How deep the backlog is that goes into a sink that costs nothing.
    pub(crate) free: u64,
}

impl Sizes {
    pub(crate) fn of(args: &Args) -> Self {
        let full = Self {
            block: 20_000,
            window: 1_000,
            depths: [0, 1_000, 10_000, 30_000],
            free: 10_000,
        };
        let short = Self {
            block: 200,
            window: 50,
            depths: [0, 50, 100, 2_500],
            free: 2_500,
        };
        args.choose(full, short)
    }

    pub(crate) fn deepest(&self) -> u64 {
        self.depths[self.depths.len() - 1]
    }

    /// How deep the backlog is that goes to a server that is back: what stands there after the last window.
    pub(crate) fn replayed(&self) -> u64 {
        self.deepest() + self.window as u64
    }
}

/// How often `publish` is called while the server is up.
pub(crate) const PACES: [(&str, Option<Duration>); 3] = [
    ("NATS up, one per 100 µs", Some(Duration::from_micros(100))),
    ("NATS up, one per 10 µs", Some(Duration::from_micros(10))),
    ("NATS up, tight loop", None),
];

/// What is said of a depth.
pub(crate) fn down(depth: u64, window: usize) -> String {
    if depth == 0 {
        format!("NATS down, first {}", grouped(window as u64))
    } else {
        format!("NATS down, {} in the backlog", grouped(depth))
    }
}

/// The 2,000 entries of the tests' data, 843 bytes at the median, as a side's own type reads them, over and over.
#[derive(Debug, Clone)]
pub(crate) struct Entries<T> {
    all: Vec<T>,
    next: usize,
}

impl<T: Clone + DeserializeOwned> Entries<T> {
    pub(crate) fn read() -> Self {
        let path = root().join("tests/data/sessions.jsonl");
        let text = std::fs::read_to_string(path).expect("the data of the tests");
        let read = |line| serde_json::from_str(line).expect("an entry");
        Self {
            all: text.lines().map(read).collect(),
            next: 0,
        }
    }

    /// The next so many.
    pub(crate) fn take(&mut self, count: usize) -> Vec<T> {
        let taken = self.all.iter().cycle().skip(self.next).take(count);
        let taken = taken.cloned().collect();
        self.next = (self.next + count) % self.all.len();
        taken
    }
}

/// A directory on the disk that holds the build.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(root().join("target/versus")).expect("a directory")
}

fn root() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", ".."]
        .iter()
        .collect()
}

/// A server with the stream that Agent Assembly's gateway makes: everything but its name and subjects at its default.
pub(crate) fn server_with_stream() -> NatsServer {
    let server = NatsServer::start();
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            ..Default::default()
        };
        context.create_stream(config).await.expect("a stream");
    });
    server
}

/// What tells entries apart. The original leaves out fields that it does not know, so its bytes are not those it read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Identity {
    session_id: [u8; 16],
    seq: u64,
    entry_hash: [u8; 32],
}

/// How many of the published entries are in the stream, and whether they are exactly those, each once and in
/// order. What is not acknowledged may still be on its way: it is waited for as long as more comes.
pub(crate) fn arrived(server: &NatsServer, published: u64) -> (u64, bool) {
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let mut stream = context.get_stream(STREAM).await.expect("the stream");
        let mut before = None;
        loop {
            let now = stream.info().await.expect("its state").state.messages;
            if now >= published || before == Some(now) {
                return;
            }
            before = Some(now);
            tokio::time::sleep(MORE_MAX).await;
        }
    });
    let all: Vec<Identity> = Entries::read().all;
    let mut expected = all.iter().cycle();
    let (mut count, mut in_order) = (0, true);
    visit_stream(&server.url(), STREAM, |message| {
        // Beside the entries a stream may hold the cursor of their publisher.
        if message.subject.starts_with("assembly.audit.") {
            count += 1;
            let found = serde_json::from_slice(&message.payload).expect("an entry");
            in_order &= expected.next() == Some(&found);
        }
    });
    (count, in_order && count == published)
}
