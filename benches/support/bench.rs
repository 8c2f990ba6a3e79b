//! Waiting, as the tests' shim wants it too.

use std::time::{Duration, Instant};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10 * 60);
const POLL: Duration = Duration::from_micros(200);

/// Waits for a condition, with a limit.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "never came to pass: {what}");
        std::thread::sleep(POLL);
    }
}
