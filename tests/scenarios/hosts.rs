//! The host has a runtime of many threads, of one thread, or none, and may even call from within the sink: nothing
//! hangs, and a wait that could never end says so.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spillring::error::{PublishTimeoutError, SinkError, TicketError};
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{Publisher, Sink};

use test_support::bench::{
    Bench, LIMIT, Note, end, eventually, name, names, publish, quick, until_delivered,
};
use test_support::law::assert_law;
use test_support::sinks::Mode;

async fn publish_and_end(bench: &Bench) {
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    publish(&publisher, [number]);
                    tokio::task::yield_now().await;
                }
                publisher.flush().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
    }
    let ended = tokio::time::timeout(LIMIT, drainer.shutdown(LIMIT));
    let stats = ended.await.unwrap().unwrap();
    assert_law(&stats, 200);
    assert_eq!(bench.remote.texts().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_many_threads() {
    publish_and_end(&Bench::new()).await;
}

/// The one thread that the host has goes on running other tasks while a ticket is awaited.
#[tokio::test(flavor = "current_thread")]
async fn a_host_with_one_thread() {
    publish_and_end(&Bench::new()).await;
    let bench = Bench::new();
    bench.remote.set(Mode::Stalled);
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..5);
    let release = async {
        tokio::task::yield_now().await;
        bench.remote.set(Mode::Up);
    };
    let (ended, ()) = tokio::join!(drainer.shutdown(LIMIT), release);
    assert_law(&ended.unwrap(), 5);
    assert_eq!(bench.remote.texts(), names(0..5));
}

#[test]
fn a_host_without_a_runtime_waits_in_turns() {
    let bench = Bench::new();
    bench.remote.set(Mode::Stalled);
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..5);
    let ticket = drainer.shutdown(LIMIT);
    assert_eq!(
        ticket.wait(Duration::from_millis(1)),
        Err(TicketError::Elapsed)
    );
    bench.remote.set(Mode::Up);
    assert_law(&ticket.wait(LIMIT).unwrap(), 5);
}

/// A sink that publishes, flushes and waits on its own thread.
struct Meddler {
    publisher: Arc<Mutex<Option<Publisher<Note>>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Sink for Meddler {
    fn position<'a>(
        &'a mut self,
        _: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let publisher = self.publisher.lock().clone().expect("a publisher");
            let waited = publisher.flush().wait(LIMIT);
            let awaited = publisher.flush().await;
            let mut full = Ok(());
            while full.is_ok() {
                full = publisher.publish_timeout(Note::new(name(0)), LIMIT);
            }
            let refused = matches!(full, Err(PublishTimeoutError::WouldDeadlock(_)));
            let said = format!("{waited:?} {awaited:?} {refused}");
            self.seen.lock().push(said);
            Delivery::all(batch)
        })
    }
}

#[test]
fn waiting_on_our_own_threads_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = quick(dir.path());
    config.ring_capacity = 4;
    config.pending_max = Duration::from_secs(10 * 60);
    config.ring_high_water = 1.0;
    let (publisher, seen) = (Arc::default(), Arc::default());
    let sink = Meddler {
        publisher: Arc::clone(&publisher),
        seen: Arc::clone(&seen),
    };
    let drainer = spillring::start(config, sink).unwrap();
    *publisher.lock() = Some(drainer.publisher());
    publish(&drainer.publisher(), 0..1);
    eventually("a delivery", || !seen.lock().is_empty());
    let said = seen.lock().first().cloned();
    assert_eq!(
        said.as_deref(),
        Some("Err(WouldDeadlock) Err(WouldDeadlock) true")
    );
    drop(drainer.shutdown(Duration::ZERO));
}

/// Waiting for room ends when there is room, when time is up, or when it can never come.
#[test]
fn publish_timeout_waits_for_room_and_no_longer() {
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 1 << 20;
    bench.config.ring_capacity = 64;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let big = |number: u64| Note::new(format!("{number} {}", "x".repeat(5_000)));
    let mut accepted = 0;
    let refused = loop {
        match publisher.publish_timeout(big(accepted), Duration::from_millis(300)) {
            Ok(()) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, PublishTimeoutError::Full(note) if note.text == big(accepted).text));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| publisher.publish_timeout(big(accepted), LIMIT));
        bench.remote.set(Mode::Up);
        waiting.join().unwrap().unwrap();
    });
    until_delivered(&drainer);
    end(drainer, accepted + 2);
    let closed = publisher.publish_timeout(big(0), LIMIT);
    assert!(matches!(closed, Err(PublishTimeoutError::Closed(_))));
}
