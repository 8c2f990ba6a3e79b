//! A few entries gather in the ring.

use super::*;

const GATHER: Duration = Duration::from_millis(1);

fn gathering(change: impl FnOnce(&mut Facts)) -> Step {
    step(|f| {
        f.ring = RingFacts::Gathering(f.now + GATHER);
        f.waiting_since = Some(f.now);
        change(f);
    })
}

#[test]
fn what_gathers_stays_in_the_ring_and_holds_up_nothing() {
    assert_eq!(gathering(|_| {}), Step::Wait(GATHER));
    assert_eq!(gathering(|f| f.staged = Staged::Some), Step::Deliver);
    assert_eq!(gathering(|f| f.unread = Unread::Rows), disk(DiskStep::Read));
    assert_eq!(gathering(|f| f.question = Due::Now), Step::Ask);
}

#[test]
fn what_gathers_is_not_waited_for_longer_than_anything_else() {
    let sooner = GATHER / 2;
    let resting = gathering(|f| f.sink = Availability::RestsUntil(f.now + sooner));
    assert_eq!(resting, Step::Wait(sooner));
    // The ring's own turn is not brought forward.
    assert_eq!(gathering(|f| f.poll = sooner), Step::Wait(GATHER));
}

/// An entry that a stopped publisher has not finished pushing is no reason to end, nor to spin.
#[test]
fn an_end_waits_for_an_entry_that_is_being_pushed() {
    let stopping = gathering(|f| {
        f.stopping = Some(Stopping {
            deadline: f.now,
            progress_at: f.now,
        });
    });
    assert_eq!(stopping, Step::Wait(GATHER));
}
