//! Parts that freeze the spill's disk: they run in this bench started again, with the shim of `tests/faults` loaded.

use std::path::Path;
use std::process::Command;

use crate::shim::{CONTROL, EVERYTHING, Fault, Rule, Shim};
use crate::support::args::Args;
use crate::support::bench::eventually;

/// Set in the restarted process: the one part that it runs.
const PART: &str = "SPILLRING_BENCH_PART";

/// Whether this process runs the part.
pub(crate) fn wants(args: &Args, part: &str) -> bool {
    std::env::var(PART).map_or_else(|_| args.wants(part), |only| only == part)
}

pub(crate) fn is_loaded() -> bool {
    std::env::var_os(CONTROL).is_some()
}

/// Runs `work` in a process with the shim. The calling one starts that, with the same arguments, and waits for it.
pub(crate) fn with_shim(part: &str, work: impl FnOnce(&Shim)) {
    if is_loaded() {
        return work(&Shim::own());
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut again = Command::new(std::env::current_exe().expect("this bench"));
    again.args(std::env::args_os().skip(1)).env(PART, part);
    Shim::new(home.path().join("rules")).load_into(&mut again);
    let status = again.status().expect("it starts");
    assert!(status.success(), "{part} with the shim: {status}");
}

/// From now on every call on a file of the spill hangs, until the fault is dropped. Waits until one does.
pub(crate) fn freeze<'s>(shim: &'s Shim, spill: &Path) -> Fault<'s> {
    let fault = shim.begin(&Rule::hang(EVERYTHING, format!("{}*", spill.display())));
    eventually("the disk hangs", || fault.hanging() > 0);
    fault
}
