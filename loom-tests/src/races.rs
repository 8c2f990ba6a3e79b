//! The races, one scenario each. Every scenario runs through all its interleavings and panics if one of them breaks
//! what its first line promises.

use std::sync::atomic::Ordering;

use loom::model::Builder;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex};
use loom::thread::{self, JoinHandle, yield_now};

use super::ring::{PushError, Ring, Slot};
use crate::sync::writes;

/// How often running threads are interrupted at the most, so that a scenario takes no more than seconds: the drainer
/// with one publisher, with two, and with two while it gives back room twice.
const PAIR: usize = 8;
const TRIO: usize = 3;
const TRIO_LONG: usize = 2;
const BYTES_MAX: u32 = 10;
const LIGHT: usize = 1;

type Shared = Arc<Ring<u32>>;

fn model(preemptions_max: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions_max);
    builder.check(scenario);
}

fn ring(capacity: usize) -> Shared {
    Arc::new(Ring::new(capacity, BYTES_MAX))
}

/// A publisher on a thread of its own; answers those of its values that were let in.
fn publisher(ring: &Shared, values: &'static [u32]) -> JoinHandle<Vec<u32>> {
    let ring = Arc::clone(ring);
    thread::spawn(move || accepted(&ring, values))
}

fn accepted(ring: &Ring<u32>, values: &[u32]) -> Vec<u32> {
    let pushed = values.iter().copied();
    pushed
        .filter(|value| ring.push(*value, LIGHT).is_ok())
        .collect()
}

/// All that stands in the queue, as one batch: its room is given back at the end.
fn batch(ring: &Ring<u32>) -> Vec<Slot<u32>> {
    ring.drain().collect()
}

/// A batch that its bound ends: no pop has looked for the next entry.
fn batch_of_one(ring: &Ring<u32>) -> Vec<Slot<u32>> {
    ring.drain().take(1).collect()
}

fn values(slots: &[Slot<u32>]) -> Vec<u32> {
    slots.iter().map(|slot| slot.value).collect()
}

/// Takes batches as a stopping drainer does, until the ring is closed and nobody inside.
fn drain_to_the_end(ring: &Ring<u32>) -> Vec<Slot<u32>> {
    let mut popped = Vec::new();
    loop {
        popped.extend(batch(ring));
        let inside = ring.inside();
        if inside.closed && inside.entries == 0 {
            return popped;
        }
        yield_now();
    }
}

/// All have joined: nothing may be left, neither in the queue nor on the word.
fn assert_empty(ring: &Ring<u32>) {
    let inside = ring.inside();
    assert_eq!((inside.entries, inside.bytes), (0, 0), "room was lost");
}

fn sorted(mut values: Vec<u32>) -> Vec<u32> {
    values.sort_unstable();
    values
}

