//! `spillring export`: writes the backlog as JSON lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::HumanCount;
use spillring::config::SpillKey;
use spillring::error::ExportError;
use spillring::operate::Exported;

use crate::console::{Exit, Problem, errln, refused};
use crate::spill_key::KeyArgs;
use crate::verify::counted;

/// Write the backlog of a publisher that is not running as JSON lines
///
/// Writes the entries that the next start would deliver, oldest first; of a damaged spill, those that can be read.
/// Nothing in the directory changes. Each line has `run` and `n`, the Audit-Id in the stream; `lost`, the count of lost
/// numbers directly before it; `subject`; `popped_ms`, in milliseconds since 1970; and `entry`, the bytes of the entry
/// as they are, or, if they are not JSON on one line, `bytes`, the same in Base64.
///
/// Exit code: 0 everything was exported; 2 bad usage, or it cannot be read or written now; 3 something could not be
/// read, as reported on stderr; 5 a publisher is running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that was given as `--spill`
    dir: PathBuf,
    /// File to create; an existing file is not overwritten [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let key = args.key.key()?;
    let exported = if let Some(path) = &args.output {
        to_file(&args.dir, key.as_ref(), path)?
    } else {
        let mut out = BufWriter::new(io::stdout().lock());
        spillring::operate::export_with_key(&args.dir, key.as_ref(), &mut out)
    };
    match exported {
        Ok(exported) => {
            report(&exported);
            Ok(if exported.is_complete() {
                Exit::Done
            } else {
                Exit::Lost
            })
        }
        Err(ExportError::Spill(error)) => refused(&error),
        Err(error) => Err(Problem::new(error)),
    }
}

/// Writes to a new file. Removes it if the export fails.
fn to_file(
    dir: &Path,
    key: Option<&SpillKey>,
    path: &Path,
) -> Result<Result<Exported, ExportError>, Problem> {
    let named = |error| Problem::new(format_args!("cannot create {}: {error}", path.display()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(named)?;
    let exported = write_to(dir, key, &file);
    if exported.is_err()
        && let Err(error) = fs::remove_file(path)
    {
        errln!(
            "{} is not complete, and cannot be removed: {error}",
            path.display()
        );
    }
    Ok(exported)
}

fn write_to(dir: &Path, key: Option<&SpillKey>, file: &File) -> Result<Exported, ExportError> {
    let mut out = BufWriter::new(file);
    let exported = spillring::operate::export_with_key(dir, key, &mut out)?;
    out.flush()
        .and_then(|()| file.sync_all())
        .map_err(ExportError::Write)?;
    Ok(exported)
}

fn report(exported: &Exported) {
    errln!("{} exported", counted(exported.entries, "entry"));
    for (count, what) in [
        (exported.missing, "entries are damaged or missing"),
        (exported.dead_letters, "dead letters are not exported"),
    ] {
        if count > 0 {
            errln!("{} {what}", HumanCount(count));
        }
    }
    for segment in &exported.quarantined {
        errln!(
            "{} is skipped: its readable entries were delivered",
            segment.display()
        );
    }
}
