//! The disk's orders, and when the ring is drawn for it.

use super::*;

#[test]
fn a_busy_sink_is_relieved_past_the_high_water_mark_only() {
    let busy = |ring, drawn| {
        step(move |f| {
            stage(f, Staged::Full);
            f.sink = Availability::Busy;
            f.ring = ring;
            f.drawn = drawn;
        })
    };
    assert_eq!(busy(RingFacts::Chunk, Drawn::Nothing), Step::Wait(POLL));
    assert_eq!(busy(RingFacts::High, Drawn::Nothing), Step::Draw);
    assert_eq!(busy(RingFacts::High, Drawn::Some), disk(DiskStep::Append));
}

#[test]
fn what_a_free_sink_cannot_get_goes_to_disk_when_entries_are_about_to_be_refused() {
    let flooded = |change: fn(&mut Facts)| {
        step(move |f| {
            stage(f, Staged::Full);
            f.ring = RingFacts::High;
            f.disk.order_since = Some(f.now);
            change(f);
        })
    };
    assert_eq!(flooded(|_| {}), Step::Deliver);
    assert_eq!(flooded(|f| f.front = Front::DeadLetter), Step::Draw);
    assert_eq!(flooded(|f| f.disk.identity = Due::Now), Step::Draw);
    // The run is opened in a moment, and then it goes.
    let unopened = |f: &mut Facts| f.runs = RunsOpen::NotYet(f.now + OPEN_RUNS_MAX);
    assert_eq!(flooded(unopened), Step::Wait(POLL));
}

/// Encoding runs while the disk syncs, up to one chunk.
#[test]
fn the_next_chunk_is_drawn_while_one_is_at_the_disk() {
    let appending = |drawn| {
        step(move |f| {
            fill(f, RingFacts::High);
            f.sink = Availability::Busy;
            f.staged = Staged::Full;
            f.memory = Unspilled::Appending;
            f.disk.order_since = Some(f.now);
            f.drawn = drawn;
        })
    };
    assert_eq!(appending(Drawn::Nothing), Step::Draw);
    assert_eq!(appending(Drawn::Some), Step::Draw);
    assert_eq!(appending(Drawn::Chunk), Step::Wait(POLL));
}

#[test]
fn nothing_is_drawn_for_an_append_that_nobody_wants() {
    let appending = step(|f| {
        fill(f, RingFacts::Chunk);
        f.sink = Availability::Busy;
        f.staged = Staged::Full;
        f.memory = Unspilled::Appending;
        f.disk.order_since = Some(f.now);
    });
    assert_eq!(appending, Step::Wait(POLL));
}

#[test]
fn nothing_pends_in_memory_for_longer_than_pending_max() {
    let pending = |sink: Availability, waited: Duration| {
        let start = Instant::now();
        let mut facts = quiet(start + waited);
        facts.sink = sink;
        facts.staged = Staged::Full;
        facts.memory = Unspilled::Waiting;
        facts.waiting_since = Some(start);
        next(&facts)
    };
    let rest = Availability::RestsUntil(Instant::now() + PENDING * 100);
    for sink in [Availability::Busy, Availability::Gone, rest] {
        assert!(matches!(
            pending(sink, PENDING.saturating_sub(POLL)),
            Step::Wait(_)
        ));
        assert_eq!(pending(sink, PENDING), disk(DiskStep::Append));
    }
}

#[test]
fn after_a_backlog_the_ring_is_relieved_a_chunk_at_a_time() {
    let after = |ring, drawn| {
        step(move |f| {
            fill(f, ring);
            f.unread = Unread::Rows;
            f.sink = Availability::Busy;
            f.staged = Staged::Full;
            f.drawn = drawn;
            f.memory = match drawn {
                Drawn::Nothing => Unspilled::Empty,
                _ => Unspilled::Waiting,
            };
        })
    };
    assert_eq!(after(RingFacts::Some, Drawn::Nothing), Step::Wait(POLL));
    assert_eq!(after(RingFacts::Chunk, Drawn::Nothing), Step::Draw);
    assert_eq!(after(RingFacts::Some, Drawn::Some), Step::Wait(POLL));
    assert_eq!(after(RingFacts::Some, Drawn::Chunk), disk(DiskStep::Append));
}

#[test]
fn appending_and_reading_take_turns() {
    let flooded = |ring, appends_in_a_row, staged| {
        step(move |f| {
            fill(f, ring);
            f.unread = Unread::Rows;
            f.appends_in_a_row = appends_in_a_row;
            f.staged = staged;
            f.drawn = Drawn::Chunk;
            f.memory = Unspilled::Waiting;
        })
    };
    for (ring, turns) in [
        (RingFacts::Chunk, 1),
        (RingFacts::High, APPENDS_IN_A_ROW_MAX),
    ] {
        for appends_in_a_row in 0..turns {
            assert_eq!(
                flooded(ring, appends_in_a_row, Staged::Nothing),
                disk(DiskStep::Append)
            );
        }
        assert_eq!(flooded(ring, turns, Staged::Nothing), disk(DiskStep::Read));
        assert_eq!(flooded(ring, 0, Staged::Full), Step::Deliver);
    }
}

