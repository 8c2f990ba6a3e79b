//! A sink with an outage, which begins after the same entry each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use spillring::Sink;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::seal::Signer;
use spillring::sink::{BoxFuture, Delivery};

/// When the outage begins, how long it lasts, and its phase.
#[derive(Debug, Clone)]
pub(super) struct Outage {
    after: u64,
    lasts: Duration,
    phase: Arc<AtomicU8>,
}

/// The phase of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Before = 0,
    On = 1,
    Over = 2,
}

/// A sink that fails during the outage.
#[derive(Debug)]
pub(super) struct Flaky<S> {
    inner: S,
    outage: Outage,
    stored: u64,
    since: Option<Instant>,
}

impl Outage {
    /// An outage that begins once `after` entries are stored.
    pub(super) fn new(after: u64, lasts: Duration) -> Self {
        Self {
            after,
            lasts,
            phase: Arc::new(AtomicU8::new(Phase::Before as u8)),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Before,
            1 => Phase::On,
            _ => Phase::Over,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.phase() == Phase::On
    }
}

impl<S: Sink> Flaky<S> {
    pub(super) fn new(inner: S, outage: Outage) -> Self {
        Self {
            inner,
            outage,
            stored: 0,
            since: None,
        }
    }

    fn check(&mut self) -> Result<(), SinkError> {
        if self.stored < self.outage.after {
            return Ok(());
        }
        let on = self.since.get_or_insert_with(Instant::now).elapsed() < self.outage.lasts;
        let phase = if on { Phase::On } else { Phase::Over };
        self.outage.phase.store(phase as u8, Ordering::Relaxed);
        if on {
            Err(SinkError::Unavailable(
                "the demo has taken it away".to_owned(),
            ))
        } else {
            Ok(())
        }
    }
}

impl<S: Sink> Sink for Flaky<S> {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.position(of).await
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            if let Err(why) = self.check() {
                return Delivery::stopped(0, why);
            }
            let delivery = self.inner.deliver(batch).await;
            self.stored += delivery.stored as u64;
            delivery
        })
    }

    fn renew<'a>(
        &'a mut self,
        of: &'a PublisherId,
        signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        self.inner.renew(of, signer)
    }
}
