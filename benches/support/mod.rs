//! What the benches share: real entries, sinks that cost nothing or take nothing, and how results are printed.

#![allow(dead_code, reason = "each bench uses its part of it")]

pub(crate) mod args;
pub(crate) mod bench;
pub(crate) mod latency;
pub(crate) mod usage;

use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{AuditEntry, Config, Drainer, Durable, Sink};

/// The 2,000 entries of `tests/data/sessions.jsonl`, 843 bytes at the median.
pub(crate) fn entries() -> Vec<AuditEntry> {
    include_str!("../../tests/data/sessions.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect()
}

/// Starts a publisher with default settings and a spill on the disk that holds the build.
pub(crate) fn start<E: Durable>(sink: impl Sink) -> (Drainer<E>, tempfile::TempDir) {
    start_with(sink, |_| {})
}

/// The same with changed settings.
pub(crate) fn start_with<E: Durable>(
    sink: impl Sink,
    change: impl FnOnce(&mut Config),
) -> (Drainer<E>, tempfile::TempDir) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut config = Config::new(dir.path().join("spill"));
    change(&mut config);
    let drainer = spillring::start_durable(config, sink).expect("a publisher");
    (drainer, dir)
}

/// Takes everything at once.
#[derive(Debug)]
pub(crate) struct Free;

/// Takes nothing.
#[derive(Debug)]
pub(crate) struct Away;

/// Never answers.
#[derive(Debug)]
pub(crate) struct Stalled;

type Answer<'a> = BoxFuture<'a, Result<Option<Position>, SinkError>>;

impl Sink for Free {
    fn position<'a>(&'a mut self, _of: &'a PublisherId) -> Answer<'a> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async { Delivery::all(batch) })
    }
}

impl Sink for Away {
    fn position<'a>(&'a mut self, _of: &'a PublisherId) -> Answer<'a> {
        Box::pin(async { Err(SinkError::Unavailable("away".to_owned())) })
    }

    fn deliver<'a>(&'a mut self, _batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async { Delivery::stopped(0, SinkError::Unavailable("away".to_owned())) })
    }
}

impl Sink for Stalled {
    fn position<'a>(&'a mut self, _of: &'a PublisherId) -> Answer<'a> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, _batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(std::future::pending())
    }
}
