//! `spillring key`: the public keys of a publisher, for auditors.

use std::path::PathBuf;

use serde::Serialize;
use spillring::seal::PublicKeys;

use crate::console::{Exit, Problem, show};

/// Show the public keys of a publisher, for auditors
///
/// A publisher makes a new key at each start: the previous key certifies it, and is erased. An auditor needs only the
/// first one; it goes into the file of `spillring verify --publishers`.
///
/// Exit code: 0 shown; 2 bad usage, or the keys cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Show(Show),
}

/// Print the first public key of a publisher, on one line
#[derive(Debug, clap::Args)]
struct Show {
    /// The directory that was given as `--spill`
    dir: PathBuf,
    /// Print a table for the file of `verify --publishers`, with the certificates that lead to the later keys: a trail
    /// that has lost its beginning may have lost them
    #[arg(long)]
    certificates: bool,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let Action::Show(args) = &args.action;
    let keys = PublicKeys::read(&args.dir).map_err(Problem::new)?;
    let keys = keys.ok_or_else(|| {
        Problem::new(format_args!(
            "{} has no signing keys: they are made at the first start, unless `signing` is \"off\"",
            args.dir.display()
        ))
    })?;
    if args.certificates {
        let table = Table {
            publisher: [Publisher {
                key: keys.first,
                certificates: keys.certificates,
            }],
        };
        show(&toml::to_string(&table).map_err(Problem::new)?);
    } else {
        show(&(keys.first + "\n"));
    }
    Ok(Exit::Done)
}

/// What `verify --publishers` reads.
#[derive(Serialize)]
struct Table {
    publisher: [Publisher; 1],
}

#[derive(Serialize)]
struct Publisher {
    key: String,
    certificates: Vec<String>,
}
