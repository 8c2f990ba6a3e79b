//! The directory: modes, identity, the pragmas that durability rests on, schemas to come, and the status of it all.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::spill::schema;
use crate::stats::{Health, State, Stats, Status};
use crate::status::{status, write_status};

fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn nobody_else_may_read_it() -> Outcome {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("deep").join("spill");
    let mut spill = open(&dir)?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=2))?;
    for folder in ["", "db"] {
        assert_eq!(mode(&dir.join(folder))?, 0o700, "{folder}");
    }
    for file in [
        "lock",
        "identity",
        "db/spill.sqlite3",
        "db/spill.sqlite3-wal",
    ] {
        assert_eq!(mode(&dir.join(file))?, 0o600, "{file}");
    }
    assert!(
        !dir.join("db/spill.sqlite3-shm").exists(),
        "the lock is not exclusive"
    );
    Ok(())
}

#[test]
fn durability_is_what_was_asked_for() -> Outcome {
    for (durability, synchronous) in [
        (SpillDurability::PowerLoss, 2),
        (SpillDurability::ProcessCrash, 1),
    ] {
        let dir = tempfile::tempdir()?;
        let mut spill = Spill::open(dir.path(), 1 << 30, durability)?;
        spill.begin_run()?;
        let pragma = |name: &str| {
            let conn = spill.store.connection();
            conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        assert_eq!(pragma("synchronous")?, i64::from(synchronous).into());
        assert_eq!(pragma("journal_mode")?, "wal".to_owned().into());
        assert_eq!(pragma("locking_mode")?, "exclusive".to_owned().into());
        assert_eq!(pragma("page_size")?, schema::PAGE_BYTES.into());
    }
    Ok(())
}

#[test]
fn the_identity_stays_until_it_is_renewed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let first = spill.publisher();
    assert_eq!(run.publisher, first);
    spill.append([&record(&run, 1)])?;
    drop(spill);
    spill = open(dir.path())?;
    assert_eq!(spill.publisher(), first);
    let second = spill.renew_identity()?;
    assert_ne!(first, second);
    assert_eq!(all(&mut spill)?[0].run.publisher, second);
    assert!(
        spill.key_of(&record(&run, 1).id()).is_some(),
        "the run is still known"
    );
    drop(spill);
    assert_eq!(open(dir.path())?.publisher(), second);
    Ok(())
}

#[test]
fn the_cap_is_half_of_the_disk_at_most() -> Outcome {
    let dir = tempfile::tempdir()?;
    let disk = rustix::fs::statvfs(dir.path())?;
    let free = disk.f_bavail * disk.f_frsize;
    let spill = Spill::open(dir.path(), u64::MAX, SpillDurability::ProcessCrash)?;
    assert!(
        spill.bytes_max() < free * 3 / 4,
        "{} of {free}",
        spill.bytes_max()
    );
    assert!(
        spill.bytes_max() > free / 4,
        "{} of {free}",
        spill.bytes_max()
    );
    drop(spill);
    assert_eq!(open(dir.path())?.bytes_max(), 1 << 30);
    Ok(())
}

#[test]
fn status_at_rest_is_the_depth_of_the_spill() -> Outcome {
    let dir = tempfile::tempdir()?;
    assert!(matches!(
        status(dir.path()),
        Err(SpillError::Missing { .. })
    ));
    assert_eq!(
        std::fs::read_dir(dir.path())?.count(),
        0,
        "looking made something"
    );
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    spill.append(&records(&run, 1..=3))?;
    let (totals, publisher) = (spill.totals(), spill.publisher());
    drop(spill);
    let seen = status(dir.path())?;
    assert_eq!(
        (seen.publisher, seen.run, seen.pid),
        (Some(publisher), Some(run.id), None)
    );
    assert_eq!(
        (seen.stats.spilled, seen.stats.spill_bytes),
        (3, totals.bytes)
    );
    assert_eq!(seen.stats.state, State::Stopped);
    assert!(seen.stats.oldest_entry_age.is_some());
    open(dir.path())?;
    Ok(())
}

#[test]
fn status_of_a_running_publisher_is_what_it_said() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut spill = open(dir.path())?;
    let run = spill.begin_run()?;
    let pid = Some(std::process::id());
    let before = status(dir.path())?;
    assert_eq!(
        (before.run, before.pid),
        (None, pid),
        "it has not said anything yet"
    );
    let mut said = Status {
        publisher: Some(spill.publisher()),
        health: Health::InUse,
        damage: None,
        run: Some(run.id),
        pid,
        at_ms: 5,
        dead_letters: 2,
        dead_letter_bytes: 0,
        quarantined: Vec::new(),
        stats: Stats {
            accepted: 9,
            ..Stats::default()
        },
    };
    write_status(dir.path(), &said)?;
    assert_eq!(mode(&dir.path().join("status.json"))?, 0o600);
    assert_eq!(status(dir.path())?, said);
    said.pid = Some(1);
    write_status(dir.path(), &said)?;
    assert_eq!(
        status(dir.path())?.run,
        None,
        "the word of an earlier process"
    );
    spill.append(&records(&run, 1..=3))?;
    Ok(())
}
