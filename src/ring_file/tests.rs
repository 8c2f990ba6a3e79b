//! Tries to lose, duplicate or invent entries of a ring: across laps, by half-done and broken publishers, with images
//! that are torn, overwritten or forged.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::file_ring::{Claim, RecordKind, Taken};
use crate::ring::Refusal;

type Ring = FileRing<Box<[AtomicU64]>>;

const UNITS: usize = 64;
const CREATED: Created = Created {
    key: 0x1234_5678_9abc_def0,
    run: (7, 8),
    local: 3,
    format: 1,
    boot: (9, 10),
    // Its positions wrap around soon.
    base: (1 << 40) - 100,
};

fn zeros(units: usize) -> Box<[AtomicU64]> {
    (0..CONTROL + units * 8)
        .map(|_| AtomicU64::new(0))
        .collect()
}

fn ring() -> Ring {
    FileRing::create(zeros(UNITS), 1_000, &CREATED)
}

/// An entry of this many words, all the same.
fn publish(ring: &Ring, word: u64, words: usize) -> Result<(), Refusal> {
    let mut claim = ring.claim(words)?;
    (0..words).for_each(|_| claim.put(word));
    claim.commit();
    Ok(())
}

fn take(ring: &Ring, next: u64) -> Option<(Taken, Vec<u64>)> {
    let mut payload = Vec::new();
    let taken = ring.take(next, &mut payload)?;
    Some((taken, words(&payload)))
}

fn words(payload: &[u8]) -> Vec<u64> {
    let (words, _) = payload.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// The image that another process finds.
fn image(ring: &Ring) -> Vec<u64> {
    let words = ring.memory().words();
    words
        .iter()
        .map(|word| word.load(Ordering::Relaxed))
        .collect()
}

fn left(image: Vec<u64>) -> Vec<(RecordKind, Vec<u64>)> {
    let words: Box<[AtomicU64]> = image.into_iter().map(AtomicU64::new).collect();
    let (ring, created) = FileRing::read(words).unwrap();
    assert_eq!(created, CREATED);
    let mut found = Vec::new();
    ring.left(|taken, payload| found.push((taken.kind, words_of(payload))));
    found
}

fn words_of(payload: &[u8]) -> Vec<u64> {
    words(payload)
}

/// Compares with a queue, over many laps; at each moment the file holds what was not freed.
#[test]
fn it_is_a_queue_and_its_image_has_what_was_not_freed() {
    let mut random = fastrand::Rng::with_seed(1);
    let (ring, mut next) = (ring(), ring().tail());
    let (mut inside, mut taken) = (VecDeque::new(), VecDeque::new());
    let (mut refused, mut popped) = (0, 0);
    for word in 1..20_000_u64 {
        match random.u32(..10) {
            0..6 => {
                let words = random.usize(..40);
                match publish(&ring, word, words) {
                    Ok(()) => inside.push_back(vec![word; words]),
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::Full);
                        refused += 1;
                    }
                }
            }
            6..9 => {
                let found = take(&ring, next);
                assert_eq!(found.as_ref().map(|(_, words)| words), inside.front());
                if let Some((record, words)) = found {
                    popped += 1;
                    ring.set_popped(popped);
                    next = record.next;
                    inside.pop_front();
                    taken.push_back((words, next));
                }
            }
            _ => {
                if let Some((_, position)) = taken.pop_front() {
                    ring.free(position);
                }
            }
        }
        assert_eq!(ring.inside().entries, inside.len() as u64);
        if word % 50 == 0 {
            let expected = taken.iter().map(|(words, _)| words).chain(&inside);
            let expected: Vec<_> = expected
                .map(|words| (RecordKind::Entry, words.clone()))
                .collect();
            assert_eq!(left(image(&ring)), expected);
        }
    }
    assert!(refused > 100, "it was hardly ever full: {refused}");
    assert_eq!(ring.accepted(), popped + inside.len() as u64);
}

#[test]
fn a_full_ring_refuses_and_a_closed_one_too() {
    let ring = ring();
    // Header and payload fill a unit.
    for word in 0..UNITS as u64 {
        publish(&ring, word, 3).unwrap();
    }
    assert_eq!(publish(&ring, 0, 3), Err(Refusal::Full));
    let (record, _) = take(&ring, ring.tail()).unwrap();
    ring.set_popped(1);
    assert_eq!(
        publish(&ring, 0, 3),
        Err(Refusal::Full),
        "it is not safe yet"
    );
    ring.free(record.next);
    publish(&ring, 0, 3).unwrap();
    ring.close();
    assert_eq!(publish(&ring, 0, 0), Err(Refusal::Closed));
}

#[test]
fn the_bound_on_entries_counts_those_that_were_not_taken() {
    let ring = FileRing::create(zeros(UNITS), 2, &CREATED);
    publish(&ring, 1, 0).unwrap();
    publish(&ring, 2, 0).unwrap();
    assert_eq!(publish(&ring, 3, 0), Err(Refusal::Full));
    ring.set_popped(1);
    publish(&ring, 3, 0).unwrap();
}

