//! An output in a directory of its own, and what a publisher does with it.

use std::fs;
use std::path::{Path, PathBuf};

use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::Delivery;
use spillring::sink::conformance::{Draft, Harness, Stored};
use spillring::{JsonLinesSink, Sink};
use tempfile::TempDir;
use tokio::runtime::Builder;

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl.ledger")
    }

    pub(crate) fn sink(&self) -> JsonLinesSink {
        JsonLinesSink::new(self.output())
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.output()).unwrap()
    }

    /// The ledger's lines, without their checksums.
    pub(crate) fn told(&self) -> Vec<serde_json::Value> {
        reported_in(&self.ledger())
    }

    /// The ledgers of outputs that are gone, oldest first.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let mut kept: Vec<PathBuf> = names
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains(".ledger."))
            .collect();
        kept.sort();
        kept
    }
}

/// The lines of a ledger, without their checksums.
pub(crate) fn reported_in(ledger: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(ledger).unwrap();
    text.lines()
        .map(|line| {
            let (crc, body) = line.split_once(' ').unwrap();
            assert_eq!(crc, format!("{:08x}", crc32fast::hash(body.as_bytes())));
            serde_json::from_str(body).unwrap()
        })
        .collect()
}

impl Harness for Bench {
    type Sink = JsonLinesSink;

    fn reopen(&mut self) -> JsonLinesSink {
        self.sink()
    }

    fn stored(&mut self) -> Vec<Stored> {
        let bytes = fs::read(self.output()).unwrap_or_default();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| Stored {
                id: None,
                bytes: line.strip_suffix(b"\n").unwrap().to_vec(),
            })
            .collect()
    }
}

pub(crate) fn deliver(sink: &mut JsonLinesSink, batch: &Batch) -> Delivery {
    block_on(sink.deliver(batch))
}

/// Delivers a batch of which all must be taken.
pub(crate) fn store(sink: &mut JsonLinesSink, batch: &Batch) {
    let delivery = deliver(sink, batch);
    assert_eq!(delivery.stopped, None);
    assert_eq!(delivery.stored, batch.records().len());
}

pub(crate) fn position(
    sink: &mut JsonLinesSink,
    of: PublisherId,
) -> Result<Option<Position>, SinkError> {
    block_on(sink.position(&of))
}

/// The next three entries.
pub(crate) fn three(draft: &mut Draft) -> Batch {
    for _ in 0..3 {
        draft.entry(format!("{{\"id\":\"{}\"}}", uuid::Uuid::now_v7()));
    }
    draft.batch()
}

/// Batches as they are to stand in the output.
pub(crate) fn lines(batches: &[&Batch]) -> String {
    let records = batches.iter().flat_map(|batch| batch.records());
    records
        .map(|record| String::from_utf8(record.bytes().to_vec()).unwrap() + "\n")
        .collect()
}

pub(crate) fn append(path: &Path, text: &[u8]) {
    let mut all = fs::read(path).unwrap_or_default();
    all.extend_from_slice(text);
    fs::write(path, all).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
