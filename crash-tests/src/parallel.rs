//! Checking many disks at the same time.
#![allow(clippy::print_stderr, reason = "said by a test")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::disks::Disks;
use crate::trace::Event;

/// Disks checked at the same time: most of it is waiting.
const WORKERS: usize = 8;
/// One disk in so many is checked, unless all are asked for.
const SAMPLE: u8 = 16;

/// Checks the disks that a power cut may leave of this run, and answers how many there were: all with
/// `SPILLRING_ALL_CUTS=1`, else a sample. Says which one it was that a check panicked on, and goes on with no more
/// then.
pub fn check_each(events: &[Event], check: impl Fn(&Disk) + Sync) -> usize {
    let checked = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let (to_workers, disks) = sync_channel::<Disk>(WORKERS);
    // Gone with the last worker, so that nobody waits for one then.
    let disks = Arc::new(Mutex::new(disks));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (disks, checked, failed, check) = (Arc::clone(&disks), &checked, &failed, &check);
            scope.spawn(move || {
                let next = || disks.lock().unwrap().recv().ok();
                while let (false, Some(disk)) = (failed.load(Ordering::Relaxed), next()) {
                    let label = Label(&disk, failed);
                    check(&disk);
                    drop(label);
                    checked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        drop(disks);
        let seed = events.len() as u64;
        let all = std::env::var_os("SPILLRING_ALL_CUTS").is_some_and(|all| !all.is_empty());
        let sample = if all { 1 } else { SAMPLE };
        Disks::of(events.to_vec(), seed, sample).each(|disk| match to_workers.send(disk) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        drop(to_workers);
    });
    checked.into_inner()
}

/// A folder in memory, where there is one: what is tested is not the disk.
#[must_use]
pub fn memory() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() {
        shm
    } else {
        std::env::temp_dir()
    }
}

/// Says which disk it was, if its check panics, and keeps it where `CRASH_TESTS_KEEP` says.
struct Label<'t>(&'t Disk, &'t AtomicBool);

impl Drop for Label<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.1.swap(true, Ordering::Relaxed) {
            return;
        }
        eprintln!("failed on {}", self.0);
        if let Some(keep) = std::env::var_os("CRASH_TESTS_KEEP") {
            self.0.write(&PathBuf::from(keep));
        }
    }
}
