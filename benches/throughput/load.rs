//! Publishers at a steady rate all together, none of which spins: each sleeps a millisecond, then publishes what is
//! due.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{AuditEntry, Publisher};

use crate::support::usage::own_runtime;

const PAUSE: Duration = Duration::from_millis(1);

/// What the publishers have done.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) entries: u64,
    /// Their time on a core, making the entries included.
    pub(crate) runtime: Duration,
}

/// Publishes for so long, calling `look` every now and then.
pub(crate) fn offer(
    publisher: &Publisher<AuditEntry>,
    entries: &Arc<Vec<AuditEntry>>,
    publishers: usize,
    rate: f64,
    span: Duration,
    mut look: impl FnMut(),
) -> Offered {
    let begin = Instant::now();
    let threads: Vec<_> = (0..publishers)
        .map(|_| {
            let (publisher, entries) = (publisher.clone(), Arc::clone(entries));
            thread::spawn(move || one(&publisher, &entries, rate / publishers as f64, begin, span))
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        look();
        thread::sleep(10 * PAUSE);
    }
    let mut offered = Offered {
        begin,
        end: begin,
        entries: 0,
        runtime: Duration::ZERO,
    };
    for thread in threads {
        let (entries, end, runtime) = thread.join().expect("a publisher");
        offered.entries += entries;
        offered.end = offered.end.max(end);
        offered.runtime += runtime;
    }
    offered
}

fn one(
    publisher: &Publisher<AuditEntry>,
    entries: &[AuditEntry],
    rate: f64,
    begin: Instant,
    span: Duration,
) -> (u64, Instant, Duration) {
    let mut entries = entries.iter().cycle();
    let mut done = 0;
    loop {
        let elapsed = begin.elapsed().min(span);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of entries"
        )]
        let due = (rate * elapsed.as_secs_f64()) as u64;
        while done < due {
            let entry = entries.next().expect("a cycle has no end");
            publisher.publish(entry.clone());
            done += 1;
        }
        if elapsed == span {
            return (done, Instant::now(), own_runtime());
        }
        thread::sleep(PAUSE);
    }
}
