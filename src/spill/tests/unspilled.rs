//! Dead letters that no segment ever held.

use super::dead_letters::{dead_letter, letter};
use super::*;
use crate::spill::DeadLetterReason::Oversize;

use LossReason::{DeadLettered, QueueFull};

#[test]
fn one_that_was_never_spilled_is_kept_and_announced_by_what_follows() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let large = record_after(&run, 4, &[loss(1, QueueFull)]);
    dead_letter(&mut spill, vec![letter(&large, Oversize, "")])?;
    let both = [loss(1, QueueFull), loss(1, DeadLettered)];
    spill.append(&[record_after(&run, 5, &both)])?;
    let image = killed(dir.path())?;
    for mut spill in [spill, open(image.path())?] {
        assert_eq!(all(&mut spill)?[0].losses, both);
        assert_eq!(spill.view().totals.dead_letters.entries, 1);
        audit(&mut spill)?;
    }
    Ok(())
}

/// The entry after it was on its way to the disk before it became a dead letter, and so says nothing of its losses.
#[test]
fn what_was_lost_before_one_that_was_never_spilled_is_announced() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, [1]))?;
    dead_letter(
        &mut spill,
        vec![letter(&record_after(&run, 2, &[]), Oversize, "")],
    )?;
    let before = [loss(1, DeadLettered), loss(1, QueueFull)];
    dead_letter(
        &mut spill,
        vec![letter(&record_after(&run, 4, &before), Oversize, "")],
    )?;
    spill.append(&records(&run, [5]))?;
    let read = all(&mut spill)?;
    let announced = [
        loss(1, DeadLettered),
        loss(1, QueueFull),
        loss(1, DeadLettered),
    ];
    assert_eq!(read[1].losses, announced);
    Ok(())
}
