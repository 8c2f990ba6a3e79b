//! Trying again: a disk that fails for a moment, while a publisher starts, has lost nothing.

use std::time::Duration;

use crate::change::{now, pause};
use crate::error::SpillError;

/// How long a start tries again what the disk fails to do, and how often.
const LIMIT: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(20);

/// Tries until it succeeds, the limit has passed, or the error is one that does not pass.
pub(super) fn patiently<T>(
    mut attempt: impl FnMut() -> Result<T, SpillError>,
) -> Result<T, SpillError> {
    let deadline = now() + LIMIT;
    loop {
        match attempt() {
            Err(error) if error.may_pass() && now() < deadline => pause(EVERY),
            done => return done,
        }
    }
}
