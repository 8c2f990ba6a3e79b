//! `spillring completions` and `spillring man`: shell completion and man pages.

use std::io;

use clap::Command;
use clap_complete::Shell;

use crate::console::{Exit, Problem, show_bytes};

/// Write a completion script for a shell
///
/// For bash: `spillring completions bash > /etc/bash_completion.d/spillring`
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Write the man pages into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Target directory, such as /usr/local/share/man/man1
    dir: std::path::PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "spillring", &mut script);
    show_bytes(&script);
    Exit::Done
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Result<Exit, Problem> {
    let written = |error: io::Error| {
        let dir = args.dir.display();
        Problem::new(format_args!(
            "the man pages cannot be written to {dir}: {error}"
        ))
    };
    clap_mangen::generate_to(command, &args.dir).map_err(written)?;
    Ok(Exit::Done)
}
