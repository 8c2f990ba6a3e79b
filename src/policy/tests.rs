//! The decision as a table: each row changes a quiet moment in one or two ways and names the step.

mod eviction;
mod gathering;

use super::*;

const PENDING: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

fn quiet(now: Instant) -> Facts {
    Facts {
        now,
        sink: Hand::Free,
        doubt: Doubt::None,
        staged: Staged::Nothing,
        unread: Unread::None,
        ring: RingFacts::Empty,
        memory_since: None,
        disk: Hand::Free,
        reliefs: 0,
        flush: Flush::None,
        untold: Untold::Nothing,
        stopping: None,
        pending_max: PENDING,
        poll: POLL,
    }
}

fn step(change: impl FnOnce(&mut Facts)) -> Step {
    let mut facts = quiet(Instant::now());
    change(&mut facts);
    next(&facts)
}

#[test]
fn a_quiet_moment_is_waited_out() {
    assert_eq!(step(|_| {}), Step::Wait(POLL));
}

#[test]
fn what_has_come_in_is_staged_and_then_delivered() {
    let filled = |f: &mut Facts| {
        f.ring = RingFacts::Some;
        f.memory_since = Some(f.now);
    };
    assert_eq!(step(filled), Step::StageRing);
    let staged = |f: &mut Facts| {
        f.staged = Staged::Some;
        f.memory_since = Some(f.now);
    };
    assert_eq!(step(staged), Step::Deliver);
}

#[test]
fn a_batch_grows_while_there_is_more_and_no_longer() {
    let more = |staged| {
        step(move |f| {
            f.staged = staged;
            f.ring = RingFacts::Some;
            f.memory_since = Some(f.now);
        })
    };
    assert_eq!(more(Staged::Some), Step::StageRing);
    assert_eq!(more(Staged::Full), Step::Deliver);
}

#[test]
fn the_next_batch_is_staged_while_one_is_in_flight() {
    let busy = |staged| {
        step(move |f| {
            f.sink = Hand::Busy;
            f.staged = staged;
            f.ring = RingFacts::Some;
            f.memory_since = Some(f.now);
        })
    };
    assert_eq!(busy(Staged::Some), Step::StageRing);
    assert_eq!(busy(Staged::Full), Step::Wait(POLL));
}

#[test]
fn nothing_is_delivered_in_doubt() {
    let doubtful = |f: &mut Facts| {
        f.doubt = Doubt::Ask;
        f.staged = Staged::Full;
        f.memory_since = Some(f.now);
    };
    assert_eq!(step(doubtful), Step::Ask);
}

