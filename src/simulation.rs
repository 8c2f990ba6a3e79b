//! A simulation that attacks the core: the real ring, drainer, policy, pipeline and spill, on one thread and in
//! virtual time. A scheduler with a seed plays publishers, sinks, the disk, and the death of the process.
//!
//! A judge keeps its own journal and checks that nothing promised is lost, nothing is duplicated or reordered; that
//! every loss is counted and announced; that the law holds after each turn; that a flush succeeds only when it is
//! true; and every bound on memory and time. The same seed gives the same schedule, byte for byte.
//!
//! ```text
//! schedule ──▶ world ──▶ process: ring, drainer ──▶ desk ──▶ spill ──▶ disk ──▶ files (what a power cut leaves)
//!                │                             └──▶ desk ──▶ sink
//!                └─────▶ judge, verdict
//! ```
//!
//! `SPILLRING_SIM_SECONDS` sets how long the test runs, `SPILLRING_SIM_SEED` repeats one schedule and prints it.

mod breaks;
mod checks;
mod disk;
mod entry;
mod files;
mod judge;
mod orders;
mod plan;
mod process;
mod schedule;
mod sinks;
mod stream;
mod tests;
mod verdict;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::change::watch_changes;
use breaks::Break;
use world::World;

/// The result of a schedule.
#[derive(Debug)]
struct Ran {
    trace: String,
    errors: Vec<String>,
    found: Result<(), String>,
    entries: usize,
    processes: usize,
    flushes: u64,
}

/// Runs the schedule of a seed, perhaps with one promise broken on purpose.
fn run(seed: u64, broken: Option<Break>) -> Ran {
    static ORDINAL: AtomicU64 = AtomicU64::new(0);
    quiet();
    let ordinal = ORDINAL.fetch_add(1, Ordering::Relaxed);
    let dir = folder().join(format!("spillring-sim-{}-{ordinal:08}", std::process::id()));
    std::fs::create_dir(&dir).expect("a folder");
    let dir = dir.canonicalize().expect("the folder");
    let mut world = World::new(seed, &dir, broken);
    let found = catch_unwind(AssertUnwindSafe(|| world.run()));
    let found = found.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    });
    let ran = Ran {
        found,
        entries: world.judge.facts.len(),
        processes: world.processes,
        flushes: world.judge.flushes_kept,
        errors: std::mem::take(&mut world.errors),
        trace: std::mem::take(&mut world.trace),
    };
    world.disk.die_after(0);
    drop(world);
    watch_changes(None);
    std::fs::remove_dir_all(&dir).expect("the folder");
    ran
}

/// In memory, if possible: the disk is not under test.
fn folder() -> PathBuf {
    crash_tests::memory()
}

/// Silences encoders that panic on purpose.
fn quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let on_purpose = info.payload().downcast_ref::<&str>() == Some(&"on purpose");
            if !on_purpose {
                before(info);
            }
        }));
    });
}
