//! What goes at the cap goes oldest first, leaves a loss that the next entry tells, and is never what the sink or memory
//! may have: across repeats, runs, damage, failure and reopening.

use super::*;
use crate::event::Key;
use crate::spill::Evictable;

use LossReason::{Corrupt, EncodeError, QueueFull, SpillEvicted};

const ANY: Evictable = Evictable {
    after: None,
    before: None,
};

/// So many rows; they are of one size up to number 99.
fn bytes_of(run: &Arc<Run>, rows: u64) -> u64 {
    record(run, 10).size() * rows
}

#[test]
fn the_oldest_go_and_the_next_tells_of_them_as_one_stretch() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 10..=30))?;
    for (evicted, next) in [(5, 15), (8, 18)] {
        let rows = next - spill.oldest(None, 1, 0)?[0].n;
        assert_eq!(spill.evict(ANY, bytes_of(&run, rows))?, rows);
        let read = all(&mut spill)?;
        assert_eq!(numbers(&read), (next..=30).collect::<Vec<_>>());
        assert_eq!(read[0].losses, [loss(evicted, SpillEvicted)]);
        assert_eq!(spill.totals().losses, 1);
        assert_eq!(spill.evicted(), evicted);
        audit(&spill)?;
    }
    drop(spill);
    let mut spill = open(dir.path())?;
    assert_eq!(all(&mut spill)?[0].losses, [loss(8, SpillEvicted)]);
    // All that may go: the newest stays, or nobody would tell.
    assert_eq!(spill.evict(ANY, u64::MAX)?, 12);
    assert_eq!(spill.evict(ANY, u64::MAX)?, 0);
    let read = all(&mut spill)?;
    assert_eq!(
        gist(&read),
        gist(&[record_after(&run, 30, &[loss(20, SpillEvicted)])])
    );
    assert_eq!(
        (spill.newest(), spill.corrupt()),
        (Some(Key::new(1, 30)), 0)
    );
    spill.append([&record(&run, 31)])?;
    assert_eq!(spill.evict(ANY, 1)?, 1);
    assert_eq!(all(&mut spill)?[0].losses, [loss(21, SpillEvicted)]);
    audit(&spill)
}

#[test]
fn losses_are_never_evicted_and_stay_in_their_place() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&[
        record_after(&run, 3, &[loss(2, QueueFull)]),
        record(&run, 4),
        record_after(&run, 8, &[loss(1, EncodeError), loss(2, QueueFull)]),
        record(&run, 9),
    ])?;
    assert_eq!(spill.evict(ANY, u64::MAX)?, 3);
    let told = [
        loss(2, QueueFull),
        loss(2, SpillEvicted),
        loss(1, EncodeError),
        loss(2, QueueFull),
        loss(1, SpillEvicted),
    ];
    assert_eq!(
        gist(&all(&mut spill)?),
        gist(&[record_after(&run, 9, &told)])
    );
    audit(&spill)
}

/// However many losses stand between the evicted, their rows are bounded.
#[test]
fn the_stretches_that_eviction_leaves_are_few() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    for last in [1_000, 2_000] {
        let batch: Vec<_> = (last - 999..=last)
            .step_by(2)
            .map(|n| record_after(&run, n + 1, &[loss(1, QueueFull)]))
            .collect();
        spill.append(&batch)?;
        while spill.evict(ANY, bytes_of(&run, 7))? > 0 {}
        assert!(spill.totals().losses <= 17, "{:?}", spill.totals());
        let read = all(&mut spill)?;
        assert_eq!((read.len(), read[0].lost_before()), (1, last - 1));
        let count = |reason| -> u64 {
            let losses = read[0].losses.iter().filter(|loss| loss.reason == reason);
            losses.map(|loss| loss.count).sum()
        };
        assert_eq!(
            (count(QueueFull), count(SpillEvicted)),
            (last / 2, last / 2 - 1)
        );
        audit(&spill)?;
    }
    Ok(())
}

#[test]
fn the_newest_of_each_run_stays_and_tells() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let mut expected = Vec::new();
    for _ in 1..=3 {
        let run = spill.begin_run()?;
        spill.append(&records(&run, 1..=4))?;
        // The last word of a clean end.
        spill.append_losses(&run, 5, &[loss(2, QueueFull)])?;
        spill.end_run(&run, 6)?;
        expected.push(record_after(&run, 4, &[loss(3, SpillEvicted)]));
    }
    let empty = spill.begin_run()?;
    let mut evicted = 0;
    loop {
        match spill.evict(ANY, bytes_of(&empty, 1))? {
            0 => break,
            some => evicted += some,
        }
        audit(&spill)?;
    }
    assert_eq!(evicted, 9);
    assert_eq!(gist(&all(&mut spill)?), gist(&expected));
    assert_eq!(spill.totals().losses, 6);
    audit(&spill)
}

