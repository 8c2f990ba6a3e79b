//! Tries to see `publish` and `try_publish` ask for memory, whatever the ring answers. Counted on the calling thread.

use allocation_counter::{AllocationInfo, measure};
use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::{AuditEntry, Event, Publisher};

use super::rig::{Parcel, close, fill, start, start_in_file};

const ENTRIES: usize = 1000;

/// Publishes the entries in turn with either call, counting. Those that are handed back are kept until after.
fn published<E: Event>(publisher: &Publisher<E>, make: fn() -> E) -> AllocationInfo {
    let mut entries: Vec<E> = std::iter::repeat_with(make).take(2 * ENTRIES).collect();
    let mut handed_back = Vec::with_capacity(ENTRIES);
    measure(|| {
        while let (Some(one), Some(two)) = (entries.pop(), entries.pop()) {
            publisher.publish(one);
            handed_back.extend(publisher.try_publish(two).err());
        }
    })
}

fn entry() -> AuditEntry {
    AuditEntry::new(
        0,
        1,
        AuditEventType::ToolCallIntercepted,
        AgentId::from_bytes([1; 16]),
        SessionId::from_bytes([2; 16]),
        r#"{"tool":"bash"}"#.to_owned(),
        [0; 32],
    )
}

#[test]
fn none_while_the_drainer_works() {
    let (_dir, drainer) = start::<AuditEntry>();
    let seen = published(&drainer.publisher(), entry);
    assert_eq!(seen.count_total, 0);
    close(drainer);
}

/// Full most of the time: the drainer keeps it so small.
#[test]
fn none_with_the_ring_in_a_file() {
    let (_dir, drainer) = start_in_file::<AuditEntry>();
    let publisher = drainer.publisher();
    let seen = published(&publisher, entry);
    assert_eq!(seen.count_total, 0);
    let one = entry();
    let kept = measure(|| (0..ENTRIES).for_each(|_| publisher.publish_packed(&one)));
    assert_eq!((kept.count_total, kept.count_current), (0, 0));
    close(drainer);
    let seen = published(&publisher, entry);
    assert_eq!(seen.count_total, 0, "after the close");
}

#[test]
fn none_with_a_full_ring() {
    let (_dir, drainer) = start();
    let publisher = drainer.publisher();
    let bolt = fill(&publisher);
    let seen = published(&publisher, Parcel::boxed);
    assert_eq!(seen.count_total, 0);
    let dropped = i64::try_from(ENTRIES).unwrap_or_default();
    assert_eq!(seen.count_current, -dropped, "what was dropped is freed");
    bolt.draw();
    close(drainer);
}

#[test]
fn none_after_the_close() {
    let (_dir, drainer) = start::<AuditEntry>();
    let publisher = drainer.publisher();
    close(drainer);
    let seen = published(&publisher, entry);
    assert_eq!(seen.count_total, 0);
}

/// A test of the tests.
#[test]
fn an_allocation_is_noticed() {
    let seen = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(seen.count_total, 1);
}
