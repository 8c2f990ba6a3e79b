//! A fault of reading that passes costs nothing: the content of a segment is garbage for a moment, as a read that fails
//! looks.

use super::damage::{is_whole, many};
use super::*;
use crate::spill::chunk::CHUNK_ROWS;

const PAGE: usize = 16_384;

#[test]
fn a_fault_of_reading_that_passes_costs_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = many(dir.path(), 60_000)?;
    let file = segment_files(dir.path())?.remove(1);
    let whole = std::fs::read(&file)?;
    std::fs::write(&file, vec![0x55; whole.len()])?;
    let start = spill.now;
    let mut read = Vec::new();
    let mut after = None;
    for second in 0..9 {
        let order = Order::Read {
            after,
            entries_max: 5_000,
            bytes_max: u64::MAX,
        };
        let outcome = spill.carry_out(order, start + Duration::from_secs(second));
        if let Ok(Done::Read(reading)) = outcome.done {
            after = reading.through;
            read.extend(reading.records);
        }
    }
    assert!(read.len() > 100 && read.len() < 4_000, "{}", read.len());
    std::fs::write(&file, whole)?;
    read.extend(read_after(&mut spill, after)?.records);
    is_whole(&read, 0);
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

/// Each time another try helps, and the reader goes on: what failed long ago says nothing of now.
#[test]
fn faults_of_reading_that_pass_are_not_added_up() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = many(dir.path(), 1 << 30)?;
    spill.active.take().ok_or("no segment")?.seal();
    let file = segment_files(dir.path())?.remove(0);
    let whole = std::fs::read(&file)?;
    let mut reading = Reading::default();
    let mut go_on = |spill: &mut Spill| -> Result<bool, SpillError> {
        let page = spill.read(reading.through, CHUNK_ROWS, u64::MAX)?;
        reading.through = page.through;
        let more = !page.records.is_empty();
        reading.records.extend(page.records);
        Ok(more)
    };
    for _ in 0..6 {
        std::fs::write(&file, vec![0x55; whole.len()])?;
        spill.now += Duration::from_secs(20);
        // Some pages may be in memory.
        while go_on(&mut spill).is_ok_and(|more| more) {}
        std::fs::write(&file, &whole)?;
        go_on(&mut spill)?;
    }
    reading
        .records
        .extend(read_after(&mut spill, reading.through)?.records);
    is_whole(&reading.records, 0);
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

/// A directory in its place cannot be read either, as if its disk were away.
#[test]
fn what_is_left_of_a_damaged_segment_is_not_lost_while_its_disk_is_away() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = many(dir.path(), 1 << 30)?;
    spill.active.take().ok_or("no segment")?.seal();
    let file = segment_files(dir.path())?.remove(0);
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2 / PAGE * PAGE;
    bytes[middle..middle + PAGE].fill(0);
    std::fs::write(&file, bytes)?;
    let whole = all_patiently(&mut spill)?.records;
    let lost = spill.view().corrupt;
    assert!(lost > 0 && !whole.is_empty(), "{lost}");

    let away = dir.path().join("away");
    std::fs::rename(&file, &away)?;
    std::fs::create_dir(&file)?;
    spill.reader.close();
    for _ in 0..5 {
        spill.now += Duration::from_secs(20);
        assert!(spill.read(Some(Key::new(1, 1)), 1, u64::MAX).is_err());
    }
    std::fs::remove_dir(&file)?;
    std::fs::rename(&away, &file)?;
    assert_eq!(gist(&all(&mut spill)?), gist(&whole));
    assert_eq!(spill.view().corrupt, lost);
    Ok(())
}