#[test]
fn the_ring_never_overtakes_the_backlog() {
    for ring in [
        RingFacts::Empty,
        RingFacts::Some,
        RingFacts::Chunk,
        RingFacts::High,
    ] {
        for staged in [Staged::Nothing, Staged::Some, Staged::Full] {
            for sink in [Hand::Free, Hand::Busy] {
                for disk in [Hand::Free, Hand::Busy] {
                    let step = step(|f| {
                        f.unread = Unread::Rows;
                        f.ring = ring;
                        f.staged = staged;
                        f.sink = sink;
                        f.disk = disk;
                        f.memory_since = (ring != RingFacts::Empty).then_some(f.now);
                    });
                    assert_ne!(
                        step,
                        Step::StageRing,
                        "{ring:?} {staged:?} {sink:?} {disk:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_busy_sink_is_relieved_past_the_high_water_mark_only() {
    let busy = |ring| {
        step(move |f| {
            f.sink = Hand::Busy;
            f.staged = Staged::Full;
            f.ring = ring;
            f.memory_since = Some(f.now);
        })
    };
    assert_eq!(busy(RingFacts::Chunk), Step::Wait(POLL));
    assert_eq!(busy(RingFacts::High), Step::Relieve);
}

#[test]
fn nothing_pends_in_memory_for_longer_than_pending_max() {
    let pending = |sink: Hand, waited: Duration| {
        let start = Instant::now();
        let mut facts = quiet(start + waited);
        facts.sink = sink;
        facts.staged = Staged::Full;
        facts.memory_since = Some(start);
        next(&facts)
    };
    let rest = Hand::RestsUntil(Instant::now() + PENDING * 100);
    for sink in [Hand::Busy, rest] {
        assert!(matches!(
            pending(sink, PENDING.saturating_sub(POLL)),
            Step::Wait(_)
        ));
        assert_eq!(pending(sink, PENDING), Step::Relieve);
    }
}

#[test]
fn behind_a_backlog_the_ring_is_relieved_a_chunk_at_a_time() {
    let behind = |ring| {
        step(move |f| {
            f.unread = Unread::Rows;
            f.sink = Hand::Busy;
            f.staged = Staged::Full;
            f.ring = ring;
            f.memory_since = Some(f.now);
        })
    };
    assert_eq!(behind(RingFacts::Some), Step::Wait(POLL));
    assert_eq!(behind(RingFacts::Chunk), Step::Relieve);
}

#[test]
fn relief_and_replay_take_turns() {
    let flooded = |ring, reliefs, staged| {
        step(move |f| {
            f.unread = Unread::Rows;
            f.ring = ring;
            f.reliefs = reliefs;
            f.staged = staged;
            f.memory_since = Some(f.now);
        })
    };
    for (ring, turns) in [(RingFacts::Chunk, 1), (RingFacts::High, RELIEFS_MAX)] {
        for reliefs in 0..turns {
            assert_eq!(flooded(ring, reliefs, Staged::Nothing), Step::Relieve);
        }
        assert_eq!(flooded(ring, turns, Staged::Nothing), Step::StageSpill);
        assert_eq!(flooded(ring, 0, Staged::Full), Step::Deliver);
    }
}

#[test]
fn a_full_or_resting_disk_is_left_alone() {
    for disk in [Hand::Busy, Hand::RestsUntil(Instant::now() + PENDING)] {
        let step = step(|f| {
            f.sink = Hand::Busy;
            f.staged = Staged::Full;
            f.ring = RingFacts::High;
            f.memory_since = Some(f.now);
            f.disk = disk;
        });
        assert!(matches!(step, Step::Wait(_)), "{step:?}");
    }
}

#[test]
fn a_flush_goes_to_disk_at_once_if_the_sink_does_not_take() {
    let flushing = |change: fn(&mut Facts)| {
        step(move |f| {
            f.flush = Flush::Wanted;
            f.staged = Staged::Full;
            f.memory_since = Some(f.now);
            change(f);
        })
    };
    assert!(
        matches!(flushing(|f| f.sink = Hand::Busy), Step::Wait(_)),
        "it may be acknowledged any moment"
    );
    assert_eq!(
        flushing(|f| f.sink = Hand::RestsUntil(f.now + PENDING)),
        Step::Relieve
    );
    assert_eq!(
        flushing(|f| {
            f.sink = Hand::Busy;
            f.unread = Unread::Rows;
        }),
        Step::Relieve
    );
}

#[test]
fn a_resting_sink_is_tried_when_its_rest_is_over() {
    let start = Instant::now();
    let mut facts = quiet(start);
    facts.staged = Staged::Full;
    facts.sink = Hand::RestsUntil(start + Duration::from_millis(2));
    assert_eq!(next(&facts), Step::Wait(Duration::from_millis(2)));
    facts.now = start + Duration::from_millis(2);
    assert_eq!(next(&facts), Step::Deliver);
}

#[test]
fn an_end_delivers_until_its_deadline_then_spills_then_stops() {
    let start = Instant::now();
    let mut facts = quiet(start);
    facts.stopping = Some(Stopping {
        deadline: start + PENDING,
        progress_at: start,
    });
    assert_eq!(next(&facts), Step::Stop);
    facts.staged = Staged::Some;
    facts.memory_since = Some(start);
    assert_eq!(next(&facts), Step::Deliver);
    facts.sink = Hand::Busy;
    facts.now = start + PENDING;
    for disk in [
        Hand::Free,
        Hand::Busy,
        Hand::RestsUntil(start + PENDING * 2),
    ] {
        facts.disk = disk;
        assert_eq!(
            next(&facts),
            Step::Relieve,
            "keeping comes before caps and rests"
        );
    }
    facts.memory_since = None;
    facts.unread = Unread::Rows;
    assert_eq!(next(&facts), Step::Stop);
}

#[test]
fn an_end_that_can_put_nothing_anywhere_comes_all_the_same() {
    let start = Instant::now();
    let mut facts = quiet(start + STOP_GRACE);
    facts.stopping = Some(Stopping {
        deadline: start,
        progress_at: start,
    });
    facts.ring = RingFacts::Some;
    facts.memory_since = Some(start);
    assert_eq!(next(&facts), Step::Stop);
    facts.stopping = Some(Stopping {
        deadline: start,
        progress_at: start + POLL,
    });
    assert_eq!(next(&facts), Step::Relieve, "something still moves");
}

#[test]
fn backoff_doubles_up_to_its_bound_and_starts_anew() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let pauses: Vec<_> = (0..6)
        .map(|_| backoff.pause(1.0, Duration::MAX).as_millis())
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    assert_eq!(
        backoff.pause(0.5, Duration::MAX),
        Duration::from_millis(500)
    );
    backoff.reset();
    assert_eq!(
        backoff.pause(1.0, Duration::MAX),
        Duration::from_millis(100)
    );
    for _ in 0..100 {
        assert!(backoff.pause(1.0, Duration::MAX) <= Duration::from_secs(1));
    }
}

#[test]
fn rows_that_cannot_be_read_are_waited_for_and_nothing_overtakes_them() {
    let unreadable = |f: &mut Facts| {
        f.unread = Unread::Resting;
        f.ring = RingFacts::Some;
        f.memory_since = Some(f.now);
    };
    assert_eq!(step(unreadable), Step::Wait(POLL));
    let old = |f: &mut Facts| {
        unreadable(f);
        f.memory_since = f.now.checked_sub(PENDING);
    };
    assert_eq!(step(old), Step::Relieve);
    let flushed = |f: &mut Facts| {
        unreadable(f);
        f.flush = Flush::Wanted;
    };
    assert_eq!(step(flushed), Step::Relieve);
}

#[test]
fn losses_behind_the_last_entry_are_told_at_the_end_if_time_is_left() {
    let ending = |sink, left: Duration| {
        step(move |f| {
            f.untold = Untold::Losses;
            f.sink = sink;
            f.stopping = Some(Stopping {
                deadline: f.now + left,
                progress_at: f.now,
            });
        })
    };
    assert_eq!(step(|f| f.untold = Untold::Losses), Step::Wait(POLL));
    assert_eq!(ending(Hand::Free, PENDING), Step::Deliver);
    assert!(matches!(ending(Hand::Busy, PENDING), Step::Wait(_)));
    assert_eq!(ending(Hand::Free, Duration::ZERO), Step::Stop);
}
