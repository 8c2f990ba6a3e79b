//! The directory: modes, what durability rests on, the identity, the cap; and an index that is damaged, deleted, or
//! cannot be made, which keeps nobody from reading the backlog.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::spill::{DeadLetterReason, Keep, NewDeadLetter, Room};

use LossReason::DeadLettered;

fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

/// Three entries; the second is a dead letter.
fn with_a_letter(dir: &Path) -> Result<Arc<Run>, Box<dyn Error>> {
    let (mut spill, run) = begun(dir)?;
    let batch = records(&run, 1..=3);
    spill.append(&batch)?;
    let letter = NewDeadLetter {
        record: batch[1].clone(),
        reason: DeadLetterReason::Rejected,
        detail: String::new(),
        keep: Keep::Yes,
    };
    spill
        .carry_out(Order::DeadLetter(vec![letter]), spill.now)
        .done?;
    Ok(run)
}

#[test]
fn nobody_else_may_read_it() -> Outcome {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("deep").join("spill");
    let (mut spill, run) = begun(&dir)?;
    spill.append(&records(&run, 1..=2))?;
    for folder in ["", "segments"] {
        assert_eq!(mode(&dir.join(folder))?, 0o700, "{folder}");
    }
    let segment = segment_files(&dir)?.remove(0);
    let mut log = segment.clone().into_os_string();
    log.push("-wal");
    let own = [
        "lock",
        "identity",
        "watermark",
        "index.sqlite3",
        "index.sqlite3-wal",
    ];
    let files = own
        .map(|name| dir.join(name))
        .into_iter()
        .chain([segment, log.into()]);
    for file in files {
        assert_eq!(mode(&file)?, 0o600, "{}", file.display());
    }
    let shared = |file: &PathBuf| file.to_string_lossy().ends_with("-shm");
    let mut files =
        std::fs::read_dir(dir.join("segments"))?.filter_map(|entry| Some(entry.ok()?.path()));
    assert!(
        !files.any(|file| shared(&file)),
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
        let mut spill = Spill::open(dir.path(), None, 1 << 30, durability)?;
        let run = spill.begin()?.run;
        spill.append(&records(&run, 1..=1))?;
        let pragma = |conn: &rusqlite::Connection, name: &str| {
            conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        let active = spill.active.as_ref().ok_or("no segment")?.connection();
        assert_eq!(
            pragma(active, "synchronous")?,
            i64::from(synchronous).into()
        );
        assert_eq!(pragma(active, "journal_mode")?, "wal".to_owned().into());
        assert_eq!(
            pragma(active, "locking_mode")?,
            "exclusive".to_owned().into()
        );
        // Runs and dead letters survive a power cut whatever the durability of the rest is.
        let of_index = spill.index.read(|conn| pragma(conn, "synchronous"))?;
        assert_eq!(of_index, 2.into());
    }
    Ok(())
}

#[test]
fn the_identity_stays_until_it_is_renewed() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let first = spill.publisher();
    assert_eq!(run.publisher, first);
    spill.append(&records(&run, 1..=1))?;
    drop(spill);
    let mut spill = open(dir.path())?;
    assert_eq!(spill.publisher(), first);
    let Done::Renewed(second) = spill.carry_out(Order::RenewIdentity, spill.now).done? else {
        return Err("another outcome".into());
    };
    assert_ne!(first, second);
    assert_eq!(all(&mut spill)?[0].run.publisher, second);
    let runs = spill.known_runs(&run);
    assert!(
        runs.key_of(&record(&run, 1).id()).is_some(),
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
    let spill = Spill::open(dir.path(), None, u64::MAX, SpillDurability::ProcessCrash)?;
    let bytes_max = spill.view().bytes_max;
    assert!(
        bytes_max > free / 4 && bytes_max < free * 3 / 4,
        "{bytes_max} of {free}"
    );
    drop(spill);
    let smaller = free / 8;
    let spill = Spill::open(dir.path(), None, smaller, SpillDurability::ProcessCrash)?;
    assert_eq!(spill.view().bytes_max, smaller);
    Ok(())
}

/// The directory is unlocked only once its files are closed.
#[test]
fn a_directory_in_use_is_refused_and_free_at_once_after_that() -> Outcome {
    let dir = tempfile::tempdir()?;
    let spill = open(dir.path())?;
    let refused = open(dir.path());
    let own = Some(std::process::id());
    assert!(
        matches!(refused, Err(SpillError::InUse { pid, .. }) if pid == own),
        "{refused:?}"
    );
    drop(spill);
    open(dir.path())?;
    Ok(())
}

#[test]
fn an_index_that_is_deleted_while_it_is_used_is_written_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    let batch = records(&run, 1..=3);
    spill.append(&batch)?;
    spill.index.absent.cover(Key::new(1, 2), 1, 7);
    spill.index.save(spill.now)?;
    std::fs::remove_file(dir.path().join("index.sqlite3"))?;
    tick(&mut spill)?;
    let image = killed(dir.path())?;
    let mut other = open(image.path())?;
    let read = all(&mut other)?;
    assert_eq!(read[1].losses, [loss(1, DeadLettered)]);
    assert_eq!(
        other.begin()?.run.previous.map(|previous| previous.id),
        Some(run.id)
    );
    Ok(())
}

