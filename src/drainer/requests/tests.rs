use super::*;
use crate::ticket::{Ticket, promise};

const LIMIT: Duration = Duration::from_millis(500);

fn key(n: u64) -> Key {
    Key::new(1, n)
}

fn flush(requests: &mut Requests, pops: u64, orders: u64) -> Ticket<()> {
    let (promise, ticket) = promise();
    let request = Request::Flush(Until::Safe, promise);
    requests.add(request, pops, orders, Instant::now());
    ticket
}

fn shutdown(requests: &mut Requests, now: Instant) {
    let (promise, _ticket) = promise();
    requests.add(Request::Shutdown(LIMIT, promise), 0, 0, now);
}

/// Everything is popped and nothing is in memory only.
fn all_spilled() -> FlushProgress {
    FlushProgress {
        popped: 10,
        last: key(10),
        unspilled_from: None,
        undelivered_from: Some(key(1)),
        confirmed: 0,
    }
}

/// The process was suspended from before the deadline until long after it.
#[test]
fn the_grace_of_an_end_counts_from_the_first_turn_after_its_deadline() {
    let start = Instant::now();
    let mut requests = Requests::default();
    shutdown(&mut requests, start);
    let progress_at =
        |requests: &mut Requests, now| requests.stopping(now).map(|stopping| stopping.progress_at);
    assert_eq!(progress_at(&mut requests, start), Some(start));
    let thawed = start + Duration::from_secs(10 * 60);
    assert_eq!(progress_at(&mut requests, thawed), Some(thawed));
    let later = thawed + Duration::from_secs(1);
    assert_eq!(progress_at(&mut requests, later), Some(thawed));
}

/// A slow step is progress when it is done, not when it was begun.
#[test]
fn progress_counts_from_the_turn_after_it() {
    let start = Instant::now();
    let mut requests = Requests::default();
    shutdown(&mut requests, start);
    requests.progress();
    let later = start + Duration::from_millis(400);
    let stopping = requests.stopping(later).unwrap();
    assert_eq!(stopping.progress_at, later);
}

#[test]
fn an_end_that_has_finished_has_a_grace_of_its_own() {
    let start = Instant::now();
    let mut requests = Requests::default();
    shutdown(&mut requests, start);
    for (at, progress_at) in [(100, 100), (200, 100)] {
        let now = start + Duration::from_millis(at);
        let stopping = requests.finished(now).unwrap();
        assert_eq!(
            stopping.progress_at,
            start + Duration::from_millis(progress_at)
        );
    }
}

#[test]
fn a_flush_waits_for_what_was_in_the_ring() {
    let mut requests = Requests::default();
    let _ticket = flush(&mut requests, 10, 0);
    let mut progress = all_spilled();
    (progress.popped, progress.undelivered_from) = (9, None);
    assert_eq!(requests.take_flushed(&progress).len(), 0);
    assert_eq!(requests.flush(&progress), Flush::Wanted);
    progress.popped = 10;
    assert_eq!(requests.take_flushed(&progress).len(), 1);
    assert_eq!(requests.flush(&progress), Flush::None);
}

/// Entries on disk count once an order that was sent after the flush has found the files in place.
#[test]
fn a_flush_of_what_is_on_disk_waits_for_a_check_of_the_files() {
    let mut requests = Requests::default();
    let _ticket = flush(&mut requests, 10, 3);
    let mut progress = all_spilled();
    progress.confirmed = 3;
    assert_eq!(requests.take_flushed(&progress).len(), 0);
    assert_eq!(requests.flush(&progress), Flush::Check);
    progress.confirmed = 4;
    assert_eq!(requests.take_flushed(&progress).len(), 1);
}

#[test]
fn a_flush_waits_for_what_is_in_memory_only_and_not_for_what_came_later() {
    let mut requests = Requests::default();
    let _ticket = flush(&mut requests, 10, 0);
    let mut progress = all_spilled();
    progress.confirmed = 1;
    progress.unspilled_from = Some(key(10));
    assert_eq!(requests.take_flushed(&progress).len(), 0);
    assert_eq!(requests.flush(&progress), Flush::Wanted);
    // Ten more were popped.
    (progress.popped, progress.last) = (20, key(20));
    progress.unspilled_from = Some(key(11));
    assert_eq!(requests.take_flushed(&progress).len(), 1);
}

#[test]
fn delivery_is_waited_for_where_all_is_on_disk_and_wants_nothing_of_it() {
    let mut requests = Requests::default();
    let (promise, _ticket) = promise();
    let request = Request::Flush(Until::Delivered, promise);
    requests.add(request, 10, 0, Instant::now());
    let mut progress = all_spilled();
    progress.confirmed = 1;
    for (undelivered_from, done) in [(Some(key(10)), 0), (Some(key(11)), 1)] {
        progress.undelivered_from = undelivered_from;
        assert_eq!(requests.flush(&progress), Flush::None);
        assert_eq!(requests.take_flushed(&progress).len(), done);
    }
}

#[test]
fn flushes_that_nobody_waits_for_do_not_pile_up() {
    let mut requests = Requests::default();
    let wanted = flush(&mut requests, 1, 0);
    for _ in 0..10 * PURGE_EVERY {
        drop(flush(&mut requests, 1, 0));
    }
    assert!(requests.flushes.len() <= PURGE_EVERY + 1);
    assert!(requests.flushes[0].promise.is_wanted());
    drop(wanted);
}
