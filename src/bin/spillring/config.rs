//! `spillring config`: checks the settings of `run`.

use clap::Subcommand;

use crate::console::{Exit, Problem, show};
use crate::settings::{Flags, Settings};

/// Check the settings of `run` without starting it
///
/// Exit code: 0 they are valid; 2 they are not, and stderr says which and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read the config file, the environment and the flags as `run` does, and check every value
    ///
    /// No directory, credentials file or server is opened; the key of an encrypted spill is read.
    Check(Flags),
}

pub(crate) fn main(args: Args) -> Result<Exit, Problem> {
    let Action::Check(flags) = args.action;
    let settings = Settings::settle(flags)?;
    settings.config.validate().map_err(Problem::new)?;
    drop(settings.sink()?);
    let (to, choice) = (settings.destination(), settings.choice());
    let spill = settings.config.spill_dir.display();
    show(&format!(
        "ok: entries go to {to}{choice}; the backlog is kept in {spill}\n"
    ));
    Ok(Exit::Done)
}
