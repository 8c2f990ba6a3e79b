//! A running publisher whose drainer can be held up.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use spillring::durable::{Pack, Packer, Unpacker};
use spillring::error::{SinkError, TryPublishError};
use spillring::event::EncodeError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{Config, Drainer, Durable, Event, Publisher, Sink};
use tempfile::TempDir;

/// Long enough for any machine; passing it fails a test, it never decides one.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const RING_CAPACITY: usize = 64;

/// What is published: a text, and sometimes a bolt for the drainer that encodes it.
pub(crate) struct Parcel {
    text: String,
    bolt: Option<Arc<Bolt>>,
}

/// Holds up the drainer until it is drawn.
#[derive(Default)]
pub(crate) struct Bolt {
    drawn: Mutex<bool>,
    changed: Condvar,
}

impl Parcel {
    /// Owns memory, which is freed when it is dropped.
    pub(crate) fn boxed() -> Self {
        Self {
            text: "a text of some length".to_owned(),
            bolt: None,
        }
    }

    /// Owns nothing: dropping it does not reach the allocator.
    pub(crate) fn plain() -> Self {
        Self {
            text: String::new(),
            bolt: None,
        }
    }
}

impl Event for Parcel {
    fn subject(&self) -> String {
        "tests.hot_path".to_owned()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(bolt) = &self.bolt {
            bolt.wait();
        }
        out.extend_from_slice(self.text.as_bytes());
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

impl Pack for Parcel {
    fn packed_words(&self) -> usize {
        Packer::words_of(self.text.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        out.put_bytes(self.text.as_bytes());
    }
}

impl Durable for Parcel {
    const FORMAT: u32 = 1;

    fn unpack(_: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        let text = from.str()?.to_owned();
        Some(Self { text, bolt: None })
    }
}

impl Bolt {
    fn wait(&self) {
        let drawn = self.drawn.lock().expect("nobody panics with it");
        let waited = self
            .changed
            .wait_timeout_while(drawn, LIMIT, |drawn| !*drawn);
        drop(waited.expect("nobody panics with it"));
    }

    pub(crate) fn draw(&self) {
        *self.drawn.lock().expect("nobody panics with it") = true;
        self.changed.notify_all();
    }
}

/// Takes everything, keeps nothing.
struct Sieve;

impl Sink for Sieve {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async { Delivery::all(batch) })
    }
}

/// A small ring with its drainer at work, in a directory that must outlive it.
pub(crate) fn start<E: Event>() -> (TempDir, Drainer<E>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::new(dir.path().join("spill"));
    config.ring_capacity = RING_CAPACITY;
    let drainer = spillring::start(config, Sieve).expect("it starts");
    (dir, drainer)
}

/// The same with the ring in a file.
pub(crate) fn start_in_file<E: Durable>() -> (TempDir, Drainer<E>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::new(dir.path().join("spill"));
    config.ring_capacity = RING_CAPACITY;
    config.ring_dir = Some(dir.path().join("ring"));
    config.ring_bytes_max = 64 << 10;
    let drainer = spillring::start_durable(config, Sieve).expect("it starts");
    (dir, drainer)
}

/// Fills the ring behind an entry at which the drainer stops: nothing leaves it until the bolt is drawn.
pub(crate) fn fill(publisher: &Publisher<Parcel>) -> Arc<Bolt> {
    let bolt = Arc::new(Bolt::default());
    let mut parcel = Parcel::plain();
    parcel.bolt = Some(Arc::clone(&bolt));
    let accepted = publisher.try_publish(parcel).is_ok();
    assert!(accepted, "an empty ring has room");
    for _ in 1..RING_CAPACITY {
        let accepted = publisher.try_publish(Parcel::plain()).is_ok();
        assert!(accepted, "nothing has filled the ring but this");
    }
    let refused = publisher.try_publish(Parcel::plain());
    assert!(matches!(refused, Err(TryPublishError::Full(_))));
    bolt
}

/// Shuts the publisher down, and waits until it is.
pub(crate) fn close<E: Event>(drainer: Drainer<E>) {
    let ended = drainer.shutdown(LIMIT).wait(LIMIT);
    ended.expect("the drainer ends");
}
