//! `spillring status`: reports the state of a spill directory.

mod json;
mod probe;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanCount};
use spillring::stats::{Health, RingStatus, Status};
use spillring::{State, Stats};

use crate::console::{Exit, Problem, show};
use crate::demo::time;
use crate::owner;
use crate::spill_key::KeyArgs;
use crate::verify::counted;
pub(crate) use probe::trouble;

/// Show the state of a spill directory
///
/// While a publisher is running, this is its own report, at most a second old. Otherwise the whole spill is read, and
/// nothing is changed.
///
/// Exit code: 0 it is healthy; 1 it is damaged; 2 bad usage, or it cannot be read now; 5 it is in use by a publisher.
///
/// With `--probe`: exit code 0, and no output, if a publisher is running, has reported within `--max-age`, and is live,
/// spilling or replaying: it accepts entries, and none is about to be lost. Otherwise 1, and a message on stderr. Never
/// reads the spill.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that was given as `--spill`
    dir: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Check that a healthy publisher is running, for exec probes
    #[arg(long)]
    probe: bool,
    /// Maximum age of its last report; it reports once a second
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s", requires = "probe")]
    max_age: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    if args.probe {
        return probe::main(args);
    }
    let key = args.key.key()?;
    let status = spillring::operate::status_with_key(&args.dir, key.as_ref());
    let status = status.map_err(|error| owner::problem(&error))?;
    if args.json {
        show(&json::of(&status)?);
    } else {
        show(&in_words(&status).map_err(Problem::new)?);
    }
    Ok(match status.health {
        Health::Healthy => Exit::Done,
        Health::InUse => Exit::InUse,
        _ => Exit::Broken,
    })
}

fn in_words(status: &Status) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut row = |name: &str, text: String| writeln!(out, "{name:<13} {text}");
    let publisher = status.publisher.map(|id| id.to_string());
    row(
        "publisher",
        publisher.unwrap_or_else(|| "unknown: the next start takes a new id".to_owned()),
    )?;
    row("health", health(status))?;
    row("state", state(status))?;
    row("spill", spill(&status.stats))?;
    if let Some(found) = &status.ring {
        row("ring", ring(found))?;
    }
    for orphan in &status.orphans {
        row("other ring", ring(orphan) + "; no process has it")?;
    }
    row("dead letters", dead_letters(status))?;
    row("quarantined", quarantined(&status.quarantined))?;
    if status.pid.is_some() && status.run.is_some() {
        row("this run", this_run(&status.stats))?;
        row("lost", lost(&status.stats))?;
    }
    Ok(out)
}

fn health(status: &Status) -> String {
    let damage = status.damage.as_deref();
    match status.health {
        Health::Healthy => "healthy".to_owned(),
        Health::InUse => "in use".to_owned(),
        _ => format!("damaged: {}", damage.unwrap_or("cause unknown")),
    }
}

fn ring(ring: &RingStatus) -> String {
    let file = ring.file.display();
    match (ring.in_place, ring.bytes) {
        (false, _) => format!("{file} is gone: what is in it dies with the process"),
        (true, 0) => format!("{file}, empty"),
        (true, bytes) => format!(
            "{file}, {} neither delivered nor spilled",
            HumanBytes(bytes)
        ),
    }
}

fn quarantined(segments: &[PathBuf]) -> String {
    let names: Vec<_> = segments
        .iter()
        .map(|segment| segment.display().to_string())
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        count => format!("{count}: {}", names.join(", ")),
    }
}

fn state(status: &Status) -> String {
    match (status.pid, status.run) {
        (None, _) if status.health == Health::InUse => "a publisher is starting".to_owned(),
        (None, _) => "no publisher is running".to_owned(),
        (Some(pid), None) => {
            format!("running as process {pid}, which has not reported yet")
        }
        (Some(pid), Some(_)) => format!(
            "running as process {pid}: {}, {} ago",
            meaning(&status.stats),
            age(since(status.at_ms))
        ),
    }
}

pub(crate) fn meaning(stats: &Stats) -> String {
    let meaning = match stats.state {
        State::Live if !stats.sink_up => "live, the sink does not answer",
        State::Live => "live, entries go to the sink",
        State::Spilling => "spilling, the sink takes nothing",
        State::Replaying => "replaying, the backlog goes to the sink",
        State::SpillFull => "the spill is full and the sink takes nothing",
        State::DiskAway => "neither sink nor disk takes anything",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        other => other.as_str(),
    };
    let trouble = stats.sink_trouble.as_ref();
    trouble.map_or_else(
        || meaning.to_owned(),
        |trouble| format!("{meaning} ({trouble})"),
    )
}

fn spill(stats: &Stats) -> String {
    let cap = match stats.spill_bytes_max {
        0 | u64::MAX => String::new(),
        bytes => format!(" of at most {}", HumanBytes(bytes)),
    };
    if stats.spilled == 0 {
        return format!("empty{}", cap.replace(" of", ","));
    }
    let oldest = stats.oldest_entry_age.map_or_else(String::new, |oldest| {
        format!("; the oldest has waited for {}", age(oldest))
    });
    format!(
        "{}, {}{cap}{oldest}",
        counted(stats.spilled, "entry"),
        HumanBytes(stats.spill_bytes)
    )
}

fn this_run(stats: &Stats) -> String {
    let count = |n| HumanCount(n);
    let inherited = if stats.inherited > 0 {
        format!(", {} inherited", count(stats.inherited))
    } else {
        String::new()
    };
    format!(
        "{} accepted, {} delivered ({} of them replayed), {} in memory{inherited}",
        count(stats.accepted),
        count(stats.delivered),
        count(stats.replayed),
        count(stats.in_ring + stats.in_memory),
    )
}

fn dead_letters(status: &Status) -> String {
    let count = count_or_none(status.dead_letters);
    match status.dead_letter_bytes {
        0 => count,
        bytes => format!("{count}, {}", HumanBytes(bytes)),
    }
}

fn lost(stats: &Stats) -> String {
    count_or_none(stats.lost.total() + stats.discarded.total())
}

fn count_or_none(count: u64) -> String {
    if count == 0 {
        "none".to_owned()
    } else {
        HumanCount(count).to_string()
    }
}

pub(crate) fn since(at_ms: u64) -> Duration {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(at_ms))
        .and_then(|at| at.elapsed().ok())
        .unwrap_or_default()
}

/// In at most two units.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", age.as_secs_f64()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
