//! Losses that no entry of their run can announce: the next run does, once, whatever is killed in between.

use rusqlite::Connection;

use super::*;
use crate::spill::{Orphan, Renumbering};

use LossReason::Corrupt;

/// Two entries of a killed run; the second is damaged.
fn with_a_lost_end(dir: &Path) -> Outcome {
    let (mut spill, run) = begun(dir)?;
    spill.append(&records(&run, 1..=2))?;
    drop(spill);
    let file = segment_files(dir)?.remove(0);
    let conn = Connection::open(file)?;
    conn.execute("UPDATE rows SET popped_ms = 9 WHERE key & 0xff = 2", ())?;
    Ok(())
}

const ORPHAN: fn() -> Orphan = || Orphan {
    first: Key::new(1, 2),
    count: 1,
};

fn renumber(spill: &mut Spill, orphans: Vec<Orphan>, first: Key) -> Outcome {
    let order = Order::Renumber(Renumbering { orphans, first });
    assert!(matches!(
        spill.carry_out(order, spill.now).done?,
        Done::Renumbered
    ));
    Ok(())
}

#[test]
fn the_lost_end_of_an_earlier_run_is_an_orphan_until_it_is_retold() -> Outcome {
    let dir = tempfile::tempdir()?;
    with_a_lost_end(dir.path())?;
    let (mut spill, run) = begun(dir.path())?;
    for _ in 0..2 {
        let reading = read_after(&mut spill, None)?;
        assert_eq!(
            (numbers(&reading.records), reading.trailing),
            (vec![1], vec![])
        );
        assert_eq!(reading.orphans, [ORPHAN()]);
    }
    // The same if this run has written something after it.
    spill.append(&[record_after(&run, 2, &[loss(1, Corrupt)])])?;
    assert_eq!(read_after(&mut spill, None)?.orphans, [ORPHAN()]);
    let image = killed(dir.path())?;
    let mut other = begun(image.path())?.0;
    assert_eq!(read_after(&mut other, None)?.orphans, [ORPHAN()]);
    assert_eq!((other.view().corrupt, spill.view().corrupt), (0, 1));

    renumber(&mut spill, vec![ORPHAN()], Key::new(2, 1))?;
    let image = killed(dir.path())?;
    for mut spill in [spill, begun(image.path())?.0] {
        let reading = read_after(&mut spill, None)?;
        assert_eq!(reading.orphans, []);
        assert_eq!(numbers(&reading.records), [1, 2]);
        assert_eq!(reading.records[1].losses, [loss(1, Corrupt)]);
        audit(&mut spill)?;
    }
    Ok(())
}

/// The orphans' new numbers are lost in turn, with the run that gave them.
#[test]
fn what_was_retold_and_not_delivered_is_an_orphan_of_the_next_run() -> Outcome {
    let dir = tempfile::tempdir()?;
    with_a_lost_end(dir.path())?;
    let mut spill = begun(dir.path())?.0;
    all(&mut spill)?;
    settle(&mut spill, Key::new(1, 1))?;
    renumber(&mut spill, vec![ORPHAN()], Key::new(2, 1))?;
    for local in 3..5 {
        drop(spill);
        spill = open(dir.path())?;
        let begun = spill.begin()?;
        let orphan = Orphan {
            first: Key::new(local - 1, 1),
            count: 1,
        };
        assert_eq!((begun.run.local, begun.orphans), (local, vec![orphan]));
        assert_eq!(read_after(&mut spill, None)?.orphans, []);
        renumber(&mut spill, vec![orphan], Key::new(local, 1))?;
    }
    // Once delivered, it is not announced again.
    settle(&mut spill, Key::new(4, 1))?;
    tick(&mut spill)?;
    drop(spill);
    assert_eq!(open(dir.path())?.begin()?.orphans, []);
    Ok(())
}

#[test]
fn a_whole_run_that_is_gone_is_an_orphan() -> Outcome {
    let dir = tempfile::tempdir()?;
    for _ in 1..=3 {
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=4))?;
    }
    std::fs::remove_file(&segment_files(dir.path())?[1])?;
    let (mut spill, _) = begun(dir.path())?;
    let reading = read_after(&mut spill, None)?;
    assert_eq!(numbers(&reading.records), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(
        reading.orphans,
        [Orphan {
            first: Key::new(2, 1),
            count: 4
        }]
    );
    assert_eq!(spill.view().corrupt, 4);
    audit(&mut spill)
}
