//! What goes in comes out, in order, once, with its losses: across repeats, settlements, runs and starts.

use super::*;
use crate::spill::chunk::{ChunkEnd, ReadFrom, read_rows};
use crate::spill::{Tally, Totals};

use LossReason::{EncodeError, QueueFull};

#[test]
fn records_come_back_with_their_losses() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let written = [
        record(&run, 1),
        record_after(&run, 5, &[loss(2, QueueFull), loss(1, EncodeError)]),
        record(&run, 6),
    ];
    assert_eq!(spill.append(&written)?, 3);
    let read = all(&mut spill)?;
    assert_eq!(gist(&read), gist(&written));
    assert_eq!(read[1].subject(), "acme.5");
    assert_eq!((read[1].popped_ms, read[1].id()), (1_005, written[1].id()));
    let view = spill.view();
    assert_eq!(
        (view.newest, view.oldest_popped_ms),
        (Some(Key::new(1, 6)), Some(1_001))
    );
    audit(&mut spill)?;
    drop(spill);
    let mut spill = open(dir.path())?;
    assert_eq!(gist(&all(&mut spill)?), gist(&written));
    assert_eq!(spill.view().oldest_popped_ms, Some(1_001));
    audit(&mut spill)
}

#[test]
fn appending_again_changes_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let mut batch = records(&run, 1..=3);
    batch.push(record_after(&run, 6, &[loss(2, QueueFull)]));
    spill.append(&batch)?;
    let before = gist(&all(&mut spill)?);
    assert_eq!(spill.append(&batch)?, 0);
    batch.push(record(&run, 7));
    assert_eq!(spill.append(&batch)?, 1);
    // Also if there is no segment to append to.
    spill.active.take().ok_or("no segment")?.seal();
    assert_eq!(spill.append(&batch[..2])?, 0);
    assert_eq!(gist(&all(&mut spill)?)[..4], before);
    assert_eq!(all(&mut spill)?.len(), 5);
    audit(&mut spill)
}

#[test]
fn a_page_is_bounded_in_entries_and_bytes_but_never_empty() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let written = records(&run, 1..=20);
    spill.append(&written)?;
    let mut page = |after, entries_max, bytes_max| {
        let after = Some(Key::new(1, after));
        spill
            .read(after, entries_max, bytes_max)
            .map(|read| numbers(&read.records))
    };
    assert_eq!(page(0, 7, u64::MAX)?, [1, 2, 3, 4, 5, 6, 7]);
    let size = written[0].size();
    assert_eq!(page(0, 7, size * 3)?, [1, 2, 3]);
    assert_eq!(page(0, 7, 1)?, [1]);
    assert_eq!(page(18, 7, u64::MAX)?, [19, 20]);
    assert!(page(20, 7, u64::MAX)?.is_empty());
    Ok(())
}

#[test]
fn a_chunk_is_bounded_in_rows_and_bytes() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=20))?;
    let large = |n| Record {
        bytes: vec![7; 600 << 10].into(),
        ..record(&run, n)
    };
    spill.append(&[large(21), large(22), large(23)])?;
    let conn = spill.active.as_ref().ok_or("no segment")?.connection();
    let chunk = |from, below, rows| {
        let (from, below) = (Key::new(1, from), Key::new(1, below));
        let chunk = read_rows(conn, from, below, ReadFrom::Key, rows);
        (chunk.rows.len(), matches!(chunk.end, ChunkEnd::Full))
    };
    assert_eq!(chunk(1, 21, 512), (20, false));
    assert_eq!(chunk(1, 21, 20), (20, true));
    assert_eq!(chunk(1, 24, 512), (22, true));
    assert_eq!(chunk(23, 24, 512), (1, false));
    Ok(())
}

