use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::*;
use crate::change::{WatchChanges, watch_changes};

fn level(n: u64) -> Level {
    Level {
        delivered: Key::new(3, n),
        newest: Key::new(3, 2 * n),
        backlog: Tally {
            entries: n,
            bytes: 900 * n,
        },
        dead_letters: n + 1,
        taken: n + 2,
    }
}

#[test]
fn a_torn_write_leaves_the_level_before_it() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("watermark");
    let (mut watermark, found) = Watermark::open(&path);
    assert_eq!(found, None);
    for n in 1..=7 {
        watermark.set(level(n));
    }
    assert!(watermark.sync());
    assert_eq!(Watermark::inspect(&path), Some(level(7)));
    for byte in 0..68 {
        let whole = std::fs::read(&path)?;
        let mut torn = whole.clone();
        torn[512 + byte] ^= 1;
        std::fs::write(&path, &torn)?;
        assert_eq!(Watermark::inspect(&path), Some(level(6)), "byte {byte}");
        std::fs::write(&path, &whole)?;
    }
    std::fs::write(&path, b"spillwm1")?;
    assert_eq!(Watermark::inspect(&path), None);
    Ok(())
}

/// Counts writes and syncs, and lets so many of the next syncs fail.
#[derive(Default)]
struct Watch {
    writes: AtomicU32,
    syncs: AtomicU32,
    failing: AtomicU32,
}

impl WatchChanges for Watch {
    fn before(&self, change: Change<'_>) -> io::Result<()> {
        let one_less = |left: u32| left.checked_sub(1);
        let failing = &self.failing;
        if matches!(change, Change::Sync(_))
            && failing.fetch_update(Relaxed, Relaxed, one_less).is_ok()
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn after(&self, change: Change<'_>) {
        match change {
            Change::Write(..) => self.writes.fetch_add(1, Relaxed),
            Change::Sync(_) => self.syncs.fetch_add(1, Relaxed),
            _ => 0,
        };
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pause(&self, _: Duration) {}
}

/// Writes and syncs of `act`.
fn changes(failing: u32, act: impl FnOnce()) -> (u32, u32) {
    let watch = Arc::new(Watch::default());
    watch.failing.store(failing, Relaxed);
    watch_changes(Some(Arc::clone(&watch) as Arc<dyn WatchChanges>));
    act();
    watch_changes(None);
    (watch.writes.load(Relaxed), watch.syncs.load(Relaxed))
}

/// The kernel may drop a page that it could not write, and call the next sync a success.
#[test]
fn what_a_failed_sync_may_have_dropped_is_written_again() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut watermark, _) = Watermark::open(&dir.path().join("watermark"));
    watermark.set(level(1));
    assert_eq!(changes(1, || assert!(!watermark.sync())), (0, 0));
    assert_eq!(changes(0, || assert!(watermark.sync())), (1, 1));
    assert_eq!(changes(0, || assert!(watermark.sync())), (0, 0));
    Ok(())
}

/// A kill leaves what was written; a power cut after the next start must not take it back.
#[test]
fn what_an_earlier_process_wrote_is_synced() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("watermark");
    let (mut killed, _) = Watermark::open(&path);
    killed.set(level(1));
    drop(killed);
    let (mut watermark, found) = Watermark::open(&path);
    assert_eq!(found, Some(level(1)));
    assert_eq!(changes(0, || assert!(watermark.sync())), (0, 1));
    Ok(())
}

#[test]
fn nothing_is_synced_without_a_file() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("folder").join("watermark");
    let (mut watermark, _) = Watermark::open(&path);
    assert!(!watermark.sync());
    watermark.set(level(1));
    assert!(!watermark.sync() && !watermark.is_written());
    std::fs::create_dir(dir.path().join("folder"))?;
    watermark.reopen(&path)?;
    assert!(watermark.sync());
    assert_eq!(Watermark::inspect(&path), Some(level(1)));
    Ok(())
}