/// A start waits for it, because it may pass, and then goes on without what cannot be read.
#[test]
fn an_index_that_is_damaged_at_rest_is_set_aside_after_some_patience() -> Outcome {
    let damaged = |at: usize| -> Result<(), String> {
        start_with_damage(at).map_err(|error| format!("{at}: {error}"))
    };
    std::thread::scope(|scope| {
        let starts = [0, 16_384].map(|at| scope.spawn(move || damaged(at)));
        let ended = starts.map(|start| {
            start
                .join()
                .unwrap_or_else(|_| Err("it panicked".to_owned()))
        });
        ended.into_iter().collect::<Result<Vec<()>, String>>()
    })?;
    Ok(())
}

fn start_with_damage(at: usize) -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = with_a_letter(dir.path())?;
    let file = dir.path().join("index.sqlite3");
    let mut bytes = std::fs::read(&file)?;
    let end_of_damage = if at == 0 { 4_096 } else { bytes.len() };
    bytes[at..end_of_damage].fill(0x5a);
    std::fs::write(&file, bytes)?;
    let asked = Instant::now();
    let (mut spill, next) = begun(dir.path())?;
    assert!(asked.elapsed() >= Duration::from_secs(10), "it may pass");
    assert_eq!(
        (next.local, next.previous.map(|previous| previous.id)),
        (2, Some(run.id))
    );
    assert_eq!(
        numbers(&all(&mut spill)?),
        [1, 2, 3],
        "nobody knows that it is a dead letter"
    );
    let names = std::fs::read_dir(dir.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(
        names
            .filter(|name| name.starts_with("index.damaged-"))
            .count(),
        1
    );
    spill.append(&records(&next, 1..=1))?;
    end(&mut spill, 1)?;
    drop(spill);
    let third = begun(dir.path())?.1;
    assert_eq!(
        (third.local, third.previous.map(|previous| previous.id)),
        (3, Some(next.id))
    );
    Ok(())
}

/// One that passes costs nothing.
#[test]
fn an_index_that_cannot_be_read_for_a_moment_is_read_then() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = with_a_letter(dir.path())?;
    let file = dir.path().join("index.sqlite3");
    let whole = std::fs::read(&file)?;
    std::fs::write(&file, vec![0x5a; whole.len()])?;
    let (mut spill, next) = std::thread::scope(|scope| {
        let started = scope.spawn(|| begun(dir.path()).map_err(|error| error.to_string()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!started.is_finished());
        restore(&file, &whole).map_err(|error| error.to_string())?;
        started
            .join()
            .unwrap_or_else(|_| Err("it panicked".to_owned()))
    })?;
    let read = all(&mut spill)?;
    assert_eq!(
        (numbers(&read), spill.view().totals.dead_letters.entries),
        (vec![1, 3], 1)
    );
    assert_eq!(
        (next.local, next.previous.map(|previous| previous.id)),
        (2, Some(run.id))
    );
    Ok(())
}

/// Writes in place: a file that was truncated first would be an empty index for a moment, which is a valid one.
fn restore(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(bytes)
}

/// A folder has its name: the backlog comes out, and is not forgotten.
#[test]
fn an_index_that_cannot_be_made_keeps_nobody_from_reading() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=3))?;
    drop(spill);
    let file = dir.path().join("index.sqlite3");
    std::fs::remove_file(&file)?;
    std::fs::create_dir(&file)?;
    let (mut spill, next) = begun(dir.path())?;
    assert_eq!(next.local, 2);
    assert_eq!(numbers(&all(&mut spill)?), [1, 2, 3]);
    settle(&mut spill, Key::new(1, 3))?;
    tick(&mut spill)?;
    assert_eq!((spill.view().room, spill.view().corrupt), (Room::Some, 0));
    Ok(())
}

#[test]
fn a_directory_that_is_moved_away_is_made_again() -> Outcome {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("spill");
    let (mut spill, run) = begun(&dir)?;
    spill.append(&records(&run, 1..=2))?;
    std::fs::rename(&dir, parent.path().join("moved"))?;
    tick(&mut spill)?;
    spill.append(&records(&run, 3..=4))?;
    let read = all(&mut spill)?;
    assert_eq!(numbers(&read), [3, 4]);
    assert_eq!(read[0].losses, [loss(2, LossReason::Corrupt)]);
    let publisher = spill.publisher();
    drop(spill);
    let mut spill = open(&dir)?;
    assert_eq!(spill.publisher(), publisher);
    assert_eq!(
        spill.begin()?.run.previous.map(|previous| previous.id),
        Some(run.id)
    );
    audit(&mut spill)
}

#[test]
fn a_spill_that_could_not_be_used_takes_nothing_and_fails_nothing_else() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = Spill::absent(dir.path());
    let mut carry = |order| spill.carry_out(order, Instant::now());
    let append = carry(Order::Append(records(&run, 1..=1).into()));
    assert!(matches!(append.done, Err(SpillError::Absent)));
    assert_eq!(append.view.room, Room::Absent);
    let losses = Vec::new();
    for order in [
        Order::Tick(status()),
        Order::Settle {
            through: Key::new(1, 1),
            entries: Counted::Unknown,
        },
        Order::OpenRuns(1),
        Order::Check,
        Order::DeadLetter(Vec::new()),
        Order::Read {
            after: None,
            entries_max: 1,
            bytes_max: 1,
        },
        Order::End {
            last_n: 1,
            first_n: 2,
            losses,
        },
    ] {
        carry(order).done?;
    }
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}
