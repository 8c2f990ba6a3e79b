//! A sink that costs nothing, takes as many entries as it is allowed to, and knows how fast they came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use spillring::Sink;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};

use crate::measure::eventually;

/// Shut at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Passage>>);

#[derive(Debug, Default)]
struct Passage {
    /// How many may still pass.
    allowed: u64,
    /// How many have passed since the door was opened, and how many of them in the first batch.
    passed: u64,
    first_batch: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// The longest time between two batches.
    silence: Duration,
}

impl Door {
    /// Lets so many entries pass.
    pub(crate) fn open_for(&self, entries: u64) {
        *self.0.lock() = Passage {
            allowed: entries,
            ..Passage::default()
        };
    }

    /// One that is open for good.
    pub(crate) fn open() -> Self {
        let door = Self::default();
        door.open_for(u64::MAX);
        door
    }

    /// Waits until all that may pass have, and answers their rate, from the first batch to the last.
    pub(crate) fn rate(&self) -> f64 {
        eventually("all pass the door", || self.0.lock().allowed == 0);
        let passage = self.0.lock();
        let took = passage.last.zip(passage.first);
        let took = took.map_or(Duration::ZERO, |(last, first)| last - first);
        (passage.passed - passage.first_batch) as f64 / took.as_secs_f64()
    }

    /// How many have passed since the door was opened, and the longest time without any, until now.
    pub(crate) fn seen(&self) -> (u64, Duration) {
        let passage = self.0.lock();
        let since = passage.last.map_or(Duration::ZERO, |last| last.elapsed());
        (passage.passed, passage.silence.max(since))
    }
}

impl Passage {
    /// Lets so many pass now.
    fn take(&mut self, entries: u64) {
        let now = Instant::now();
        if let Some(last) = self.last {
            self.silence = self.silence.max(now - last);
        } else {
            self.first_batch = entries;
        }
        self.allowed -= entries;
        self.passed += entries;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

impl Sink for Door {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async {
            if self.0.lock().allowed == 0 {
                return Err(shut());
            }
            Ok(None)
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async {
            let mut passage = self.0.lock();
            let records = batch.records().len() as u64;
            let taken = records.min(passage.allowed);
            if taken > 0 {
                passage.take(taken);
            }
            if taken == records {
                Delivery::all(batch)
            } else {
                Delivery::stopped(usize::try_from(taken).expect("part of a batch"), shut())
            }
        })
    }
}

fn shut() -> SinkError {
    SinkError::Unavailable("shut".to_owned())
}
