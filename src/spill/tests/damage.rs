//! Damage costs what is damaged, is announced once by the entry after it, and never stops what comes after that.

use rusqlite::Connection;

use super::*;

use LossReason::{Corrupt, QueueFull};

pub(super) const ENTRIES: u64 = 5_000;

fn spoil(file: &Path, sql: &str) -> Outcome {
    Ok(Connection::open(file)?.execute_batch(sql)?)
}

/// Three entries, and one after losses, in a segment at rest.
fn three_and_losses(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let (mut spill, run) = begun(dir)?;
    let mut batch = records(&run, 1..=3);
    batch.push(record_after(&run, 7, &[loss(3, QueueFull)]));
    spill.append(&batch)?;
    drop(spill);
    Ok(segment_files(dir)?.remove(0))
}

/// Many entries in sealed segments, and the last few in the active one.
pub(super) fn many(dir: &Path, segment_bytes: u64) -> Result<(Spill, Arc<Run>), Box<dyn Error>> {
    let mut spill = open_small(dir, segment_bytes)?;
    let run = spill.begin()?.run;
    for chunk in records(&run, 1..=ENTRIES).chunks(100) {
        spill.append(chunk)?;
    }
    Ok((spill, run))
}

/// What was read, and how many losses were announced, are all there were.
pub(super) fn is_whole(read: &[Record], corrupt: u64) {
    let losses = read.iter().flat_map(|record| &record.losses);
    assert!(losses.clone().all(|loss| loss.reason == Corrupt));
    let lost: u64 = losses.map(|loss| loss.count).sum();
    assert_eq!((read.len() as u64 + lost, lost), (ENTRIES, corrupt));
    for pair in read.windows(2) {
        assert_eq!(pair[1].n, pair[0].n + pair[1].lost_before() + 1);
    }
}

#[test]
fn a_flipped_bit_costs_one_entry_and_is_counted_once() -> Outcome {
    for (column, value) in [
        ("bytes", "zeroblob(length(bytes))"),
        ("subject", "'acme.x'"),
        ("popped_ms", "7"),
        ("kind", "99"),
        ("kind", "1"),
        ("count", "2"),
        ("requeued", "zeroblob(24)"),
        ("key", "key | 0x100"),
        ("key", "key + (7 << 40)"),
        ("key", "0"),
    ] {
        let dir = tempfile::tempdir()?;
        let file = three_and_losses(dir.path())?;
        spoil(
            &file,
            &format!("UPDATE rows SET {column} = {value} WHERE key & 0xff = 2"),
        )?;
        for _ in 0..2 {
            let mut spill = open(dir.path())?;
            let read = all(&mut spill)?;
            assert_eq!(numbers(&read), [1, 3, 7], "{column} = {value}");
            assert_eq!(read[1].losses, [loss(1, Corrupt)], "{column} = {value}");
            assert_eq!(read[2].losses, [loss(3, QueueFull)], "{column} = {value}");
            assert_eq!(gist(&all(&mut spill)?), gist(&read), "{column} = {value}");
            audit(&mut spill)?;
        }
        let mut spill = open(dir.path())?;
        assert_eq!(spill.view().corrupt, 0, "counted again");
        settle(&mut spill, Key::new(1, 7))?;
        assert_eq!(
            (spill.view().totals, spill.view().corrupt),
            (super::super::Totals::default(), 0)
        );
    }
    Ok(())
}

#[test]
fn damaged_losses_are_still_losses() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = three_and_losses(dir.path())?;
    spoil(&file, "UPDATE rows SET count = 1000 WHERE kind <> 0")?;
    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 2, 3, 7]);
    assert_eq!(read[3].losses, [loss(3, Corrupt)]);
    Ok(())
}

#[test]
fn rows_that_vanished_are_announced_even_between_two_pages() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = three_and_losses(dir.path())?;
    spoil(&file, "DELETE FROM rows WHERE key & 0xff = 2")?;
    let mut spill = open(dir.path())?;
    let first = spill.read(None, 1, u64::MAX)?;
    assert_eq!(numbers(&first.records), [1]);
    for _ in 0..2 {
        let second = spill.read(first.through, 1, u64::MAX)?;
        assert_eq!(second.records[0].losses, [loss(1, Corrupt)]);
        assert_eq!(spill.view().corrupt, 1, "counted once");
        spill.read(None, 1, u64::MAX)?;
    }
    audit(&mut spill)
}

