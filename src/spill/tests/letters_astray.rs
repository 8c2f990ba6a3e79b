//! Dead letters beside damage: of the database that they came from, and of one among them.

use super::letters::{alter, at, buried, ids, requeue_all};
use super::*;
use crate::dead_letters::{DeadLetters, Selection};
use crate::spill::quarantine;

/// A database that was damaged waits to be carried over, and the letters with it: what was removed, or put back into
/// the backlog, meanwhile must not come back.
#[test]
fn what_left_the_letters_while_rows_wait_to_be_carried_over_stays_gone() -> Outcome {
    for requeued in [false, true] {
        let dir = tempfile::tempdir()?;
        buried(dir.path(), 1..=3)?;
        quarantine::set_aside(dir.path())?;
        drop(open(dir.path())?);
        let letters = DeadLetters::open(dir.path())?;
        if requeued {
            assert_eq!(requeue_all(dir.path())?.len(), 3);
        } else {
            assert_eq!(letters.remove(&Selection::All, |_| ())?, 3);
        }
        drop(open(dir.path())?);
        assert_eq!(ids(dir.path())?, [], "requeued: {requeued}");
    }
    Ok(())
}

/// One flipped bit in what is no entry's bytes.
#[test]
fn a_letter_whose_text_is_no_text_holds_up_no_other() -> Outcome {
    for column in ["subject", "reason", "detail"] {
        let dir = tempfile::tempdir()?;
        let run = buried(dir.path(), 1..=3)?;
        let sql =
            format!("UPDATE dead_letters SET {column} = CAST(x'ff' AS TEXT) WHERE key & 0xff = 2");
        alter(dir.path(), &sql)?;
        assert_eq!(ids(dir.path())?.len(), 3, "{column}");
        // Only the subject is part of the entry.
        let moved = requeue_all(dir.path());
        assert_eq!(moved.is_err(), column == "subject", "{moved:?}");
        let left = if column == "subject" {
            vec![at(&run, 2)]
        } else {
            vec![]
        };
        assert_eq!(ids(dir.path())?, left, "{column}");
        DeadLetters::open(dir.path())?.remove(&Selection::All, |_| ())?;
        assert_eq!(ids(dir.path())?, [], "{column}");
    }
    Ok(())
}
