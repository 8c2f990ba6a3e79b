//! The races of the ring in a file, one scenario each: see `races.rs`.

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

use super::file_ring::{CONTROL, Created, FileRing, RecordKind, Words};
use super::ring::Refusal;
use super::sync::AtomicU64;
use crate::sync::Watched;

const PAIR: usize = 3;
const TRIO: usize = 2;
/// Words of a unit.
const UNIT: usize = 8;
const CREATED: Created = Created {
    key: 0x5eed,
    run: (0, 0),
    local: 1,
    format: 1,
    boot: (0, 0),
    base: 0,
};

struct Memory {
    words: Box<[AtomicU64]>,
    units: Box<[Watched]>,
}

impl Words for Memory {
    fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    fn enter(&self, unit: u64) {
        self.units[usize::try_from(unit).unwrap_or(usize::MAX)].enter();
    }
}

type Shared = Arc<FileRing<Memory>>;

fn model(preemptions_max: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions_max);
    builder.check(scenario);
}

fn ring(units: usize, entries_max: usize) -> Shared {
    let words = CONTROL + units * UNIT;
    let memory = Memory {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        units: (0..units).map(|_| Watched::new()).collect(),
    };
    Arc::new(FileRing::create(memory, entries_max, &CREATED))
}

/// Publishes a value as so many words.
fn publish(ring: &FileRing<Memory>, value: u64, words: usize) -> Result<(), Refusal> {
    let mut claim = ring.claim(words)?;
    (0..words).for_each(|_| claim.put(value));
    claim.commit();
    Ok(())
}

/// A publisher on a thread of its own; answers those of its values that were let in.
fn publisher(ring: &Shared, values: &'static [u64]) -> JoinHandle<Vec<u64>> {
    let ring = Arc::clone(ring);
    thread::spawn(move || accepted(&ring, values))
}

fn accepted(ring: &FileRing<Memory>, values: &[u64]) -> Vec<u64> {
    let let_in = |value: &u64| publish(ring, *value, 1).is_ok();
    values.iter().copied().filter(let_in).collect()
}

/// The drainer's end.
#[derive(Default)]
struct Drain {
    next: u64,
    popped: u64,
}

impl Drain {
    /// Takes so many entries at the most, and gives their room back.
    fn take(&mut self, ring: &FileRing<Memory>, most: usize) -> Vec<u64> {
        let (mut values, mut payload) = (Vec::new(), Vec::new());
        while values.len() < most
            && let Some(taken) = ring.take(self.next, &mut payload)
        {
            assert_eq!(taken.kind, RecordKind::Entry, "an entry is not what was packed");
            let word = payload.first_chunk().map(|word| u64::from_le_bytes(*word));
            values.extend(word);
            self.next = taken.next;
            self.popped += 1;
        }
        if !values.is_empty() {
            ring.set_popped(self.popped);
            ring.free(self.next);
        }
        values
    }
}

fn join<T>(handle: JoinHandle<T>) -> T {
    (handle.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn sorted(mut values: Vec<u64>) -> Vec<u64> {
    values.sort_unstable();
    values
}

fn assert_empty(ring: &FileRing<Memory>) {
    let filling = ring.inside();
    assert_eq!((filling.entries, filling.bytes), (0, 0), "room was lost");
}

/// Of two publishers who see one free place, one gets it, and the other leaves no trace.
pub fn two_publishers_on_the_last_place() {
    model(TRIO, || {
        let ring = ring(2, 9);
        let mut expected = accepted(&ring, &[1]);
        let one = publisher(&ring, &[2]);
        let two = publisher(&ring, &[3]);
        let (one, two) = (join(one), join(two));
        assert_eq!(one.len() + two.len(), 1, "one free place, one entry");
        expected.extend(one.into_iter().chain(two));
        assert_eq!(Drain::default().take(&ring, 9), expected);
        assert_empty(&ring);
    });
}

/// A publisher let in by the room that was freed finds it read; nothing is lost or overtakes.
pub fn publish_against_take() {
    model(PAIR, || {
        let ring = ring(1, 9);
        let mut expected = accepted(&ring, &[1]);
        let publisher = publisher(&ring, &[2, 3]);
        let mut drain = Drain::default();
        let mut taken = drain.take(&ring, 1);
        taken.extend(drain.take(&ring, 1));
        expected.extend(join(publisher));
        taken.extend(drain.take(&ring, 9));
        assert_eq!(taken, expected);
        assert_empty(&ring);
    });
}

/// A record that does not fit before the end of the lap goes into the next one, and the drainer follows.
pub fn round_the_lap() {
    model(TRIO, || {
        let ring = ring(8, 9);
        let mut drain = Drain::default();
        for value in 1..=3 {
            assert!(publish(&ring, value, 9).is_ok(), "there was room");
        }
        assert!(publish(&ring, 4, 1).is_ok(), "there was room");
        let mut taken = drain.take(&ring, 2);
        let wide = Arc::clone(&ring);
        let wide = thread::spawn(move || publish(&wide, 5, 9).is_ok());
        taken.extend(drain.take(&ring, 1));
        assert!(join(wide), "there was room");
        taken.extend(drain.take(&ring, 9));
        assert_eq!(taken, [1, 2, 3, 4, 5]);
        assert_empty(&ring);
    });
}

/// Nobody is refused while there is room, though it is never in the same place.
pub fn room_that_moves() {
    model(PAIR, || {
        let ring = ring(2, 9);
        accepted(&ring, &[1]);
        let publisher = publisher(&ring, &[2]);
        Drain::default().take(&ring, 1);
        accepted(&ring, &[3]);
        assert_eq!(join(publisher), [2], "refused though there was room");
    });
}

/// Takes wait for no publish that is half done, and count it as accepted.
pub fn take_against_half_done_publishes() {
    model(TRIO, || {
        let ring = ring(2, 9);
        let one = publisher(&ring, &[1]);
        let two = publisher(&ring, &[2]);
        let mut drain = Drain::default();
        let mut taken = drain.take(&ring, 9);
        assert!(taken.len() as u64 <= ring.accepted(), "not yet accepted");
        let expected = [join(one), join(two)].concat();
        taken.extend(drain.take(&ring, 9));
        assert_eq!(sorted(taken), sorted(expected));
        assert_empty(&ring);
    });
}

/// Whatever was let in before the close is taken, and after it nothing is let in.
pub fn close_against_publish() {
    model(PAIR, || {
        let ring = ring(2, 9);
        let publisher = publisher(&ring, &[1, 2]);
        ring.close();
        assert_eq!(publish(&ring, 9, 1), Err(Refusal::Closed));
        let expected = join(publisher);
        assert_eq!(Drain::default().take(&ring, 9), expected);
        assert_empty(&ring);
    });
}

/// A thread that loses an entry and then publishes one announces the loss with it.
pub fn loss_reported_by_its_thread() {
    model(PAIR, || {
        let ring = ring(1, 9);
        let loses = Arc::clone(&ring);
        accepted(&ring, &[1]);
        let publisher = thread::spawn(move || {
            if publish(&loses, 2, 1).is_err() {
                loses.lose();
                return publish(&loses, 3, 1).is_ok();
            }
            false
        });
        let mut drain = Drain::default();
        drain.take(&ring, 1);
        let announced = join(publisher);
        let taken = ring.take(drain.next, &mut Vec::new());
        if announced {
            assert_eq!(taken.map(|taken| taken.lost), Some(1), "a loss that its thread knew is not announced");
        }
    });
}
