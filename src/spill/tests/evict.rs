//! At the cap, whole segments are evicted, oldest first. They leave losses that the next entry announces, and hold
//! nothing that the sink or memory may have: across repeats, runs, damage, failure and kills.

use super::*;
use crate::spill::{DeadLetterReason, Evictable, Keep, NewDeadLetter, SinkMayHave};

use LossReason::{Corrupt, DeadLettered, QueueFull, SpillEvicted};

const ANY: Evictable = Evictable {
    after: None,
    doubt: SinkMayHave::Nothing,
    bytes: 1,
};
const ALL: Evictable = Evictable {
    bytes: u64::MAX,
    ..ANY
};

/// Entries in segments of five. The last one is still written to.
fn filled(dir: &Path, entries: u64) -> Result<(Spill, Arc<Run>), SpillError> {
    let (mut spill, run) = begun(dir)?;
    for chunk in records(&run, 1..=entries).chunks(5) {
        if let Some(active) = spill.active.take() {
            active.seal();
        }
        spill.append(chunk)?;
    }
    Ok((spill, run))
}

#[test]
fn the_oldest_segment_goes_and_the_next_entry_announces_it() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path(), 30)?;
    for lost in [5, 10] {
        assert_eq!(spill.evict(ANY)?, 5);
        assert_eq!(spill.view().evicted, lost);
        let image = killed(dir.path())?;
        let mut other = open(image.path())?;
        for spill in [&mut spill, &mut other] {
            let read = all(spill)?;
            assert_eq!(numbers(&read), (lost + 1..=30).collect::<Vec<_>>());
            assert_eq!(read[0].losses, [loss(lost, SpillEvicted)]);
            audit(spill)?;
        }
    }
    // What is written to stays.
    assert_eq!(spill.evict(ALL)?, 15);
    assert_eq!(spill.evict(ALL)?, 0);
    assert_eq!(segment_files(dir.path())?.len(), 1);
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [26, 27, 28, 29, 30]);
    assert_eq!(read[0].losses, [loss(25, SpillEvicted)]);
    assert_eq!(spill.view().corrupt, 0);
    audit(&mut spill)
}

#[test]
fn losses_keep_their_reasons_and_dead_letters_are_no_evicted_entries() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = [
        record_after(&run, 3, &[loss(2, QueueFull)]),
        record(&run, 4),
        record_after(&run, 8, &[loss(3, QueueFull)]),
    ];
    spill.append(&batch)?;
    spill.active.take().ok_or("no segment")?.seal();
    spill.append(&records(&run, 9..=9))?;
    let letter = NewDeadLetter {
        record: batch[1].clone(),
        reason: DeadLetterReason::Rejected,
        detail: String::new(),
        keep: Keep::Yes,
    };
    spill
        .carry_out(Order::DeadLetter(vec![letter]), spill.now)
        .done?;
    assert_eq!(spill.evict(ALL)?, 2);
    let lost = [
        loss(2, QueueFull),
        loss(1, SpillEvicted),
        loss(1, DeadLettered),
        loss(3, QueueFull),
        loss(1, SpillEvicted),
    ];
    assert_eq!(
        gist(&all(&mut spill)?),
        gist(&[record_after(&run, 9, &lost)])
    );
    audit(&mut spill)
}

/// However many losses were between the evicted entries, what is left of them is little.
#[test]
fn the_stretches_that_eviction_leaves_are_few() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let alternating = |n| record_after(&run, n, &[loss(1, QueueFull)]);
    spill.append(&(2..=2_000).step_by(2).map(alternating).collect::<Vec<_>>())?;
    spill.active.take().ok_or("no segment")?.seal();
    spill.append(&records(&run, 2_001..=2_001))?;
    assert_eq!(spill.evict(ALL)?, 1_000);
    assert!(
        spill.view().totals.absent <= 17,
        "{:?}",
        spill.view().totals
    );
    let read = all(&mut spill)?;
    let count = |reason| -> u64 {
        let losses = read[0].losses.iter().filter(|loss| loss.reason == reason);
        losses.map(|loss| loss.count).sum()
    };
    assert_eq!((count(QueueFull), count(SpillEvicted)), (1_000, 1_000));
    audit(&mut spill)
}

#[test]
fn the_newest_entry_of_each_run_stays() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut expected = Vec::new();
    for _ in 1..=4 {
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=4))?;
        let losses = vec![loss(2, QueueFull)];
        let order = Order::End {
            last_n: 6,
            first_n: 5,
            losses,
        };
        spill.carry_out(order, spill.now).done?;
        expected.push(record_after(&run, 4, &[loss(3, SpillEvicted)]));
    }
    let (mut spill, _) = begun(dir.path())?;
    for evicted in [3, 3, 3, 3, 0] {
        assert_eq!(spill.evict(ANY)?, evicted);
        audit(&mut spill)?;
        let image = killed(dir.path())?;
        let mut other = open(image.path())?;
        assert_eq!(gist(&all(&mut other)?), gist(&all(&mut spill)?));
        audit(&mut other)?;
    }
    assert_eq!(gist(&all(&mut spill)?), gist(&expected));
    let reading = read_after(&mut spill, None)?;
    assert!(reading.orphans.is_empty() && spill.view().corrupt == 0);
    Ok(())
}