#[test]
fn order_holds_across_runs_and_starts() -> Outcome {
    let dir = tempfile::tempdir()?;
    for _ in 1..=3 {
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=2))?;
    }
    let mut spill = open(dir.path())?;
    let read = all(&mut spill)?;
    let order: Vec<_> = read
        .iter()
        .map(|record| (record.run.local, record.n))
        .collect();
    assert_eq!(order, [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]);
    assert_eq!(settle(&mut spill, Key::new(2, 1))?, 3);
    assert_eq!(numbers(&all(&mut spill)?), [2, 1, 2]);
    tick(&mut spill)?;
    assert_eq!(spill.view().oldest_popped_ms, Some(1_002));
    assert_eq!(segment_files(dir.path())?.len(), 2);
    audit(&mut spill)
}

#[test]
fn large_entries_and_the_largest_numbers_fit() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let large = Record {
        bytes: vec![7; 5 << 20].into(),
        ..record(&run, 1)
    };
    let last = record_after(&run, Key::N_MAX, &[loss(Key::N_MAX - 2, QueueFull)]);
    spill.append(&[large.clone(), record(&run, 2)])?;
    let last = Record {
        losses: vec![loss(Key::N_MAX - 3, QueueFull)],
        ..last
    };
    spill.append(std::slice::from_ref(&last))?;
    let read = all(&mut spill)?;
    assert_eq!(read[0].bytes, large.bytes);
    assert_eq!(gist(&read[2..]), gist(&[last]));
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

/// Whatever went past the spill while it was empty is neither read nor missed.
#[test]
fn numbers_that_were_delivered_live_are_no_losses() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 5..=6))?;
    settle(&mut spill, Key::new(1, 6))?;
    spill.append(&[record_after(&run, 12, &[loss(2, QueueFull)])])?;
    let expected = gist(&[record_after(&run, 12, &[loss(2, QueueFull)])]);
    assert_eq!(gist(&all(&mut spill)?), expected);
    // With a watermark that nobody has any more, what was delivered comes again, and nothing else.
    let image = killed(dir.path())?;
    std::fs::remove_file(image.path().join("watermark"))?;
    let mut other = open(image.path())?;
    let read = all(&mut other)?;
    assert_eq!(numbers(&read), [5, 6, 12]);
    assert_eq!(read[2].losses, [loss(2, QueueFull)]);
    assert_eq!((other.view().corrupt, other.view().surplus), (0, 0));
    audit(&mut other)
}

#[test]
fn a_segment_is_sealed_at_its_size_and_removed_once_it_is_delivered() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 4_000)?;
    let run = spill.begin()?.run;
    for chunk in records(&run, 1..=1_000).chunks(10) {
        spill.append(chunk)?;
    }
    let files = segment_files(dir.path())?.len();
    assert!(files > 12, "{files}");
    assert_eq!(numbers(&all(&mut spill)?), (1..=1_000).collect::<Vec<_>>());
    settle(&mut spill, Key::new(1, 500))?;
    tick(&mut spill)?;
    let left = segment_files(dir.path())?.len();
    assert!(
        (files / 2 - 1..=files / 2 + 1).contains(&left),
        "{left} of {files}"
    );
    assert_eq!(
        numbers(&all(&mut spill)?),
        (501..=1_000).collect::<Vec<_>>()
    );
    audit(&mut spill)?;
    // Nothing is left of what the sink has.
    settle(&mut spill, Key::new(1, 1_000))?;
    end(&mut spill, 1_000)?;
    assert_eq!(segment_files(dir.path())?, [] as [PathBuf; 0]);
    assert_eq!(spill.view().totals, Totals::default());
    drop(spill);
    assert_eq!(open(dir.path())?.view().totals, Totals::default());
    Ok(())
}

