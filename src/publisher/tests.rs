//! The handle and the ring: who holds up whom, what is freed, and the counts meanwhile.

use super::*;
use crate::ring::Ring;

/// The ring's slots have no destructors.
#[test]
fn a_ring_frees_what_is_left_in_it_and_what_it_refuses() {
    let value = Arc::new(());
    let ring = Ring::new(2, 100);
    for _ in 0..2 {
        assert!(ring.push(Arc::clone(&value), 1).is_ok());
    }
    let refused = ring.push(Arc::clone(&value), 1);
    drop(refused.map_err(PushError::into_value));
    assert_eq!(Arc::strong_count(&value), 3);
    drop(ring);
    assert_eq!(Arc::strong_count(&value), 1);
}

/// It holds back only later entries, and the drainer not at all.
#[test]
fn a_publisher_stopped_inside_holds_up_nobody() {
    let ring = Ring::new(4, 100);
    let popped = || ring.drain().map(|slot| slot.value).collect::<Vec<_>>();
    let push = |value| assert!(ring.push(value, 1).is_ok());
    push(1);
    let go_on = ring.push_half(2);
    push(3);
    assert_eq!(popped(), [1]);
    assert_eq!(popped(), [0; 0]);
    assert_eq!(ring.inside().entries, 2);
    push(4);
    go_on();
    assert_eq!(popped(), [2, 3, 4]);
    assert_eq!((ring.inside().entries, ring.accepted()), (0, 4));
}

/// An entry too heavy for any ring enters an empty one.
#[test]
fn a_ring_takes_bytes_up_to_its_bound_exactly() {
    let ring = Ring::after(5, 4, 100);
    let enters = |weight| ring.push(0, weight).map_err(PushError::into_value).is_ok();
    assert!(enters(60) && !enters(41) && enters(40));
    assert_eq!((ring.inside().entries, ring.inside().bytes), (2, 100));
    assert!(!enters(1) && enters(0));
    assert_eq!(ring.drain().count(), 3);
    assert_eq!(ring.inside().bytes, 0);
    assert!(enters(1_000) && !enters(1));
}

#[test]
fn positions_wrap() {
    const LAP: u64 = 1 << 31;
    let ring = Ring::after(LAP - 5, 3, 100);
    let mut expected = Vec::new();
    let mut popped = Vec::new();
    for value in 0..30 {
        if ring.push(value, 1).map_err(PushError::into_value).is_ok() {
            expected.push(value);
        } else {
            popped.extend(ring.drain().map(|slot| slot.value));
        }
        assert!(!ring.inside().closed);
        assert_eq!(ring.accepted(), LAP - 5 + expected.len() as u64);
    }
    popped.extend(ring.drain().map(|slot| slot.value));
    assert_eq!(popped, expected);
    assert!(expected.len() > 20, "{expected:?}");
}

fn shared() -> Shared<u8> {
    Shared {
        ingress: Ingress::Memory(Ring::new(64, 100)),
        control: Arc::default(),
        refusals: CachePadded::default(),
    }
}

fn ring(shared: &Shared<u8>) -> &Ring<u8> {
    match &shared.ingress {
        Ingress::Memory(ring) => ring,
        Ingress::File { .. } => panic!("it is in memory"),
    }
}

/// The drainer reports what it has popped once it has accounted for it.
#[track_caller]
fn report(shared: &Shared<u8>, popped: u64) {
    shared.control.report(Stats {
        accepted: popped,
        delivered: popped,
        ..Stats::default()
    });
}

#[test]
fn what_is_in_the_drainers_hands_is_accepted_once() {
    let shared = shared();
    let assert_counts = |delivered, in_ring| {
        let stats = shared.stats();
        let counts = (stats.accepted, stats.delivered, stats.in_ring);
        assert_eq!(counts, (3, delivered, in_ring));
    };
    for value in 0..3 {
        assert!(ring(&shared).push(value, 1).is_ok());
    }
    assert_counts(0, 3);
    let mut drain = ring(&shared).drain();
    assert_eq!(drain.by_ref().take(2).count(), 2);
    assert_counts(0, 3);
    drop(drain);
    assert_counts(0, 3);
    report(&shared, 2);
    assert_counts(2, 1);
}

/// One thread reads the stats all the time while others publish, are refused, and are popped in batches.
#[test]
fn accepted_is_never_more_than_was_published_and_never_decreases() {
    const ENOUGH: u64 = 20_000;
    let shared = shared();
    let (attempts, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let goes_on = || !done.load(Ordering::Acquire);
    let publish = || {
        while goes_on() {
            attempts.fetch_add(1, Ordering::SeqCst);
            ring(&shared).push(1, 1).map_err(PushError::into_value).ok();
        }
    };
    let drain = || {
        let mut popped = 0;
        while goes_on() {
            popped += ring(&shared).drain().take(32).count() as u64;
            report(&shared, popped);
        }
    };
    let look = || {
        let (mut before, until) = (0, Instant::now() + Duration::from_secs(20));
        let mut fault = None;
        while fault.is_none() && before < ENOUGH && Instant::now() < until {
            let stats = shared.stats();
            let most = attempts.load(Ordering::SeqCst);
            let exact = (before..=most).contains(&stats.accepted);
            before = stats.accepted;
            fault = (!exact || stats.entered() != stats.accounted()).then_some(stats);
            // Gives the drainer the lock, too.
            std::thread::yield_now();
        }
        // In any case: the scope waits for the others.
        done.store(true, Ordering::Release);
        (fault, before)
    };
    let (fault, accepted) = std::thread::scope(|scope| {
        scope.spawn(drain);
        scope.spawn(publish);
        scope.spawn(publish);
        look()
    });
    assert_eq!(fault, None);
    assert!(accepted >= ENOUGH, "hardly anything happened");
}
