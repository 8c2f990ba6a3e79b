//! The operator's binary.

mod demo;
mod run;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Audit entries from any thread to NATS JetStream or JSON lines, none lost.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does: a million entries through an outage, checked.
    Demo(demo::Args),
    /// Publish one JSON entry a line from a file or standard input.
    Run(run::Args),
    /// Say how things stand in a spill directory.
    Status(status::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Status(args) => status::main(&args),
    }
}
