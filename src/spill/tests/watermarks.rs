//! A watermark that is lost, torn, or an older copy: nothing is lost, nothing counts as damaged, and only what was
//! delivered and is still in a segment may come again.

use super::*;

/// Ten segments of entries; the first half is delivered and removed.
fn half_delivered(dir: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut spill = open_small(dir, 1_000)?;
    let run = spill.begin()?.run;
    let old = std::fs::read(dir.join("watermark"))?;
    for chunk in records(&run, 1..=200).chunks(5) {
        spill.append(chunk)?;
    }
    settle(&mut spill, Key::new(1, 110))?;
    tick(&mut spill)?;
    Ok(old)
}

fn mangled(how: &str, dir: &Path, old: &[u8]) -> Outcome {
    let file = dir.join("watermark");
    match how {
        "kept" => {}
        "lost" => std::fs::remove_file(file)?,
        "older" => std::fs::write(file, old)?,
        "torn" => {
            let mut bytes = std::fs::read(&file)?;
            for byte in &mut bytes {
                *byte ^= 1;
            }
            std::fs::write(file, bytes)?;
        }
        _ => std::fs::write(file, b"")?,
    }
    Ok(())
}

#[test]
fn what_is_not_delivered_comes_out_whatever_becomes_of_the_watermark() -> Outcome {
    for how in ["kept", "lost", "older", "torn", "empty"] {
        let dir = tempfile::tempdir()?;
        let old = half_delivered(dir.path())?;
        let image = killed(dir.path())?;
        mangled(how, image.path(), &old)?;
        let (mut spill, run) = begun(image.path())?;
        assert_eq!(run.local, 2);
        let read = all(&mut spill)?;
        assert_eq!(numbers(&read), (111..=200).collect::<Vec<_>>(), "{how}");
        assert!(read.iter().all(|record| record.losses.is_empty()));
        assert_eq!(
            (spill.view().corrupt, spill.view().surplus),
            (0, 0),
            "{how}"
        );
        audit(&mut spill)?;
    }
    Ok(())
}

/// Nothing was removed since, so what is in the segment comes again.
#[test]
fn what_was_delivered_since_comes_again_from_an_older_copy() -> Outcome {
    for how in ["lost", "older"] {
        let dir = tempfile::tempdir()?;
        let (mut spill, run) = begun(dir.path())?;
        spill.append(&records(&run, 1..=10))?;
        let old = std::fs::read(dir.path().join("watermark"))?;
        spill.append(&records(&run, 11..=20))?;
        settle(&mut spill, Key::new(1, 15))?;
        let image = killed(dir.path())?;
        mangled(how, image.path(), &old)?;
        let mut spill = open(image.path())?;
        assert_eq!(
            numbers(&all(&mut spill)?),
            (1..=20).collect::<Vec<_>>(),
            "{how}"
        );
        assert_eq!(settle(&mut spill, Key::new(1, 15))?, 15);
        audit(&mut spill)?;
        settle(&mut spill, Key::new(1, 20))?;
        assert_eq!((spill.view().corrupt, spill.view().surplus), (0, 0));
    }
    Ok(())
}

/// With a deleted log newer rows are gone, and only the watermark knows of them.
#[test]
fn a_watermark_that_cannot_be_made_again_stops_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=3))?;
    let image = killed(dir.path())?;
    let file = image.path().join("watermark");
    std::fs::remove_file(&file)?;
    std::fs::create_dir(&file)?;
    let mut spill = open(image.path())?;
    assert_eq!(numbers(&all(&mut spill)?), [1, 2, 3]);
    settle(&mut spill, Key::new(1, 2))?;
    std::fs::remove_dir(&file)?;
    tick(&mut spill)?;
    let again = killed(image.path())?;
    assert_eq!(numbers(&all(&mut open(again.path())?)?), [3]);
    Ok(())
}

#[test]
fn one_that_is_deleted_while_it_is_used_is_made_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=3))?;
    settle(&mut spill, Key::new(1, 2))?;
    std::fs::remove_file(dir.path().join("watermark"))?;
    tick(&mut spill)?;
    let image = killed(dir.path())?;
    assert_eq!(numbers(&all(&mut open(image.path())?)?), [3]);
    Ok(())
}

/// Killed between the two, the index knows of a dead letter, and the watermark does not.
#[test]
fn what_was_taken_out_before_a_kill_is_not_counted() -> Outcome {
    use crate::spill::{DeadLetterReason, Keep, NewDeadLetter};
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = records(&run, 1..=5);
    spill.append(&batch)?;
    let old = std::fs::read(dir.path().join("watermark"))?;
    let letter = NewDeadLetter {
        record: batch[2].clone(),
        reason: DeadLetterReason::Rejected,
        detail: String::new(),
        keep: Keep::Yes,
    };
    spill
        .carry_out(Order::DeadLetter(vec![letter]), spill.now)
        .done?;
    let image = killed(dir.path())?;
    mangled("older", image.path(), &old)?;
    let mut spill = open(image.path())?;
    assert_eq!(numbers(&all(&mut spill)?), [1, 2, 4, 5]);
    audit(&mut spill)?;
    settle(&mut spill, Key::new(1, 5))?;
    assert_eq!((spill.view().corrupt, spill.view().surplus), (0, 0));
    Ok(())
}