#[test]
fn what_is_left_at_a_clean_end_is_there_at_the_next_start() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=10))?;
    settle(&mut spill, Key::new(1, 4))?;
    let losses = vec![loss(3, QueueFull)];
    let order = Order::End {
        last_n: 13,
        first_n: 11,
        losses,
    };
    spill.carry_out(order, spill.now).done?;
    drop(spill);
    let (mut spill, next) = begun(dir.path())?;
    assert_eq!(next.previous.and_then(|previous| previous.last), Some(13));
    spill.append(&records(&next, 1..=1))?;
    let reading = read_after(&mut spill, None)?;
    assert_eq!(numbers(&reading.records), [5, 6, 7, 8, 9, 10, 1]);
    assert!(
        reading
            .records
            .iter()
            .all(|record| record.losses.is_empty())
    );
    assert!(reading.orphans.is_empty() && reading.trailing.is_empty());
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

/// The commit fails, and what it wrote is there all the same, or not: it is written once more into another segment.
#[test]
fn what_a_failed_append_wrote_is_read_once() -> Outcome {
    for happened in [false, true] {
        let dir = tempfile::tempdir()?;
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=3))?;
        let active = spill.active.as_mut().ok_or("no segment")?;
        if happened {
            let write = crate::spill::active::Write {
                accounted: None,
                records: &records(&run, 4..=6),
                digests: &[],
            };
            active.write(&write)?;
        }
        let stop = "CREATE TEMP TRIGGER stop BEFORE INSERT ON rows WHEN new.key & 0xff = 7 \
                    BEGIN SELECT RAISE(FAIL, 'no further'); END";
        active.connection().execute_batch(stop)?;
        assert!(spill.append(&records(&run, 4..=8)).is_err());
        assert_eq!(numbers(&all(&mut spill)?), [1, 2, 3], "{happened}");
        audit(&mut spill)?;
        assert_eq!(spill.append(&records(&run, 4..=9))?, 6);
        assert_eq!(numbers(&all(&mut spill)?), (1..=9).collect::<Vec<_>>());
        audit(&mut spill)?;
        let image = killed(dir.path())?;
        let mut other = open(image.path())?;
        assert_eq!(numbers(&all(&mut other)?), (1..=9).collect::<Vec<_>>());
        assert_eq!(other.view().corrupt, 0);
        audit(&mut other)?;
    }
    Ok(())
}

/// A process was killed before its segment had a table. That is no damage, and holds up nobody who counts.
#[test]
fn a_segment_without_a_table_counts_as_empty() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=10))?;
    let dir = killed(dir.path())?;
    let bare = format!("{:016x}-0.sqlite3", Key::new(1, 11).number());
    let bare = dir.path().join("segments").join(bare);
    std::fs::write(&bare, "")?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=10))?;
    assert_eq!(segment_files(dir.path())?[1], bare);
    let dir = killed(dir.path())?;
    let mut spill = open(dir.path())?;
    assert_eq!(settle(&mut spill, Key::new(2, 4))?, 14);
    assert_eq!(numbers(&all(&mut spill)?), (5..=10).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_settlement_may_count_or_have_counted() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open_small(dir.path(), 1_000)?;
    let run = spill.begin()?.run;
    for chunk in records(&run, 1..=40).chunks(4) {
        spill.append(chunk)?;
    }
    let bytes = records(&run, 1..=7).iter().map(Record::size).sum();
    spill.settle(Key::new(1, 7), Counted::Known(Tally { entries: 7, bytes }))?;
    audit(&mut spill)?;
    // A part is one segment at the most.
    let part = spill.settle(Key::new(1, 29), Counted::Unknown)?;
    assert_eq!(part.through.n(), 7 + part.tally.entries);
    assert!((1..22).contains(&part.tally.entries), "{part:?}");
    audit(&mut spill)?;
    assert_eq!(
        settle(&mut spill, Key::new(1, 29))?,
        22 - part.tally.entries
    );
    assert_eq!(settle(&mut spill, Key::new(1, 29))?, 0);
    audit(&mut spill)?;
    assert_eq!(numbers(&all(&mut spill)?), (30..=40).collect::<Vec<_>>());
    Ok(())
}