fn join<T>(handle: JoinHandle<T>) -> T {
    (handle.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Of two publishers who see one free slot, one gets it, and the other leaves no trace.
pub fn two_publishers_on_the_last_slot() {
    model(TRIO, || {
        let ring = ring(2);
        let mut expected = accepted(&ring, &[1]);
        let one = publisher(&ring, &[2]);
        let two = publisher(&ring, &[3]);
        let (one, two) = (join(one), join(two));
        assert_eq!(one.len() + two.len(), 1, "one free slot, one entry");
        expected.extend(one.into_iter().chain(two));
        assert_eq!(values(&batch(&ring)), expected);
        assert_empty(&ring);
    });
}

/// A publisher let in by the room that a pop gave back finds the cell emptied; nothing is lost or overtakes.
pub fn push_against_pop() {
    model(PAIR, || {
        let ring = ring(1);
        let mut expected = accepted(&ring, &[1]);
        let publisher = publisher(&ring, &[2, 3]);
        let mut popped = batch_of_one(&ring);
        popped.extend(batch_of_one(&ring));
        expected.extend(join(publisher));
        popped.extend(batch(&ring));
        assert_eq!(values(&popped), expected);
        assert_empty(&ring);
    });
}

/// Nobody is refused while there is room, though it is never in the same place.
pub fn room_that_moves() {
    model(PAIR, || {
        let ring = ring(2);
        accepted(&ring, &[1]);
        let publisher = publisher(&ring, &[2]);
        batch_of_one(&ring);
        accepted(&ring, &[3]);
        assert_eq!(join(publisher), [2], "refused though there was room");
    });
}

/// Two publishers on two slots that the drainer is giving back: one may enter by room that only the other saw freed.
pub fn two_pushes_against_two_pops() {
    model(TRIO_LONG, || {
        let ring = ring(2);
        let mut expected = accepted(&ring, &[1, 2]);
        let one = publisher(&ring, &[3]);
        let two = publisher(&ring, &[4]);
        let mut popped = batch_of_one(&ring);
        popped.extend(batch_of_one(&ring));
        expected.extend(join(one).into_iter().chain(join(two)));
        popped.extend(batch(&ring));
        assert_eq!(sorted(values(&popped)), sorted(expected));
        assert_empty(&ring);
    });
}

/// A pop waits for no push that is half done. It counts as accepted, and its entry is popped later, once.
pub fn pop_against_half_done_pushes() {
    model(TRIO, || {
        let ring = ring(2);
        let one = publisher(&ring, &[1]);
        let two = publisher(&ring, &[2]);
        let mut popped = batch(&ring);
        assert!(popped.len() as u64 <= ring.accepted(), "not yet accepted");
        let expected = [join(one), join(two)].concat();
        popped.extend(batch(&ring));
        assert_eq!(sorted(values(&popped)), sorted(expected));
        assert_empty(&ring);
    });
}

/// A publisher enters or is refused while the drainer gives room back: neither step swallows the other, and who enters
/// sees the cell emptied.
pub fn refusal_against_freeing() {
    model(TRIO, || {
        let ring = ring(1);
        let one = publisher(&ring, &[2]);
        let two = publisher(&ring, &[3]);
        let mut expected = accepted(&ring, &[1]);
        let mut popped = batch_of_one(&ring);
        expected.extend(join(one).into_iter().chain(join(two)));
        popped.extend(batch(&ring));
        assert_eq!(sorted(values(&popped)), sorted(expected));
        assert_empty(&ring);
    });
}

/// Whatever was let in before the close is popped, and after it nothing is let in.
pub fn close_against_push() {
    model(PAIR, || {
        let ring = ring(2);
        let publisher = publisher(&ring, &[1, 2]);
        ring.close();
        assert!(matches!(ring.push(9, LIGHT), Err(PushError::Closed(_))));
        let popped = values(&drain_to_the_end(&ring));
        assert_eq!(popped, join(publisher));
        assert_empty(&ring);
    });
}

/// Closed and nobody inside is reached, and final, though publishers go on calling.
pub fn shutdown_while_publishers_go_on_calling() {
    model(TRIO, || {
        let ring = ring(1);
        let one = publisher(&ring, &[1, 2, 3]);
        let two = publisher(&ring, &[4, 5]);
        ring.close();
        let popped = sorted(values(&drain_to_the_end(&ring)));
        assert!(batch(&ring).is_empty(), "an entry came after the end");
        assert_eq!(popped, sorted([join(one), join(two)].concat()));
        assert_empty(&ring);
    });
}

/// A publisher refused by a closed ring never writes to the word again: its calls would put off the end.
pub fn refused_by_a_closed_ring() {
    model(PAIR, || {
        let ring = ring(1);
        let calls = Arc::clone(&ring);
        let publisher = thread::spawn(move || {
            let (mut seen_closed, mut after) = (false, 0);
            for value in [1, 2, 3] {
                let before = writes();
                let answer = calls.push(value, LIGHT);
                after += if seen_closed { writes() - before } else { 0 };
                seen_closed |= matches!(answer, Err(PushError::Closed(_)));
            }
            after
        });
        ring.close();
        assert_eq!(join(publisher), 0, "the word was written after the close");
        drain_to_the_end(&ring);
    });
}

/// A flush waits for what its thread had published before, though another publishes on: the drainer counts its pops
/// from when it sees the request, up to what stands in the queue then.
pub fn flush_against_push() {
    model(TRIO, || {
        let ring = ring(2);
        let asked = Arc::new(Mutex::new(false));
        let (flushed, asks) = (Arc::clone(&ring), Arc::clone(&asked));
        let asking = thread::spawn(move || {
            let pushed = accepted(&flushed, &[1]);
            set(&asks);
            pushed
        });
        let other = publisher(&ring, &[2]);
        let popped = values(&drain_until_flushed(&ring, &asked));
        assert!(popped.contains(&1), "the flush was kept too early");
        let expected = [join(asking), join(other)].concat();
        let rest = values(&batch(&ring));
        assert_eq!(sorted([popped, rest].concat()), sorted(expected));
    });
}

fn drain_until_flushed(ring: &Ring<u32>, asked: &Mutex<bool>) -> Vec<Slot<u32>> {
    let mut popped = Vec::new();
    let mut pops = None;
    loop {
        if pops.is_none() && is_set(asked) {
            pops = Some(popped.len() as u64 + ring.inside().entries);
        }
        popped.extend(batch_of_one(ring));
        if pops.is_some_and(|pops| pops <= popped.len() as u64) {
            return popped;
        }
        yield_now();
    }
}

fn set(flag: &Mutex<bool>) {
    if let Ok(mut flag) = flag.lock() {
        *flag = true;
    }
}

fn is_set(flag: &Mutex<bool>) -> bool {
    flag.lock().is_ok_and(|flag| *flag)
}

/// A thread that loses an entry and then publishes one announces the loss with it.
pub fn loss_reported_by_its_thread() {
    model(PAIR, || {
        let ring = ring(1);
        let loses = Arc::clone(&ring);
        let publisher = thread::spawn(move || {
            let (mut told, mut lost) = (Vec::new(), 0);
            for value in [2, 3, 4] {
                if loses.push(value, LIGHT).is_ok() {
                    told.push((value, lost));
                } else {
                    loses.lose();
                    lost += 1;
                }
            }
            (told, lost)
        });
        accepted(&ring, &[1]);
        let mut popped = batch(&ring);
        let (told, lost_in_all) = join(publisher);
        popped.extend(batch(&ring));
        for (value, lost) in told {
            let slot = popped.iter().find(|slot| slot.value == value);
            assert_eq!(slot.map(|slot| slot.lost), Some(lost), "loss not told");
        }
        assert_eq!(ring.lost(), lost_in_all);
    });
}

/// A thread that has learned of another's loss, by any synchronisation, announces it with its next entry.
pub fn loss_reported_by_who_learned_of_it() {
    model(PAIR, || {
        let ring = ring(1);
        let (unlucky, learned) = (Arc::clone(&ring), Arc::new(AtomicBool::new(false)));
        let tells = Arc::clone(&learned);
        let publisher = thread::spawn(move || {
            unlucky.lose();
            tells.store(true, Ordering::Release);
        });
        let knew = learned.load(Ordering::Acquire);
        accepted(&ring, &[1]);
        let told = batch(&ring).iter().map(|slot| slot.lost).sum::<u64>();
        assert!(told == 1 || !knew, "a loss was known and not told");
        join(publisher);
        assert_eq!(ring.lost(), 1);
    });
}

/// An entry heavier than the bound enters the empty ring and no other; none enters beside it.
pub fn heavy_entry_enters_only_the_empty_ring() {
    model(TRIO, || {
        let ring = ring(2);
        let heavy = Arc::clone(&ring);
        let heavy = thread::spawn(move || heavy.push(1, 1000).is_ok());
        let light = publisher(&ring, &[2]);
        let light = join(light).len() == 1;
        assert!(join(heavy) != light, "one of the two, and not both");
        assert_eq!(batch(&ring).len(), 1);
        assert_empty(&ring);
    });
}

/// A heavy entry gives all of its room back, even if others enter meanwhile.
pub fn heavy_entry_against_freeing() {
    model(TRIO, || {
        let ring = ring(2);
        let heavy = Arc::clone(&ring);
        let mut expected = accepted(&ring, &[1]);
        let heavy = thread::spawn(move || heavy.push(2, 1000).is_ok());
        let light = publisher(&ring, &[3]);
        let mut popped = batch_of_one(&ring);
        expected.extend(join(light));
        expected.extend(join(heavy).then_some(2));
        popped.extend(batch(&ring));
        assert_eq!(sorted(values(&popped)), sorted(expected));
        assert_empty(&ring);
    });
}
