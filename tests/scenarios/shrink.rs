//! What a backlog took on disk is given back while it goes out, segment by segment; and the logs stay small through all
//! of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spillring::Sink;
use spillring::config::SpillDurability;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};

use test_support::bench::{Bench, LIMIT, Note, end, eventually, until_delivered, until_spilled};
use test_support::sinks::Mode;

const ENTRIES: u64 = 200_000;
/// What the directory may hold when all is delivered: the segment that is written to, with its log, and the index.
const LEFT_MAX: u64 = 80 << 20;
/// And once the publisher has ended: the index.
const END_MAX: u64 = 4 << 20;
/// What is carried over at once, twice, and a transaction.
const LOG_MAX: u64 = (16 << 20) * 2 + (8 << 20);

/// Counts what it takes, while it takes anything: so many entries are not to be kept.
#[derive(Debug, Clone, Default)]
struct Counter {
    open: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
}

impl Sink for Counter {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async {
            if !self.open.load(Ordering::Relaxed) {
                let closed = SinkError::Unavailable("as the test wants it".to_owned());
                return Delivery::stopped(0, closed);
            }
            let records = batch.records().len() as u64;
            self.taken.fetch_add(records, Ordering::Relaxed);
            Delivery::all(batch)
        })
    }
}

#[test]
fn a_drained_spill_is_small_again() {
    let mut bench = Bench::new();
    bench.config.spill_durability = SpillDurability::ProcessCrash;
    bench.config.batch_max = 1_000;
    let sink = Counter::default();
    let drainer = spillring::start(bench.config.clone(), sink.clone()).unwrap();
    let publisher = drainer.publisher();
    let text = "x".repeat(1_500);
    let mut log_max = 0;
    for number in 0..ENTRIES {
        publisher
            .publish_timeout(Note::new(text.clone()), LIMIT)
            .unwrap();
        if number % 10_000 == 0 {
            log_max = log_max.max(log(&bench.spill()));
        }
    }
    until_spilled(&drainer);
    let full = bytes(&bench.spill());
    assert!(full > 300 << 20, "{full}");
    sink.open.store(true, Ordering::Relaxed);
    eventually("all is delivered", || {
        log_max = log_max.max(log(&bench.spill()));
        drainer.stats().spilled == 0
    });
    assert!(log_max < LOG_MAX, "the log grew to {log_max}");
    let mut more = 0;
    eventually("the directory is small", || {
        publisher.publish(Note::new("meanwhile"));
        more += 1;
        publisher.flush().wait(LIMIT).unwrap();
        bytes(&bench.spill()) < LEFT_MAX
    });
    until_delivered(&drainer);
    end(drainer, ENTRIES + more);
    assert_eq!(sink.taken.load(Ordering::Relaxed), ENTRIES + more);
    let left = bytes(&bench.spill());
    assert!(left < END_MAX, "{left}");
}

/// What is delivered goes while the rest is still there, and the rest comes out whole.
#[test]
fn segments_that_are_passed_go_before_the_backlog_has_gone() {
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 64 << 20;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    for number in 0..20_000 {
        let text = format!("{number} {}", "x".repeat(1_000));
        publisher.publish_timeout(Note::new(text), LIMIT).unwrap();
    }
    until_spilled(&drainer);
    let before = bytes(&bench.spill());
    bench.remote.set(Mode::Slow(Duration::from_millis(1)));
    eventually("much is delivered", || drainer.stats().delivered > 12_000);
    bench.remote.set(Mode::Down);
    let left = drainer.stats().spilled;
    assert!(left > 0, "there is nothing left");
    // Two segments of four mebibytes at the least.
    eventually("room comes back", || {
        bytes(&bench.spill()) + (8 << 20) < before
    });
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 20_000);
    let texts = bench.remote.texts();
    let numbers = texts
        .iter()
        .map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap());
    assert!(numbers.eq(0..20_000));
}

/// The largest log of a segment.
fn log(dir: &Path) -> u64 {
    let Ok(segments) = fs::read_dir(dir.join("segments")) else {
        return 0;
    };
    let logs = segments.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_log = path.extension().is_some_and(|end| end == "sqlite3-wal");
        is_log.then(|| fs::metadata(path).map_or(0, |file| file.len()))
    });
    logs.max().unwrap_or_default()
}

fn bytes(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            match fs::metadata(&path) {
                Ok(file) if file.is_dir() => bytes(&path),
                Ok(file) => file.len(),
                Err(_) => 0,
            }
        })
        .sum()
}
