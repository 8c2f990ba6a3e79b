//! A database that was set aside is carried over in steps, which can be interrupted at any of them.

use super::*;
use crate::event::Key;
use crate::spill::{quarantine, repair};

const ENTRIES: u64 = 5_000;

fn set_aside(dir: &Path) -> Result<(), SpillError> {
    let mut spill = open(dir)?;
    let run = spill.begin_run()?;
    let mut batch = records(&run, 1..ENTRIES);
    batch.push(record_after(
        &run,
        ENTRIES + 7,
        &[loss(7, LossReason::QueueFull)],
    ));
    for chunk in batch.chunks(1_000) {
        spill.append(chunk)?;
    }
    spill.dead_letter(
        &record(&run, 3),
        DeadLetterReason::Rejected,
        "as the test wants it",
    )?;
    drop(spill);
    quarantine::set_aside(dir)
}

fn steps(spill: &mut Spill, count: usize) -> Outcome {
    for _ in 0..count {
        if spill.is_salvaging() {
            assert!(all(spill)?.is_empty(), "read before all is there");
            spill.salvage_step()?;
        }
    }
    Ok(())
}

#[test]
fn salvaging_goes_on_where_it_was_interrupted() -> Outcome {
    for interrupted_after in 0..7 {
        let dir = tempfile::tempdir()?;
        set_aside(dir.path())?;
        for _ in 0..3 {
            let mut spill = open(dir.path())?;
            assert!(spill.is_salvaging() || interrupted_after >= 5);
            steps(&mut spill, interrupted_after)?;
        }
        let mut spill = open(dir.path())?;
        // What is appended meanwhile goes behind what is carried over.
        let run = spill.begin_run()?;
        spill.append([&record(&run, 1)])?;
        steps(&mut spill, 20)?;
        assert!(!spill.is_salvaging());
        let read = all(&mut spill)?;
        let expected: Vec<u64> = (1..ENTRIES)
            .filter(|&n| n != 3)
            .chain([ENTRIES + 7, 1])
            .collect();
        assert_eq!(numbers(&read), expected);
        assert_eq!(read[2].losses, [loss(1, LossReason::DeadLettered)]);
        assert_eq!(spill.totals().dead_letters, 1);
        assert_eq!((spill.corrupt(), spill.surplus()), (0, 0));
        assert_eq!(spill.inherited(), spill.totals().entries);
        audit(&spill)?;
        assert_eq!(quarantine::quarantined(dir.path())?.len(), 1);
    }
    Ok(())
}

/// A repair that is killed leaves what a start leaves that is killed while it carries rows over.
#[test]
fn a_repair_goes_on_where_it_was_interrupted() -> Outcome {
    for interrupted_after in 0..7 {
        let dir = tempfile::tempdir()?;
        set_aside(dir.path())?;
        let mut spill = open(dir.path())?;
        steps(&mut spill, interrupted_after)?;
        drop(spill);
        let repaired = repair(dir.path())?;
        assert_eq!((repaired.salvaged, repaired.missing), (ENTRIES - 1, 0));
        let whole = interrupted_after < 5;
        let kept = quarantine::quarantined(dir.path())?;
        assert_eq!(kept.len(), if whole { 1 } else { 2 }, "{interrupted_after}");
        assert_eq!(repaired.set_aside.len(), 1, "{interrupted_after}");
        let mut spill = open(dir.path())?;
        assert_eq!(all(&mut spill)?.len() as u64, ENTRIES - 1);
        assert_eq!(spill.totals().dead_letters, 1);
        assert_eq!((spill.corrupt(), spill.surplus()), (0, 0));
        audit(&spill)?;
    }
    Ok(())
}

/// What the sink has taken while rows were carried over is not carried over any more.
#[test]
fn what_is_removed_meanwhile_stays_removed() -> Outcome {
    let dir = tempfile::tempdir()?;
    set_aside(dir.path())?;
    let mut spill = open(dir.path())?;
    steps(&mut spill, 1)?;
    spill.settle_through(Key::new(1, 2_500))?;
    steps(&mut spill, 20)?;
    let expected: Vec<u64> = (2_501..ENTRIES).chain([ENTRIES + 7]).collect();
    assert_eq!(numbers(&all(&mut spill)?), expected);
    audit(&spill)
}

/// The folder is a mount point, as the one of a volume of its own may be: its files are moved inside.
#[test]
fn a_folder_that_cannot_be_renamed_keeps_what_was_set_aside() -> Outcome {
    let dir = tempfile::tempdir()?;
    set_aside(dir.path())?;
    let waiting = quarantine::waiting(dir.path())?.expect("it was set aside");
    let name = waiting
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .replacen("db.", "", 1);
    let folder = dir.path().join("db");
    std::fs::create_dir(&folder)?;
    std::fs::rename(&waiting, folder.join(&name))?;
    let mut spill = open(dir.path())?;
    steps(&mut spill, 20)?;
    assert_eq!(spill.totals().entries, ENTRIES - 1);
    let kept = quarantine::quarantined(dir.path())?;
    assert_eq!(
        kept,
        [folder.join(name.replace("salvaging", "quarantined"))]
    );
    audit(&spill)
}

/// Neighbours that were in memory become dead letters while rows are carried over: their losses are one stretch, and
/// no row comes back into it.
#[test]
fn what_is_buried_meanwhile_does_not_come_back() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let batch = records(&run, 1..=5);
    spill.append(&batch)?;
    drop(spill);
    quarantine::set_aside(dir.path())?;
    let mut spill = open(dir.path())?;
    assert!(spill.is_salvaging());
    // As a mend does.
    spill.append(&batch[3..])?;
    for record in &batch[3..] {
        spill.dead_letter(record, DeadLetterReason::Rejected, "")?;
    }
    steps(&mut spill, 20)?;
    assert_eq!(numbers(&all(&mut spill)?), [1, 2, 3]);
    assert_eq!(
        spill.newest(),
        Some(Key::new(1, 3)),
        "nothing stands behind"
    );
    audit(&spill)
}
