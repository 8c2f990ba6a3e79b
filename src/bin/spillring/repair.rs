//! `spillring repair`: a new database out of what can be read of a damaged one.

use std::fmt::Write;
use std::path::PathBuf;

use indicatif::HumanCount;
use spillring::{Health, Repaired};

use crate::telling::{Exit, Problem, refused, show};

/// Set the database of a spill aside, and make a new one of all that can be read of it
///
/// A start does so by itself with a database that it finds damaged. This does it at once, and also if the disk fails to
/// read the database, which a start would wait for. Interrupted, the next start or repair goes on from there.
///
/// Exit code: 0 it is repaired, or was healthy; 2 bad usage, or the new database cannot be written; 5 a publisher is
/// running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that was given as `--spill`
    dir: PathBuf,
    /// Also if nothing is wrong with it
    #[arg(long)]
    force: bool,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    if !args.force {
        // One that cannot even be looked at has to be repaired.
        match spillring::status(&args.dir) {
            Ok(status) if status.health == Health::Healthy => {
                show("healthy, nothing to repair\n");
                return Ok(Exit::Done);
            }
            _ => {}
        }
    }
    match spillring::repair(&args.dir) {
        Ok(repaired) => {
            show(&in_words(&repaired).map_err(Problem::new)?);
            Ok(Exit::Done)
        }
        Err(error) => refused(&error),
    }
}

fn in_words(repaired: &Repaired) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut row = |name: &str, text: String| writeln!(out, "{name:<13} {text}");
    row(
        "salvaged",
        format!("{} entries", HumanCount(repaired.salvaged)),
    )?;
    let missing = match repaired.missing {
        0 => "none that is known of".to_owned(),
        missing => format!(
            "{} entries, which the stream will tell",
            HumanCount(missing)
        ),
    };
    row("missing", missing)?;
    for folder in &repaired.set_aside {
        row("set aside", folder.display().to_string())?;
    }
    Ok(out)
}
