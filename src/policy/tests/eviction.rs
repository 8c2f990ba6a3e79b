//! When the oldest entries are evicted for the newest: only as the last resort.

use super::*;

fn full(change: impl FnOnce(&mut Facts)) -> Step {
    step(|f| {
        fill(f, RingFacts::Chunk);
        f.disk.cap = Cap::Evictable;
        f.sink = Availability::Busy;
        f.staged = Staged::Full;
        f.unread = Unread::Rows;
        change(f);
    })
}

#[test]
fn at_its_cap_the_spill_evicts_only_to_avoid_refusing_entries() {
    assert_eq!(full(|_| {}), Step::Wait(POLL), "the sink may make room");
    assert_eq!(full(|f| f.flush = Flush::Wanted), Step::Wait(POLL));
    assert_eq!(full(|f| f.ring = RingFacts::High), disk(DiskStep::Evict));
    let old = |f: &mut Facts| f.waiting_since = f.now.checked_sub(PENDING);
    assert_eq!(full(old), disk(DiskStep::Evict));
    assert_eq!(
        full(|f| f.waiting_since = None),
        Step::Wait(POLL),
        "for nothing that is to come"
    );
}

#[test]
fn what_the_sink_has_goes_before_anything_is_evicted() {
    let settling = full(|f| {
        f.ring = RingFacts::High;
        f.disk.settle_since = Some(f.now);
    });
    assert_eq!(settling, disk(DiskStep::Settle));
}

#[test]
fn evicting_and_reading_take_turns() {
    let turn = full(|f| {
        f.ring = RingFacts::High;
        f.staged = Staged::Nothing;
        f.appends_in_a_row = APPENDS_IN_A_ROW_MAX;
    });
    assert_eq!(turn, disk(DiskStep::Read));
}

#[test]
fn at_an_overdue_end_all_is_kept() {
    let overdue = full(|f| {
        f.stopping = Some(Stopping {
            deadline: f.now,
            progress_at: f.now,
        });
    });
    assert_eq!(overdue, Step::Draw);
}