/// An entry that its publisher did not finish holds up nothing.
#[test]
fn what_cannot_be_packed_is_void() {
    let ring = ring();
    let too_long = |mut claim: Claim<'_>| {
        (0..4).for_each(|word| claim.put(word));
        claim.commit();
    };
    too_long(ring.claim(3).unwrap());
    ring.claim(3).unwrap().commit();
    publish(&ring, 1, UNITS * 8 / 4 + 1).unwrap();
    let panics = || {
        let _claim = ring.claim(5).unwrap();
        panic!("on purpose");
    };
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    publish(&ring, 9, 2).unwrap();
    let found = left(image(&ring));
    let kinds: Vec<_> = found.iter().map(|(found, _)| *found).collect();
    let void = RecordKind::Void;
    assert_eq!(kinds, [void, void, void, void, RecordKind::Entry]);
}

/// A publisher that is stopped half-way holds back later entries; after a kill only its own entry is missing.
#[test]
fn a_half_done_entry_is_waited_for_and_after_a_kill_passed_over() {
    let ring = ring();
    publish(&ring, 1, 4).unwrap();
    let mut half = ring.claim(30).unwrap();
    half.put(2);
    publish(&ring, 3, 4).unwrap();
    let (first, _) = take(&ring, ring.tail()).unwrap();
    assert_eq!(take(&ring, first.next), None);
    let expected = [1, 3].map(|word| (RecordKind::Entry, vec![word; 4]));
    assert_eq!(left(image(&ring)), expected);
    drop(half);
    assert!(take(&ring, first.next).is_some());
}

/// Whatever happens to the pages, nothing is mistaken for an entry: neither old, torn nor overwritten words.
#[test]
fn no_damaged_image_has_an_entry_that_was_not_published() {
    let mut random = fastrand::Rng::with_seed(2);
    let (mut kept, mut damaged) = (0, 0);
    for _ in 0..3_000 {
        let ring = ring();
        let (mut next, mut old) = (ring.tail(), image(&ring));
        let mut published = Vec::new();
        for word in 1..random.u64(2..200) {
            if publish(&ring, word, random.usize(..12)).is_err() {
                let (record, _) = take(&ring, next).unwrap();
                next = record.next;
                ring.free(next);
            } else {
                published.push(word);
            }
            if random.u32(..30) == 0 {
                old = image(&ring);
            }
        }
        let mut torn = image(&ring);
        for _ in 0..random.usize(1..20) {
            // Words of the control page have their own checksum, or are only counters.
            let at = random.usize(CONTROL..torn.len());
            let end = (at + random.usize(1..64)).min(torn.len());
            match random.u32(..3) {
                0 => torn[at..end].copy_from_slice(&old[at..end]),
                1 => torn[at..end].fill(0),
                _ => torn[at] = random.u64(..),
            }
        }
        for (found, words) in left(torn) {
            match found {
                RecordKind::Entry => {
                    kept += 1;
                    let same = words.iter().all(|word| *word == words[0]);
                    let known = words.first().is_none_or(|word| published.contains(word));
                    assert!(same && known, "made up: {words:?}");
                }
                RecordKind::Damaged => damaged += 1,
                RecordKind::Void | RecordKind::Pad => {}
            }
        }
    }
    assert!(
        kept > 10_000 && damaged > 100,
        "{kept} kept, {damaged} damaged"
    );
}

/// The author of a payload does not know the key, though perhaps everything else.
#[test]
fn a_payload_that_imitates_a_record_is_not_taken_for_one() {
    let forged = |key: u64| {
        let ring = ring();
        let mut claim = ring.claim(80).unwrap();
        for place in 0..80 {
            // A record in each unit, as its publisher would write it.
            let position = CREATED.base + place / 8 + 1;
            claim.put(match (place + 5) % 8 {
                0 => key ^ position,
                // Void: the only kind without a checksum.
                1 => 3 << 28,
                _ => 0,
            });
        }
        claim.commit();
        let mut torn = image(&ring);
        // The record that contains them is gone.
        let unit = usize::try_from(CREATED.base).unwrap() % UNITS;
        torn[CONTROL + unit * 8] = 0;
        left(torn)
    };
    assert_eq!(forged(CREATED.key ^ 1), []);
    assert_ne!(forged(CREATED.key), [], "with the key they are accepted");
}

#[test]
fn a_file_that_is_no_ring_is_recognised() {
    let ring = ring();
    let whole = image(&ring);
    let read = |image: Vec<u64>| {
        let words: Box<[AtomicU64]> = image.into_iter().map(AtomicU64::new).collect();
        FileRing::read(words).map(|(_, created)| created)
    };
    assert_eq!(read(whole.clone()), Ok(CREATED));
    for word in 0..11 {
        let mut damaged = whole.clone();
        damaged[word] ^= 1 << 17;
        read(damaged).unwrap_err();
    }
    read(whole[..whole.len() - 8].to_vec()).unwrap_err();
    read(whole[..100].to_vec()).unwrap_err();
    read(Vec::new()).unwrap_err();
}