#[test]
fn what_the_sink_or_memory_may_have_stays() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=20))?;
    let evictable = Evictable {
        after: Some(Key::new(1, 6)),
        before: Some(Key::new(1, 16)),
    };
    assert_eq!(spill.evict(evictable, u64::MAX)?, 9);
    let stays: Vec<u64> = (1..=6).chain(16..=20).collect();
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), stays);
    assert_eq!(read[6].losses, [loss(9, SpillEvicted)]);
    // Appended again, as after a commit that had failed and happened all the same.
    assert_eq!(spill.append(&records(&run, 16..=20))?, 0);
    // The sink has come further, and the bounds are others.
    let evictable = Evictable {
        after: Some(Key::new(1, 2)),
        before: None,
    };
    assert_eq!(spill.evict(evictable, u64::MAX)?, 8);
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [1, 2, 20]);
    assert_eq!(read[2].losses, [loss(17, SpillEvicted)]);
    audit(&spill)
}

/// What was passed over is looked at again once it may go.
#[test]
fn bounds_that_step_back_are_heeded() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let first = spill.begin_run()?;
    spill.append(&records(&first, 1..=10))?;
    let second = spill.begin_run()?;
    spill.append(&records(&second, 1..=10))?;
    let doubtful = Evictable {
        after: Some(Key::new(1, 5)),
        before: None,
    };
    assert_eq!(spill.evict(doubtful, bytes_of(&first, 5))?, 6);
    assert_eq!(spill.evict(ANY, bytes_of(&first, 3))?, 4);
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read)[..2], [5, 10]);
    audit(&spill)
}

/// A cursor in the middle of what was evicted: the sink had more of it than anybody knew.
#[test]
fn what_lies_behind_a_cursor_in_the_middle_is_told_once() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=20))?;
    spill.evict(ANY, bytes_of(&run, 9))?;
    let cursor = Key::new(1, 4);
    let first = spill.totals().entries;
    let read = spill.oldest(Some(cursor), 1, u64::MAX)?;
    assert_eq!(read[0].losses, [loss(read[0].n - 5, SpillEvicted)]);
    // More goes while what was settled could not be removed.
    let evictable = Evictable {
        after: Some(cursor),
        before: None,
    };
    assert_eq!(spill.evict(evictable, bytes_of(&run, 2))?, 2);
    assert_eq!(spill.totals().entries, first - 2);
    let read = spill.oldest(Some(cursor), 1, u64::MAX)?;
    assert_eq!(read[0].losses, [loss(read[0].n - 5, SpillEvicted)]);
    assert_eq!(spill.settle_through(cursor)?, 0);
    assert_eq!(gist(&spill.oldest(Some(cursor), 1, u64::MAX)?), gist(&read));
    audit(&spill)
}

#[test]
fn damage_on_the_way_is_told_as_damage() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=9))?;
    spill.store.connection().execute_batch(
        "UPDATE rows SET popped_ms = 7 WHERE key & 0xff = 3; DELETE FROM rows WHERE key & 0xff = 6",
    )?;
    assert_eq!(spill.evict(ANY, u64::MAX)?, 6);
    assert_eq!((spill.corrupt(), spill.evicted()), (2, 6));
    let told = [
        loss(2, SpillEvicted),
        loss(1, Corrupt),
        loss(2, SpillEvicted),
        loss(1, Corrupt),
        loss(2, SpillEvicted),
    ];
    assert_eq!(
        gist(&all(&mut spill)?),
        gist(&[record_after(&run, 9, &told)])
    );
    assert_eq!(spill.corrupt(), 2, "counted once");
    audit(&spill)
}

/// Rows go and losses come in one transaction: nothing in between survives a kill.
#[test]
fn an_eviction_that_fails_changes_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=9))?;
    let conn = spill.store.connection();
    conn.execute_batch(
        "CREATE TEMP TRIGGER stop BEFORE INSERT ON rows WHEN new.kind <> 0 \
         BEGIN SELECT RAISE(FAIL, 'no further'); END",
    )?;
    assert!(spill.evict(ANY, u64::MAX).is_err());
    assert_eq!((all(&mut spill)?.len(), spill.evicted()), (9, 0));
    audit(&spill)?;
    let conn = spill.store.connection();
    conn.execute_batch("DROP TRIGGER stop")?;
    assert_eq!(spill.evict(ANY, u64::MAX)?, 8);
    audit(&spill)
}

/// Neither the length of the backlog nor what is asked for makes a transaction long.
#[test]
fn one_transaction_evicts_a_bounded_number() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=10_000))?;
    for left in [5_904, 1_808, 1] {
        spill.evict(ANY, u64::MAX)?;
        assert_eq!(spill.totals().entries, left);
    }
    assert_eq!(all(&mut spill)?[0].losses, [loss(9_999, SpillEvicted)]);
    audit(&spill)
}

#[test]
fn the_oldest_batch_ends_within_its_bounds() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    assert_eq!(spill.batch_end(5, 1_000)?, None);
    let run = spill.begin_run()?;
    spill.append(&[record_after(&run, 3, &[loss(2, QueueFull)])])?;
    spill.append(&records(&run, 4..=9))?;
    let size = record(&run, 3).size();
    for (rows, bytes, end) in [
        (5, u64::MAX, 7),
        (50, u64::MAX, 9),
        (5, size * 3, 5),
        (5, size * 3 - 1, 4),
        (5, 1, 3),
    ] {
        assert_eq!(spill.batch_end(rows, bytes)?, Some(Key::new(1, end)));
    }
    Ok(())
}