#[test]
fn what_the_sink_or_memory_may_have_stays() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path(), 30)?;
    let after = Some(Key::new(1, 7));
    assert_eq!(spill.evict(Evictable { after, ..ALL })?, 15);
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), (1..=10).chain(26..=30).collect::<Vec<_>>());
    assert_eq!(read[10].losses, [loss(15, SpillEvicted)]);
    audit(&mut spill)?;
    // Memory has nothing more, and the sink has come further.
    settle(&mut spill, Key::new(1, 3))?;
    assert_eq!(spill.evict(ALL)?, 5);
    assert_eq!(numbers(&all(&mut spill)?)[..3], [4, 5, 26]);
    audit(&mut spill)
}

/// A batch of an earlier run may be at the sink, which has not said so.
#[test]
fn while_the_sink_is_in_doubt_the_oldest_batch_stays() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.segment_bytes = 1 << 20;
    for n in 1..=12 {
        let bytes = vec![0; 1 << 20].into();
        spill.append(&[Record {
            bytes,
            ..record(&run, n)
        }])?;
    }
    drop(spill);
    let mut spill = open(dir.path())?;
    let doubt = SinkMayHave::OldestBatch;
    let evicted = spill.evict(Evictable { doubt, ..ALL })?;
    let read = numbers(&all(&mut spill)?);
    assert_eq!(
        (evicted, &read[..4]),
        (12 - read.len() as u64, &[1, 2, 3, 4][..])
    );
    assert_eq!(read, [1, 2, 3, 4, 12]);
    audit(&mut spill)
}

/// A cursor in the middle of what was evicted: the sink had more of it than anybody knew.
#[test]
fn what_comes_after_a_cursor_in_the_middle_is_announced_once() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path(), 30)?;
    assert_eq!(spill.evict(Evictable { bytes: 300, ..ANY })?, 10);
    settle(&mut spill, Key::new(1, 4))?;
    assert_eq!(all(&mut spill)?[0].losses, [loss(6, SpillEvicted)]);
    audit(&mut spill)
}

#[test]
fn damage_on_the_way_is_damage() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path(), 20)?;
    let files = segment_files(dir.path())?;
    let conn = rusqlite::Connection::open(&files[0])?;
    conn.execute("DELETE FROM rows WHERE key & 0xff = 3", ())?;
    drop(conn);
    let whole = std::fs::read(&files[1])?;
    std::fs::write(&files[1], vec![0; whole.len()])?;
    // What cannot be read is left to the reader, and whether it has an entry of the run is not known.
    assert_eq!(spill.evict(ALL)?, 3 + 5);
    assert_eq!(spill.evict(ALL)?, 0);
    let read = all_patiently(&mut spill)?.records;
    assert_eq!(numbers(&read), [5, 16, 17, 18, 19, 20]);
    let lost = [
        loss(2, SpillEvicted),
        loss(1, Corrupt),
        loss(1, SpillEvicted),
    ];
    assert_eq!(read[0].losses, lost);
    assert_eq!(read[1].losses, [loss(5, Corrupt), loss(5, SpillEvicted)]);
    assert_eq!((spill.view().corrupt, spill.view().evicted), (6, 8));
    assert_eq!(spill.view().totals.backlog.entries, 6);
    Ok(())
}

/// The index takes nothing: what was evicted is lost in memory, and only there; a kill brings it back.
#[test]
fn an_eviction_that_cannot_be_noted_deletes_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, _) = filled(dir.path(), 30)?;
    let stop =
        "CREATE TEMP TRIGGER stop BEFORE INSERT ON absent BEGIN SELECT RAISE(FAIL, 'no'); END";
    spill.index.read(|conn| conn.execute_batch(stop))?;
    assert!(spill.evict(ANY).is_err());
    assert_eq!(segment_files(dir.path())?.len(), 6);
    audit(&mut spill)?;
    let image = killed(dir.path())?;
    assert_eq!(all(&mut open(image.path())?)?.len(), 30);
    // The next handle succeeds.
    assert_eq!(spill.evict(ANY)?, 5);
    assert_eq!(segment_files(dir.path())?.len(), 4);
    assert_eq!(all(&mut spill)?[0].losses, [loss(10, SpillEvicted)]);
    assert_eq!(spill.view().evicted, 10);
    audit(&mut spill)
}
