//! Waiting for a condition, with a limit.

use std::thread;
use std::time::{Duration, Instant};

/// How long is waited for anything: far longer than it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Looks again and again until there is something, and fails after a minute.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(LIMIT, what, look)
}

/// The same with another limit.
#[track_caller]
pub fn eventually_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}
