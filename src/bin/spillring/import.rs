//! `spillring import`: imports the backlog of Agent Assembly's event buffer.

use std::fmt::Write;
use std::path::PathBuf;

use indicatif::HumanCount;
use spillring::error::ImportError;
use spillring::operate::Imported;

use crate::console::{Exit, Problem, errln, refused, show};
use crate::logging::{self, Format};
use crate::spill_key::KeyArgs;
use crate::verify::counted;

/// Import the backlog of an event buffer of Agent Assembly, in order, into a spill directory
///
/// The next run with the directory delivers it, after the existing backlog. The entries keep their bytes and get new
/// numbers. A row that is not an entry becomes a dead letter and does not block later rows. A row is removed from the
/// buffer once it is safe in the spill. An interrupted import can be repeated: it goes on from there, and imports none
/// of the last 250,000 rows twice, not even from a copy of the file. Stop Agent Assembly first.
///
/// Exit code: 0 everything was imported; 2 bad usage, or a file cannot be read or written: nothing is lost, and the
/// error says what to do; 4 some rows are dead letters; 5 Agent Assembly, or a publisher, is running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The buffer, such as ~/.local/share/agent-assembly/buffer.db
    file: PathBuf,
    /// The directory for `--spill`; created if missing
    dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    logging::start("warn", Format::Text)?;
    match spillring::operate::import_with_key(&args.file, &args.dir, args.key.key()?.as_ref()) {
        Ok(done) => {
            show(&in_words(&done, args).map_err(Problem::new)?);
            Ok(if done.dead_letters == 0 {
                Exit::Done
            } else {
                Exit::Left
            })
        }
        Err(ImportError::Spill(error)) => refused(&error),
        Err(error @ ImportError::InUse { .. }) => {
            errln!("error: {error}");
            Ok(Exit::InUse)
        }
        Err(error) => Err(Problem::new(error)),
    }
}

fn in_words(done: &Imported, args: &Args) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut row = |name: &str, text: String| writeln!(out, "{name:<13} {text}");
    row("imported", counted(done.entries, "entry"))?;
    if done.dead_letters > 0 {
        row(
            "dead letters",
            format!(
                "{}, which are not entries: `spillring dead-letters {} list` shows them",
                HumanCount(done.dead_letters),
                args.dir.display()
            ),
        )?;
    }
    if done.known > 0 {
        row(
            "passed over",
            format!("{}, imported before", HumanCount(done.known)),
        )?;
    }
    Ok(out)
}
