//! The end: it delivers until its deadline, then spills, then closes the books, and never hangs.

use super::*;

fn ending(left: Duration, change: impl FnOnce(&mut Facts)) -> Step {
    step(|f| {
        f.stopping = Some(Stopping {
            deadline: f.now + left,
            progress_at: f.now,
        });
        change(f);
    })
}

#[test]
fn an_end_delivers_until_its_deadline() {
    assert_eq!(ending(PENDING, |f| stage(f, Staged::Some)), Step::Deliver);
    assert_eq!(
        ending(PENDING, |f| f.sink = Availability::Busy),
        Step::Wait(POLL),
        "what is in flight is waited for"
    );
}

/// Keeping accepted entries comes before caps.
#[test]
fn an_overdue_end_draws_and_appends_everything() {
    for cap in [Cap::Room, Cap::Evictable, Cap::Full] {
        let overdue = |change: fn(&mut Facts)| {
            ending(Duration::ZERO, |f| {
                f.disk.cap = cap;
                stage(f, Staged::Full);
                change(f);
            })
        };
        assert_eq!(overdue(|f| f.ring = RingFacts::Some), Step::Draw);
        assert_eq!(overdue(|f| f.drawn = Drawn::Chunk), disk(DiskStep::Append));
        assert_eq!(overdue(|_| {}), disk(DiskStep::Append));
        assert!(matches!(
            overdue(|f| f.disk.order_since = Some(f.now)),
            Step::Wait(_)
        ));
    }
}

/// Before the run is recorded as ended, the spill knows what is delivered.
#[test]
fn the_books_are_closed_in_order() {
    let closing = |change: fn(&mut Facts)| ending(PENDING, change);
    let settle = |f: &mut Facts| {
        f.disk.settle_since = Some(f.now);
        f.disk.renumber = Due::Now;
    };
    assert_eq!(closing(settle), disk(DiskStep::Settle));
    assert_eq!(
        closing(|f| f.disk.renumber = Due::Now),
        disk(DiskStep::Renumber)
    );
    assert_eq!(
        closing(|f| f.runs = RunsOpen::SentAnyway),
        disk(DiskStep::OpenRuns)
    );
    assert_eq!(closing(|_| {}), disk(DiskStep::End));
    assert_eq!(closing(|f| f.disk.end = End::Noted), disk(DiskStep::Tick));
    assert_eq!(closing(|f| f.disk.end = End::Done), Step::Stop);
    assert_eq!(
        closing(|f| f.disk.order_since = Some(f.now)),
        Step::Wait(POLL)
    );
}

#[test]
fn with_its_time_up_an_end_leaves_the_backlog_on_disk() {
    let backlog = |f: &mut Facts| {
        f.unread = Unread::Rows;
        f.staged = Staged::Full;
        f.sink = Availability::Busy;
    };
    assert_eq!(ending(Duration::ZERO, backlog), disk(DiskStep::End));
}

#[test]
fn an_end_that_can_put_nothing_anywhere_comes_all_the_same() {
    let stuck = |waited: Duration, order: fn(Instant) -> Option<Instant>| {
        let start = Instant::now();
        let mut facts = quiet(start + waited);
        facts.stopping = Some(Stopping {
            deadline: start,
            progress_at: start,
        });
        stage(&mut facts, Staged::Full);
        facts.disk.order_since = order(start);
        next(&facts)
    };
    let soon = STOP_GRACE.saturating_sub(POLL);
    let idle = |_| None;
    assert!(!matches!(stuck(soon, idle), Step::Stop));
    assert_eq!(stuck(STOP_GRACE, idle), Step::Stop);
    // A slow disk is not a dead one.
    assert!(matches!(stuck(STOP_GRACE, Some), Step::Wait(_)));
    assert_eq!(stuck(STOP_ORDER_MAX, Some), Step::Stop);
}

/// Everything is delivered, and only the books are not closed: the deadline may be far away.
#[test]
fn a_disk_that_hangs_does_not_hold_up_an_end_with_nothing_to_do() {
    let start = Instant::now();
    let mut facts = quiet(start + STOP_ORDER_MAX);
    facts.stopping = Some(Stopping {
        deadline: start + PENDING * 1_000,
        progress_at: start,
    });
    facts.disk.order_since = Some(start);
    assert_eq!(next(&facts), Step::Stop);
}

#[test]
fn without_a_spill_an_overdue_end_waits_for_the_sink_alone() {
    let absent = ending(Duration::ZERO, |f| {
        stage(f, Staged::Full);
        f.ring = RingFacts::Some;
        f.disk.cap = Cap::Absent;
    });
    assert_eq!(absent, Step::Wait(POLL));
}