#[test]
fn two_damaged_pages_cost_their_rows_and_no_other() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (spill, run) = many(dir.path(), 1 << 30)?;
    drop(spill);
    let file = segment_files(dir.path())?.remove(0);
    let conn = Connection::open(&file)?;
    let leaf =
        "SELECT pageno FROM dbstat WHERE name = 'rows' AND pagetype = 'leaf' ORDER BY pageno";
    let mut statement = conn.prepare(leaf)?;
    let pages: Vec<u32> = statement
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    drop(statement);
    drop(conn);
    let mut bytes = std::fs::read(&file)?;
    for page in [pages[pages.len() / 10], pages[pages.len() * 9 / 10]] {
        let page = page as usize;
        bytes[(page - 1) * 16_384..page * 16_384].fill(0);
    }
    std::fs::write(&file, bytes)?;
    let mut spill = open(dir.path())?;
    assert!(read_after(&mut spill, None).is_err(), "it may pass");
    let read = all_patiently(&mut spill)?.records;
    let lost = ENTRIES - read.len() as u64;
    assert!(
        lost > 0 && lost <= 2 * ENTRIES / pages.len() as u64 + 200,
        "{lost}"
    );
    is_whole(&read, lost);
    assert_eq!(spill.view().corrupt, lost);
    audit(&mut spill)?;
    // Once it is delivered, it is kept for the operator.
    settle(&mut spill, Key::new(run.local, ENTRIES))?;
    tick(&mut spill)?;
    assert_eq!(segment_files(dir.path())?.len(), 0);
    assert_eq!(
        crate::spill::damaged(&dir.path().join("segments"))?.len(),
        1
    );
    Ok(())
}

#[test]
fn a_damaged_first_page_costs_its_segment_and_no_other() -> Outcome {
    for (at, of) in [(0, 4), (2, 4), (3, 4)] {
        let dir = tempfile::tempdir()?;
        let (mut spill, _) = many(dir.path(), 60_000)?;
        spill.active.take().ok_or("no segment")?.seal();
        let files = segment_files(dir.path())?;
        assert!(files.len() >= of, "{}", files.len());
        let file = &files[at * (files.len() - 1) / (of - 1)];
        let mut bytes = std::fs::read(file)?;
        bytes[..4_096].fill(0xa5);
        std::fs::write(file, bytes)?;
        let image = killed(dir.path())?;
        for mut spill in [spill, open(image.path())?] {
            let reading = all_patiently(&mut spill)?;
            let trailing: u64 = reading
                .trailing
                .iter()
                .chain(&[])
                .map(|loss| loss.count)
                .sum();
            let corrupt = spill.view().corrupt;
            assert!(corrupt > 100 && corrupt < 3_000, "{corrupt}");
            let orphans: u64 = reading.orphans.iter().map(|orphan| orphan.count).sum();
            assert_eq!(reading.records.len() as u64 + corrupt, ENTRIES);
            if at + 1 < of {
                is_whole(&reading.records, corrupt);
            } else {
                assert_eq!(trailing + orphans, corrupt);
            }
            audit(&mut spill)?;
        }
    }
    Ok(())
}

#[test]
fn a_segment_that_is_cut_is_read_as_far_as_it_goes() -> Outcome {
    for length in [0, 16_384, 200_000] {
        let dir = tempfile::tempdir()?;
        let (mut spill, run) = many(dir.path(), 1 << 30)?;
        spill.active.take().ok_or("no segment")?.seal();
        spill.append(&records(&run, ENTRIES + 1..=ENTRIES + 1))?;
        drop(spill);
        let file = segment_files(dir.path())?.remove(0);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&file)?
            .set_len(length)?;
        let mut spill = open(dir.path())?;
        let read = all_patiently(&mut spill)?.records;
        assert_eq!(
            read.last().map(|record| record.n),
            Some(ENTRIES + 1),
            "{length}"
        );
        let corrupt = spill.view().corrupt;
        assert_eq!(read.len() as u64 + corrupt, ENTRIES + 1, "{length}");
        assert!(length < 200_000 || read.len() > 500, "{}", read.len());
        audit(&mut spill)?;
    }
    Ok(())
}

