//! Spillring among the candidates, with this sink or that. An entry is received when the sink gets it.

use std::sync::Arc;

use spillring::error::{SinkError, TryPublishError};
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{AuditEntry, Config, Drainer, Publisher, Sink};

use crate::lane::{LIMIT, Receipts, Rig, Role};
use crate::machine::Threads;
use crate::shipped::sends_entries;
use crate::support::start_with;
use crate::times::Sender;

/// `publish`: a refused entry is dropped in the call.
#[derive(Debug, Clone)]
pub(crate) struct Publish(pub(crate) Publisher<AuditEntry>);

sends_entries!(Publish, |publisher, entry| {
    publisher.0.publish(entry);
    None
});

/// `try_publish`: a refused entry is handed back.
#[derive(Debug, Clone)]
pub(crate) struct TryPublish(pub(crate) Publisher<AuditEntry>);

sends_entries!(TryPublish, |publisher, entry| {
    let refused = publisher.0.try_publish(entry).err();
    refused.map(TryPublishError::into_entry)
});

/// Whether the sink ever gets anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gets {
    Everything,
    Nothing,
}

/// A running publisher of default settings, and after each block a flush: all is acknowledged or on disk, nothing lost.
pub(crate) fn ours(
    name: &'static str,
    sink: impl Sink,
    gets: Gets,
    change: impl FnOnce(&mut Config),
) -> Rig<Publish> {
    let receipts = Receipts::new();
    let watched = Watched {
        inner: sink,
        receipts: (gets == Gets::Everything).then(|| Arc::clone(&receipts)),
    };
    let (drainer, dir): (Drainer<AuditEntry>, _) = start_with(watched, change);
    let (sender, publisher) = (Publish(drainer.publisher()), drainer.publisher());
    Rig {
        receipts: (gets == Gets::Everything).then_some(receipts),
        threads: Threads::Named("spillring-"),
        settle: Box::new(move || {
            publisher.flush().wait(LIMIT).expect("a flush");
            assert_eq!(publisher.stats().lost.total(), 0, "the ring was full");
        }),
        keep: Box::new((drainer, dir)),
        ..Rig::alone(name, Role::Ours, sender)
    }
}

/// Notes when a sink gets entries.
#[derive(Debug)]
struct Watched<S> {
    inner: S,
    receipts: Option<Arc<Receipts>>,
}

impl<S: Sink> Sink for Watched<S> {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        self.inner.position(of)
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        if let Some(receipts) = &self.receipts {
            receipts.stamp(batch.records().len());
        }
        self.inner.deliver(batch)
    }
}
