//! A publisher for unit tests: it starts at once, touches no file, and makes its entries available.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::Config;
use crate::error::SinkError;
use crate::event::{Batch, Event, Position, PublisherId};
use crate::sink::{BoxFuture, Delivery, Sink};
use crate::start::{Drainer, start_in_memory};

/// Starts a publisher whose entries go to the [`MemorySink`].
///
/// It has no spill: while the sink is [away](MemorySink::set_away), entries wait in memory, and once the ring is full,
/// `publish` drops.
///
/// # Panics
///
/// If the system fails to start a thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use spillring::{Publisher, RawEntry, testing};
///
/// fn agent(audit: &Publisher<RawEntry>) {
///     audit.publish(RawEntry::new("acme.agent-7", *b"bash"));
/// }
///
/// let (drainer, sink) = testing::start();
/// let publisher = drainer.publisher();
/// agent(&publisher);
///
/// publisher.delivered().wait(Duration::from_secs(10))?;
/// let entries = sink.entries();
/// assert_eq!(entries[0].subject, "acme.agent-7");
/// assert_eq!(entries[0].bytes, "bash");
/// # drainer.shutdown(Duration::ZERO).wait(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start<E: Event>() -> (Drainer<E>, MemorySink) {
    let sink = MemorySink::default();
    let config = Config::new("/nowhere");
    match start_in_memory(config, sink.clone()) {
        Ok(drainer) => (drainer, sink),
        Err(error) => panic!("the publisher for the test does not start: {error}"),
    }
}

/// A sink that keeps what it gets. Clones share it, so a test can hold one and hand the other to
/// [`start`](crate::start).
///
/// See the examples of [`start`], and of [`Ticket`](crate::Ticket) for an outage.
#[derive(Debug, Clone, Default)]
pub struct MemorySink(Arc<Mutex<Received>>);

#[derive(Debug, Default)]
struct Received {
    entries: Vec<Entry>,
    cursors: HashMap<PublisherId, Position>,
    away: bool,
}

/// An entry that a [`MemorySink`] received.
///
/// See the example of [`start`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its run, and its number there.
    pub id: Position,
    /// How many entries are missing before it.
    pub lost_before: u64,
    /// Its subject, without the prefix that other sinks add.
    pub subject: String,
    /// Its bytes, as a subscriber gets them.
    pub bytes: Bytes,
}

impl MemorySink {
    /// Everything received, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().entries.clone()
    }

    /// Makes the sink unreachable, or reachable again.
    pub fn set_away(&self, away: bool) {
        self.0.lock().away = away;
    }
}

impl Received {
    fn reached(&mut self) -> Result<&mut Self, SinkError> {
        if self.away {
            return Err(SinkError::Disconnected("on purpose".to_owned()));
        }
        Ok(self)
    }

    fn store(&mut self, batch: &Batch) {
        let entries = batch.records().iter().map(|record| Entry {
            id: record.id(),
            lost_before: record.lost_before(),
            subject: record.subject().to_owned(),
            bytes: record.bytes().clone(),
        });
        self.entries.extend(entries);
        self.cursors.insert(batch.publisher(), batch.through());
    }
}

impl Sink for MemorySink {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move { Ok(self.0.lock().reached()?.cursors.get(of).copied()) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            match self.0.lock().reached() {
                Ok(memory) => {
                    memory.store(batch);
                    Delivery::all(batch)
                }
                Err(away) => Delivery::stopped(0, away),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::error::TicketError;
    use crate::raw_entry::RawEntry;
    use crate::sink::conformance::{self, Harness, Stored};

    const LIMIT: Duration = Duration::from_secs(20);

    impl Harness for MemorySink {
        type Sink = Self;

        fn reopen(&mut self) -> Self {
            self.clone()
        }

        fn stored(&mut self) -> Vec<Stored> {
            let stored = |entry: Entry| Stored {
                id: Some(entry.id.to_string()),
                bytes: entry.bytes.to_vec(),
            };
            self.entries().into_iter().map(stored).collect()
        }
    }

    #[test]
    fn the_sink_in_memory_conforms() {
        conformance::run(&mut MemorySink::default()).unwrap();
    }

    #[test]
    fn an_outage_can_be_played_and_no_file_is_made() {
        let (drainer, sink) = start();
        let publisher = drainer.publisher();
        sink.set_away(true);
        for n in 0..1_000_u32 {
            publisher.publish(RawEntry::new("acme.agent", n.to_be_bytes()));
        }
        let delivered = publisher.delivered();
        assert_eq!(delivered.wait(Duration::ZERO), Err(TicketError::Elapsed));
        assert_eq!(sink.entries(), []);
        sink.set_away(false);
        delivered.wait(LIMIT).unwrap();
        let expected = (0..1_000_u32).map(u32::to_be_bytes);
        let entries = sink.entries();
        assert!(entries.iter().map(|entry| &entry.bytes[..]).eq(expected));
        let stats = drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
        assert_eq!((stats.delivered, stats.appended), (1_000, 0));
        assert!(!Path::new("/nowhere").exists());
    }
}
