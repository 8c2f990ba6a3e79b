//! The test of the test: a publisher that lacks one of its safeguards must be found out.
//!
//! The safeguards are in the library and stay there; a proxy alters on the way what they do, so that the servers and
//! the publisher behave as if one was missing. Each time the same strikes come first with nothing altered, and are
//! survived.

use crate::arena::{Arena, Way, tell};
use crate::judge::judge;
use crate::schedule::{Kind, Schedule};
use test_support::proxy::Tamper;

const SEED: u64 = 1;
/// How many strikes a publisher without the safeguard has to survive.
const STRIKES: usize = 2;
const RATE: u32 = 1_000;
/// Transactions before the first strike, so that it hits a run in its middle.
const WARM: u64 = 20;

/// Strikes, first a sound publisher, then one without the safeguard, and answers what the judge finds then.
fn sabotage(way: Way, tamper: Tamper, kind: Kind) -> (Arena, Vec<String>) {
    let mut arena = Arena::start(1, RATE, way);
    let mut schedule = Schedule::new(SEED, 1, way);
    arena.warm_up(WARM);
    arena.strike(&schedule.of(kind));
    arena.finish();
    judge(&arena).expect("a sound publisher survives it");
    arena.publishers[0].proxy.tamper(Some(tamper));
    arena.start_publishers();
    arena.warm_up(WARM);
    for _ in 0..STRIKES {
        arena.strike(&schedule.of(kind));
    }
    arena.finish();
    let faults = judge(&arena).expect_err("it is found out");
    tell(&format!("{faults:#?}"));
    (arena, faults)
}

/// A transaction that comes late is stored beside what was sent in its place.
#[test]
fn without_the_fence_entries_are_stored_twice() {
    let (arena, faults) = sabotage(Way::Atomic, Tamper::Unfenced, Kind::ArrivesLate);
    let (sound, unfenced) = arena.late.split_at(1);
    assert!(sound[0].contains("wrong last sequence"), "{sound:?}");
    assert!(unfenced.iter().all(|it| it.contains("\"batch\"")));
    // Its cursor comes first, and goes back where the one sent in its place had more entries.
    let again = faults.iter().any(|it| it.contains("comes again"));
    assert!(again, "{faults:#?}");
}

/// The same, when the publisher was killed: its run goes on after the next one has begun, or, where that one still
/// delivers what the ring had kept, doubles it.
#[test]
fn without_the_fence_a_dead_publisher_can_still_write() {
    let (arena, faults) = sabotage(Way::Atomic, Tamper::Unfenced, Kind::ArrivesAfterDeath);
    assert!(arena.late[0].contains("wrong last sequence"));
    let goes_on = |it: &String| it.contains("goes on at") || it.contains("comes again");
    assert!(faults.iter().any(goes_on), "{faults:#?}");
}

/// What was stored, but not acknowledged, is sent again.
#[test]
fn ignoring_the_cursor_stores_entries_twice() {
    let (_arena, faults) = sabotage(
        Way::Atomic,
        Tamper::DeafToCursor,
        Kind::AcknowledgementsSwallowed,
    );
    assert!(faults[0].contains("comes again"), "{faults:#?}");
}

/// A message that was stored, but not acknowledged, is sent again.
#[test]
fn without_ids_messages_are_stored_twice() {
    let kind = Kind::AcknowledgementsSwallowed;
    let (_arena, faults) = sabotage(Way::Messages, Tamper::Nameless, kind);
    assert!(faults[0].contains("comes again"), "{faults:#?}");
}

/// A late message completes another transaction than its own: the cursor then tells of more than is stored.
#[test]
fn reusing_a_batch_id_loses_entries() {
    let (_arena, faults) = sabotage(Way::Atomic, Tamper::ReusedId, Kind::EndsAnother);
    let missing = faults.iter().any(|it| it.contains("are missing"));
    assert!(missing, "{faults:#?}");
}
