//! The decision as a table: each row changes a quiet moment in one or two ways and names the step.

mod disk;
mod ending;
mod eviction;
mod gathering;
mod waiting;

use super::*;

const PENDING: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

fn quiet(now: Instant) -> Facts {
    Facts {
        now,
        sink: Availability::Free,
        question: Due::No,
        renewal: Due::No,
        front: Front::Deliverable,
        staged: Staged::Nothing,
        runs: RunsOpen::Yes,
        unread: Unread::None,
        ring: RingFacts::Empty,
        drawn: Drawn::Nothing,
        memory: Unspilled::Empty,
        waiting_since: None,
        disk: DiskFacts {
            order_since: None,
            writes: Availability::Free,
            reads: Availability::Free,
            upkeep: Availability::Free,
            cap: Cap::Room,
            identity: Due::No,
            turn_over: Due::No,
            renumber: Due::No,
            settle_since: None,
            tick_at: now + PENDING,
            end: End::Unnoted,
        },
        appends_in_a_row: 0,
        flush: Flush::None,
        last_losses: Due::No,
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

/// This much in the ring, just arrived.
fn fill(facts: &mut Facts, ring: RingFacts) {
    facts.ring = ring;
    facts.waiting_since = Some(facts.now);
}

/// This much staged, in memory only, just arrived.
fn stage(facts: &mut Facts, staged: Staged) {
    facts.staged = staged;
    facts.memory = Unspilled::Waiting;
    facts.waiting_since = Some(facts.now);
}

fn disk(step: DiskStep) -> Step {
    Step::Disk(step)
}

#[test]
fn a_quiet_moment_is_waited_out() {
    assert_eq!(step(|_| {}), Step::Wait(POLL));
}

#[test]
fn what_has_come_in_is_staged_and_then_delivered() {
    assert_eq!(step(|f| fill(f, RingFacts::Some)), Step::StageRing);
    assert_eq!(step(|f| stage(f, Staged::Some)), Step::Deliver);
}

#[test]
fn a_batch_grows_while_there_is_more_and_no_longer() {
    let more = |staged| {
        step(move |f| {
            stage(f, staged);
            f.ring = RingFacts::Some;
        })
    };
    assert_eq!(more(Staged::Some), Step::StageRing);
    assert_eq!(more(Staged::Full), Step::Deliver);
}

#[test]
fn the_next_batch_is_staged_while_one_is_in_flight() {
    let busy = |staged| {
        step(move |f| {
            stage(f, staged);
            f.sink = Availability::Busy;
            f.ring = RingFacts::Some;
        })
    };
    assert_eq!(busy(Staged::Some), Step::StageRing);
    assert_eq!(busy(Staged::Full), Step::Wait(POLL));
}

/// A frozen disk costs a healthy sink nothing.
#[test]
fn steps_without_the_disk_go_on_while_it_is_busy() {
    let busy = |change: fn(&mut Facts)| {
        step(move |f| {
            f.disk.order_since = Some(f.now);
            change(f);
        })
    };
    assert_eq!(busy(|f| fill(f, RingFacts::High)), Step::StageRing);
    assert_eq!(busy(|f| stage(f, Staged::Some)), Step::Deliver);
    assert_eq!(busy(|f| f.question = Due::Now), Step::Ask);
    let drawn = |f: &mut Facts| {
        f.drawn = Drawn::Chunk;
        f.waiting_since = Some(f.now);
    };
    assert_eq!(busy(drawn), Step::StageDrawn);
    // What is already read is delivered, though the next rows cannot be read now.
    let backlog = |f: &mut Facts| {
        f.staged = Staged::Some;
        f.unread = Unread::Rows;
    };
    assert_eq!(busy(backlog), Step::Deliver);
}

#[test]
fn nothing_is_delivered_in_doubt() {
    let doubtful = |f: &mut Facts| {
        stage(f, Staged::Full);
        f.question = Due::Now;
    };
    assert_eq!(step(doubtful), Step::Ask);
}

#[test]
fn nothing_is_delivered_past_a_record_that_must_become_a_dead_letter() {
    let refused = |change: fn(&mut Facts)| {
        step(move |f| {
            stage(f, Staged::Full);
            f.front = Front::DeadLetter;
            change(f);
        })
    };
    assert_eq!(refused(|_| {}), disk(DiskStep::DeadLetter));
    assert_eq!(
        refused(|f| f.disk.order_since = Some(f.now)),
        Step::Wait(POLL)
    );
    assert_eq!(refused(|f| f.sink = Availability::Busy), Step::Wait(POLL));
    assert_eq!(refused(|f| f.question = Due::Now), Step::Ask);
    let rests = |f: &mut Facts| f.disk.writes = Availability::RestsUntil(f.now + PENDING);
    assert_eq!(refused(rests), Step::Wait(POLL));
}

#[test]
fn nothing_is_sent_under_an_id_that_somebody_else_uses() {
    let cloned = |change: fn(&mut Facts)| {
        step(move |f| {
            stage(f, Staged::Full);
            f.question = Due::Now;
            f.disk.identity = Due::Now;
            change(f);
        })
    };
    assert_eq!(cloned(|_| {}), disk(DiskStep::RenewIdentity));
    assert_eq!(
        cloned(|f| f.disk.order_since = Some(f.now)),
        Step::Wait(POLL)
    );
}

#[test]
fn the_first_batch_of_a_run_waits_a_moment_for_the_disk_and_no_longer() {
    let unopened = |left: Duration, order| {
        step(move |f| {
            stage(f, Staged::Some);
            f.runs = RunsOpen::NotYet(f.now + left);
            f.disk.order_since = order;
        })
    };
    assert_eq!(unopened(OPEN_RUNS_MAX, None), disk(DiskStep::OpenRuns));
    assert_eq!(
        unopened(OPEN_RUNS_MAX, Some(Instant::now())),
        Step::Wait(POLL)
    );
    assert_eq!(
        unopened(Duration::ZERO, Some(Instant::now())),
        Step::Deliver
    );
    assert_eq!(
        step(|f| f.runs = RunsOpen::SentAnyway),
        disk(DiskStep::OpenRuns),
        "it is made up for"
    );
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
            for sink in [Availability::Free, Availability::Busy, Availability::Gone] {
                for cap in [Cap::Room, Cap::Evictable, Cap::Full, Cap::Absent] {
                    for unread in [Unread::Rows, Unread::Paced] {
                        for drawn in [Drawn::Nothing, Drawn::Chunk] {
                            let step = step(|f| {
                                f.unread = unread;
                                f.ring = ring;
                                f.staged = staged;
                                f.sink = sink;
                                f.disk.cap = cap;
                                f.drawn = drawn;
                                f.waiting_since = Some(f.now);
                            });
                            let overtakes = matches!(step, Step::StageRing | Step::StageDrawn);
                            assert!(!overtakes, "{ring:?} {staged:?} {sink:?} {cap:?} {drawn:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_resting_sink_is_tried_when_its_rest_is_over() {
    let start = Instant::now();
    let mut facts = quiet(start);
    facts.staged = Staged::Full;
    facts.sink = Availability::RestsUntil(start + Duration::from_millis(2));
    assert_eq!(next(&facts), Step::Wait(Duration::from_millis(2)));
    facts.now = start + Duration::from_millis(2);
    assert_eq!(next(&facts), Step::Deliver);
}

#[test]
fn losses_after_the_last_entry_are_announced_at_the_end_if_time_is_left() {
    let ending = |sink, left: Duration| {
        step(move |f| {
            f.last_losses = Due::Now;
            f.sink = sink;
            f.stopping = Some(Stopping {
                deadline: f.now + left,
                progress_at: f.now,
            });
        })
    };
    assert_eq!(step(|f| f.last_losses = Due::Now), Step::Wait(POLL));
    assert_eq!(ending(Availability::Free, PENDING), Step::Deliver);
    assert!(matches!(ending(Availability::Busy, PENDING), Step::Wait(_)));
    assert_eq!(
        ending(Availability::Free, Duration::ZERO),
        disk(DiskStep::End)
    );
}

/// They have the last numbers: once the sink has those, it takes nothing before them.
#[test]
fn losses_after_the_last_entry_wait_for_all_rows() {
    let ending = |change: fn(&mut Facts)| {
        step(move |f| {
            f.last_losses = Due::Now;
            f.stopping = Some(Stopping {
                deadline: f.now + PENDING,
                progress_at: f.now,
            });
            change(f);
        })
    };
    assert_eq!(ending(|f| f.unread = Unread::Paced), Step::Wait(POLL));
    let busy = |f: &mut Facts| {
        f.unread = Unread::Rows;
        f.disk.order_since = Some(f.now);
    };
    assert_eq!(ending(busy), Step::Wait(POLL));
}

/// Nobody waits for it before the sink is free.
#[test]
fn a_run_is_opened_once_a_batch_of_it_could_go() {
    let unopened = |sink: Availability, staged: Staged| {
        step(move |f| {
            f.sink = sink;
            f.staged = staged;
            f.runs = RunsOpen::NotYet(f.now + PENDING);
        })
    };
    assert_eq!(
        unopened(Availability::Free, Staged::Some),
        disk(DiskStep::OpenRuns)
    );
    assert!(matches!(
        unopened(Availability::Busy, Staged::Some),
        Step::Wait(_)
    ));
    assert!(matches!(
        unopened(Availability::Free, Staged::Nothing),
        Step::Wait(_)
    ));
}
