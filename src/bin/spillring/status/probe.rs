//! `spillring status --probe`: whether a healthy publisher is running, for exec probes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spillring::stats::Status;
use spillring::{State, Stats};

use super::{Args, age, json, meaning};
use crate::console::{Exit, Problem, errln, show};
use crate::owner;

/// Writes only the JSON to stdout, if requested, and problems to stderr.
pub(super) fn main(args: &Args) -> Result<Exit, Problem> {
    let dir = args.dir.display();
    let status = match spillring::operate::running_status(&args.dir) {
        Ok(Some(status)) => status,
        Ok(None) => {
            errln!("no publisher is running in {dir}");
            return Ok(Exit::Broken);
        }
        Err(error) => {
            errln!("error: {}", owner::problem(&error));
            return Ok(Exit::Broken);
        }
    };
    if args.json {
        show(&json::of(&status)?);
    }
    Ok(match wrong(&status, args.max_age) {
        None => Exit::Done,
        Some(wrong) => {
            errln!("the publisher in {dir} {wrong}");
            Exit::Broken
        }
    })
}

/// What is wrong with a running publisher.
fn wrong(status: &Status, age_max: Duration) -> Option<String> {
    if status.run.is_none() {
        return Some("has not reported yet: it is starting".to_owned());
    }
    let old = distance(status.at_ms);
    if old > age_max {
        let (old, age_max) = (age(old), age(age_max));
        return Some(format!(
            "reported {old} ago, which is longer than {age_max}"
        ));
    }
    trouble(&status.stats).map(|trouble| format!("is not healthy: {trouble}"))
}

/// What is wrong with a publisher in this state, if entries may be lost.
pub(crate) fn trouble(stats: &Stats) -> Option<String> {
    match stats.state {
        State::Live | State::Spilling | State::Replaying => None,
        _ => Some(meaning(stats)),
    }
}

/// A report from the future is as bad as an old one: the clock was set back, and there was no report since.
fn distance(at_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    Duration::from_millis(now_ms.abs_diff(at_ms))
}
