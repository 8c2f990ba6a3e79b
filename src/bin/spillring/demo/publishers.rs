//! The publishing threads. Each call is timed.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spillring::error::TryPublishError;
use spillring::{AuditEntry, Drainer, Publisher};

use super::entries::{Author, DemoPlan};
use crate::console::Problem;
use crate::latency::Stopwatch;

/// Entries per second, of all threads: realistic, and slow enough to watch.
const RATE: f64 = 125_000.0;

/// Entries that a thread publishes between two readings of the clock.
const BURST: u64 = 64;

/// The wait before the next try, after an entry was handed back.
const ROOM_POLL: Duration = Duration::from_millis(1);

/// The running threads.
#[derive(Debug)]
pub(super) struct Publishing {
    threads: Vec<JoinHandle<Published>>,
    planned: u64,
}

/// The results of the threads.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) times: Stopwatch,
    /// Attempts that handed the entry back.
    pub(super) full: u64,
}

#[derive(Debug)]
struct PublisherThread {
    author: Author,
    entries: u64,
    /// Entries per second.
    rate: f64,
    publisher: Publisher<AuditEntry>,
    done: Published,
}

impl Publishing {
    pub(super) fn start(plan: &DemoPlan, drainer: &Drainer<AuditEntry>) -> Result<Self, Problem> {
        let mut threads = Vec::new();
        for (thread, &entries) in plan.of_threads().iter().enumerate() {
            let worker = PublisherThread {
                author: Author::new(thread),
                entries,
                rate: RATE / as_f64(plan.of_threads().len() as u64),
                publisher: drainer.publisher(),
                done: Published {
                    times: Stopwatch::new()?,
                    full: 0,
                },
            };
            let handle = thread::Builder::new()
                .name(format!("demo-{thread}"))
                .spawn(move || worker.work())
                .map_err(|error| Problem::new(format_args!("a thread does not start: {error}")))?;
            threads.push(handle);
        }
        Ok(Self {
            threads,
            planned: plan.entries(),
        })
    }

    pub(super) fn planned(&self) -> u64 {
        self.planned
    }

    pub(super) fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    pub(super) fn join(self) -> Result<Published, Problem> {
        let mut all = Published {
            times: Stopwatch::new()?,
            full: 0,
        };
        for thread in self.threads {
            let done = thread
                .join()
                .map_err(|_| Problem::new("a publishing thread has panicked"))?;
            all.times.join(&done.times)?;
            all.full += done.full;
        }
        Ok(all)
    }
}

impl Published {
    /// All calls, successful or not.
    pub(super) fn attempts(&self) -> u64 {
        self.times.count()
    }
}

impl PublisherThread {
    fn work(mut self) -> Published {
        let start = Instant::now();
        for n in 0..self.entries {
            if n % BURST == 0 {
                let due = Duration::from_secs_f64(as_f64(n) / self.rate);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            let entry = self.author.next();
            if !self.publish(entry) {
                break;
            }
        }
        self.done
    }

    /// Publishes an entry. Returns false once the publisher is closed.
    #[expect(clippy::result_large_err, reason = "it is the entry, handed back")]
    fn publish(&mut self, mut entry: AuditEntry) -> bool {
        loop {
            let publisher = &self.publisher;
            entry = match self.done.times.time(|| publisher.try_publish(entry)) {
                Ok(()) => return true,
                Err(TryPublishError::Closed(_)) => return false,
                Err(TryPublishError::Full(entry)) => entry,
            };
            self.done.full += 1;
            thread::sleep(ROOM_POLL);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pace needs no 53 bits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
