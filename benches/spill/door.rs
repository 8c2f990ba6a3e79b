//! A sink that costs nothing, takes as many entries as it is told to, and knows how fast they came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use spillring::{Batch, BoxFuture, Delivery, Position, PublisherId, Sink, SinkError};

use crate::measure::LIMIT;

/// Shut at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Passage>>);

#[derive(Debug, Default)]
struct Passage {
    /// How many may still pass.
    allowed: u64,
    /// How many have passed behind the first batch, since the door was opened.
    passed: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Door {
    /// Lets so many entries pass.
    pub(crate) fn open_for(&self, entries: u64) {
        *self.0.lock() = Passage {
            allowed: entries,
            ..Passage::default()
        };
    }

    /// Waits until they have, and answers their rate, from the first batch to the last.
    pub(crate) fn rate(&self) -> f64 {
        let begin = Instant::now();
        loop {
            let passage = self.0.lock();
            if passage.allowed == 0 {
                let took = passage
                    .last
                    .zip(passage.first)
                    .map(|(last, first)| last - first);
                return passage.passed as f64 / took.unwrap_or_default().as_secs_f64();
            }
            drop(passage);
            assert!(begin.elapsed() < LIMIT, "nothing passes the door");
            std::thread::sleep(Duration::from_micros(200));
        }
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
            passage.allowed -= taken;
            if taken > 0 {
                let now = Instant::now();
                if passage.first.is_some() {
                    passage.passed += taken;
                }
                passage.first.get_or_insert(now);
                passage.last = Some(now);
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
