//! When the oldest are given up for the newest: not before that is the only way.

use super::*;

#[test]
fn at_its_cap_the_spill_evicts_only_what_entries_would_else_be_refused_for() {
    let full = |change: fn(&mut Facts)| {
        step(move |f| {
            f.disk = Hand::Full;
            f.sink = Hand::Busy;
            f.staged = Staged::Full;
            f.unread = Unread::Rows;
            f.ring = RingFacts::Chunk;
            f.memory_since = Some(f.now);
            change(f);
        })
    };
    assert_eq!(full(|_| {}), Step::Wait(POLL), "the sink may make room");
    assert_eq!(full(|f| f.flush = Flush::Wanted), Step::Wait(POLL));
    assert_eq!(full(|f| f.ring = RingFacts::High), Step::Evict);
    let old = |f: &mut Facts| f.memory_since = f.now.checked_sub(PENDING);
    assert_eq!(full(old), Step::Evict);
    assert_eq!(
        full(|f| f.memory_since = None),
        Step::Wait(POLL),
        "for nothing that is to come"
    );
    let turn = |f: &mut Facts| {
        f.ring = RingFacts::High;
        f.staged = Staged::Nothing;
        f.reliefs = RELIEFS_MAX;
    };
    assert_eq!(full(turn), Step::StageSpill);
    let overdue = |f: &mut Facts| {
        f.stopping = Some(Stopping {
            deadline: f.now,
            progress_at: f.now,
        });
    };
    assert_eq!(full(overdue), Step::Relieve, "at the end all is kept");
}