#[test]
fn a_segment_that_is_deleted_is_lost_at_once() -> Outcome {
    for at in [0, 1, 2] {
        for running in [true, false] {
            let dir = tempfile::tempdir()?;
            let (mut spill, run) = many(dir.path(), 60_000)?;
            let files = segment_files(dir.path())?;
            std::fs::remove_file(&files[at * (files.len() - 2) / 2])?;
            if running {
                tick(&mut spill)?;
                spill.append(&records(&run, ENTRIES + 1..=ENTRIES + 1))?;
            } else {
                drop(spill);
                spill = open(dir.path())?;
            }
            let read = all(&mut spill)?;
            let corrupt = spill.view().corrupt;
            assert!(corrupt >= 900, "{corrupt}");
            is_whole(&read[..read.len() - usize::from(running)], corrupt);
            // At a start nobody knows whether it was the end of the one before.
            if running || at == 0 {
                let damaged = |segment| spill.reader.has_lost_rows(segment);
                assert!(!spill.segments.iter().any(damaged), "{at}");
            }
            audit(&mut spill)?;
            drop(spill);
            let mut spill = open(dir.path())?;
            assert_eq!(all(&mut spill)?.len(), read.len());
            assert_eq!(spill.view().corrupt, 0, "counted again");
        }
    }
    Ok(())
}

#[test]
fn a_reader_that_comes_to_a_deleted_segment_goes_on_at_once() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = many(dir.path(), 60_000)?;
    std::fs::remove_file(&segment_files(dir.path())?[1])?;
    let read = all(&mut spill)?;
    let corrupt = spill.view().corrupt;
    assert!(corrupt >= 900, "{corrupt}");
    is_whole(&read, corrupt);
    audit(&mut spill)
}

#[test]
fn a_segment_deleted_while_it_is_written_to_costs_what_was_in_it() -> Outcome {
    for found_by_tick in [true, false] {
        let dir = tempfile::tempdir()?;
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=5))?;
        std::fs::remove_file(&segment_files(dir.path())?[0])?;
        if found_by_tick {
            tick(&mut spill)?;
        } else {
            let failed = spill.append(&records(&run, 6..=7));
            assert!(
                matches!(failed, Err(SpillError::Vanished { .. })),
                "{failed:?}"
            );
        }
        spill.append(&records(&run, 6..=7))?;
        let read = all(&mut spill)?;
        let lost = record_after(&run, 6, &[loss(5, Corrupt)]);
        assert_eq!(
            gist(&read),
            gist(&[lost, record(&run, 7)]),
            "{found_by_tick}"
        );
        assert_eq!(spill.view().corrupt, 5);
        audit(&mut spill)?;
    }
    Ok(())
}

#[test]
fn a_log_deleted_at_rest_is_damage() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=5))?;
    let image = killed(dir.path())?;
    let mut log = segment_files(image.path())?.remove(0).into_os_string();
    log.push("-wal");
    std::fs::remove_file(log)?;
    let (mut spill, next) = begun(image.path())?;
    spill.append(&records(&next, 1..=1))?;
    let reading = all_patiently(&mut spill)?;
    assert_eq!(numbers(&reading.records), [1]);
    let orphan = crate::spill::Orphan {
        first: Key::new(1, 1),
        count: 5,
    };
    assert_eq!(reading.orphans, [orphan]);
    assert_eq!(spill.view().corrupt, 5);
    audit(&mut spill)
}

/// Nobody has made it again before the reader finds out.
#[test]
fn the_folder_of_the_segments_may_be_deleted() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = many(dir.path(), 60_000)?;
    std::fs::remove_dir_all(dir.path().join("segments"))?;
    tick(&mut spill)?;
    let reading = all_patiently(&mut spill)?;
    assert_eq!(
        (reading.records.len(), reading.trailing),
        (0, vec![loss(ENTRIES, Corrupt)])
    );
    spill.append(&[record_after(&run, ENTRIES + 1, &[loss(ENTRIES, Corrupt)])])?;
    assert_eq!(all(&mut spill)?.len(), 1);
    audit(&mut spill)
}
