//! Nothing can be done now: the wait ends with the first change, and not with the ring's own turn.

use super::*;

const LONG: Duration = Duration::from_secs(100);
const SOON: Duration = Duration::from_millis(200);

/// A moment at which only the change is due soon.
fn wait(change: impl FnOnce(&mut Facts)) -> Step {
    step(|f| {
        f.poll = LONG;
        f.disk.tick_at = f.now + LONG;
        change(f);
    })
}

/// The end was requested just now.
fn end_at(facts: &mut Facts, deadline: Instant) {
    facts.stopping = Some(Stopping {
        deadline,
        progress_at: facts.now,
    });
}

#[test]
fn the_wait_ends_with_each_rest() {
    let rests: [fn(&mut Facts) -> &mut Availability; 4] = [
        |f| &mut f.sink,
        |f| &mut f.disk.writes,
        |f| &mut f.disk.reads,
        |f| &mut f.disk.upkeep,
    ];
    assert_eq!(wait(|_| {}), Step::Wait(LONG));
    for (which, availability) in rests.into_iter().enumerate() {
        let resting = wait(|f| *availability(f) = Availability::RestsUntil(f.now + SOON));
        assert_eq!(resting, Step::Wait(SOON), "{which}");
    }
}

#[test]
fn the_wait_ends_when_a_batch_goes_though_its_run_is_not_open() {
    let unopened = wait(|f| {
        f.staged = Staged::Some;
        f.runs = RunsOpen::NotYet(f.now + SOON);
        f.disk.order_since = Some(f.now);
    });
    assert_eq!(unopened, Step::Wait(SOON));
}

#[test]
fn the_wait_ends_with_a_tick() {
    assert_eq!(wait(|f| f.disk.tick_at = f.now + SOON), Step::Wait(SOON));
}

#[test]
fn the_wait_ends_with_the_time_of_an_end() {
    let in_flight = wait(|f| {
        f.sink = Availability::Busy;
        end_at(f, f.now + SOON);
    });
    assert_eq!(in_flight, Step::Wait(SOON));
}

#[test]
fn the_wait_ends_with_the_grace_of_an_end() {
    let overdue = wait(|f| {
        stage(f, Staged::Full);
        f.pending_max = LONG;
        f.disk.cap = Cap::Absent;
        end_at(f, f.now);
    });
    assert_eq!(overdue, Step::Wait(STOP_GRACE));
}

#[test]
fn the_wait_ends_when_an_entry_has_been_in_memory_for_too_long() {
    let waiting = |passed: Duration| {
        step(move |f| {
            f.poll = PENDING * 10;
            f.disk.tick_at = f.now + PENDING * 10;
            f.sink = Availability::Busy;
            f.memory = Unspilled::Waiting;
            f.waiting_since = Some(f.now);
            f.now += passed;
        })
    };
    let (passed, left) = (Duration::from_millis(400), Duration::from_millis(600));
    assert_eq!(waiting(passed), Step::Wait(left));
    assert_eq!(waiting(PENDING), disk(DiskStep::Append));
}
