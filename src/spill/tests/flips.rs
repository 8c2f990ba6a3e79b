//! A key that is damaged in its place, where the row is then out of order, costs its row and no other.

use super::damage::{is_whole, many};
use super::*;

/// As `SQLite` writes a key into its page.
fn varint(key: Key) -> Vec<u8> {
    let sevens = (0..6).rev().map(|at| (key.number() >> (7 * at)) | 0x80);
    let mut bytes: Vec<_> = sevens.map(|seven| seven.to_le_bytes()[0]).collect();
    bytes[5] &= 0x7f;
    bytes
}

#[test]
fn a_flipped_bit_of_a_key_ends_no_segment() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (spill, run) = many(dir.path(), 60_000)?;
    drop(spill);
    let file = segment_files(dir.path())?.remove(0);
    let whole = std::fs::read(&file)?;
    let key = varint(Key::new(run.local, 100));
    let found = whole
        .windows(6)
        .enumerate()
        .filter(|(_, bytes)| *bytes == key);
    let places: Vec<_> = found.map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    for (byte, bit) in [(0, 0), (1, 6), (3, 1), (4, 0), (4, 2), (4, 5), (5, 3)] {
        let mut bytes = whole.clone();
        for place in &places {
            bytes[place + byte] ^= 1 << bit;
        }
        std::fs::write(&file, bytes)?;
        let image = killed(dir.path())?;
        let mut spill = open(image.path())?;
        is_whole(&all(&mut spill)?, 1);
        audit(&mut spill)?;
    }
    Ok(())
}