#[test]
fn a_full_or_resting_disk_gets_no_append() {
    let full = |change: fn(&mut Facts)| {
        step(move |f| {
            fill(f, RingFacts::High);
            f.sink = Availability::Busy;
            f.staged = Staged::Full;
            f.memory = Unspilled::Waiting;
            f.drawn = Drawn::Chunk;
            change(f);
        })
    };
    assert_eq!(full(|f| f.disk.cap = Cap::Full), Step::Wait(POLL));
    assert_eq!(full(|f| f.disk.cap = Cap::Absent), Step::Wait(POLL));
    let rests = |f: &mut Facts| f.disk.writes = Availability::RestsUntil(f.now + PENDING);
    assert_eq!(full(rests), Step::Wait(POLL));
}

/// Another chunk is out of the ring then, which makes room for new entries.
#[test]
fn a_chunk_is_drawn_for_a_disk_that_is_away_and_none_for_one_that_is_full() {
    let drawing = |change: fn(&mut Facts)| {
        step(move |f| {
            fill(f, RingFacts::High);
            f.sink = Availability::Busy;
            f.staged = Staged::Full;
            change(f);
        })
    };
    assert_eq!(drawing(|f| f.disk.cap = Cap::Absent), Step::Draw);
    let rests = |f: &mut Facts| f.disk.writes = Availability::RestsUntil(f.now + PENDING);
    assert_eq!(drawing(rests), Step::Draw);
    assert_eq!(drawing(|f| f.disk.cap = Cap::Full), Step::Wait(POLL));
}

#[test]
fn a_flush_goes_to_disk_at_once_if_the_sink_does_not_take() {
    let flushing = |change: fn(&mut Facts)| {
        step(move |f| {
            stage(f, Staged::Full);
            f.sink = Availability::Busy;
            f.flush = Flush::Wanted;
            change(f);
        })
    };
    assert!(
        matches!(flushing(|_| {}), Step::Wait(_)),
        "it may be acknowledged any moment"
    );
    let stuck: [fn(&mut Facts); 5] = [
        |f| f.sink = Availability::RestsUntil(f.now + PENDING),
        |f| f.sink = Availability::Gone,
        |f| f.question = Due::Now,
        |f| f.front = Front::DeadLetter,
        |f| f.unread = Unread::Rows,
    ];
    for (which, change) in stuck.into_iter().enumerate() {
        assert_eq!(flushing(change), disk(DiskStep::Append), "{which}");
    }
}

#[test]
fn a_flush_of_what_is_on_disk_has_the_files_checked() {
    assert_eq!(step(|f| f.flush = Flush::Check), disk(DiskStep::Check));
    let rests = step(|f| {
        f.flush = Flush::Check;
        f.disk.upkeep = Availability::RestsUntil(f.now + PENDING);
    });
    assert_eq!(rests, Step::Wait(POLL));
}

#[test]
fn rows_that_cannot_be_read_are_waited_for_and_nothing_overtakes_them() {
    let unreadable = |f: &mut Facts| {
        fill(f, RingFacts::Some);
        f.unread = Unread::Rows;
        f.disk.reads = Availability::RestsUntil(f.now + PENDING);
    };
    assert_eq!(step(unreadable), Step::Wait(POLL));
    let old = |f: &mut Facts| {
        unreadable(f);
        f.waiting_since = f.now.checked_sub(PENDING);
    };
    assert_eq!(step(old), Step::Draw);
    let flushed = |f: &mut Facts| {
        unreadable(f);
        f.flush = Flush::Wanted;
    };
    assert_eq!(step(flushed), Step::Draw);
}

#[test]
fn a_settlement_waits_for_an_idle_disk_but_not_for_long() {
    let settling = |since: Duration, change: fn(&mut Facts)| {
        step(move |f| {
            f.disk.settle_since = f.now.checked_sub(since);
            change(f);
        })
    };
    let flooded = |f: &mut Facts| {
        fill(f, RingFacts::High);
        f.sink = Availability::Busy;
        f.staged = Staged::Full;
        f.memory = Unspilled::Waiting;
        f.drawn = Drawn::Chunk;
    };
    assert_eq!(settling(Duration::ZERO, |_| {}), disk(DiskStep::Settle));
    assert_eq!(settling(Duration::ZERO, flooded), disk(DiskStep::Append));
    assert_eq!(settling(LATE, flooded), disk(DiskStep::Settle));
}

#[test]
fn a_tick_waits_for_an_idle_disk_but_not_for_long() {
    let ticking = |late: Duration, unread| {
        step(move |f| {
            f.disk.tick_at = f.now.checked_sub(late).unwrap();
            f.unread = unread;
        })
    };
    assert_eq!(ticking(Duration::ZERO, Unread::None), disk(DiskStep::Tick));
    assert_eq!(ticking(Duration::ZERO, Unread::Rows), disk(DiskStep::Read));
    assert_eq!(ticking(LATE, Unread::Rows), disk(DiskStep::Tick));
}

#[test]
fn nothing_is_popped_before_a_run_with_numbers_has_begun() {
    for ring in [RingFacts::Some, RingFacts::High] {
        let used_up = |order| {
            step(move |f| {
                fill(f, ring);
                f.disk.turn_over = Due::Now;
                f.disk.order_since = order;
            })
        };
        assert_eq!(used_up(None), disk(DiskStep::TurnOver));
        assert_eq!(used_up(Some(Instant::now())), Step::Wait(POLL));
    }
}

#[test]
fn losses_that_were_numbered_again_are_noted() {
    assert_eq!(
        step(|f| f.disk.renumber = Due::Now),
        disk(DiskStep::Renumber)
    );
}
