//! The operator's binary: the library's public face, on a command line.

mod dead_letters;
mod demo;
mod export;
mod import;
mod key;
mod latency;
mod logging;
mod nats;
mod owner;
mod proof;
mod run;
mod settings;
mod signals;
mod status;
mod target;
mod telling;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use telling::{Exit, tell};

/// Audit entries from any thread to `JetStream` of NATS or to JSON lines, none lost
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    DeadLetters(dead_letters::Args),
    Demo(demo::Args),
    Export(export::Args),
    Import(import::Args),
    Key(key::Args),
    Proof(proof::Args),
    Run(run::Args),
    Status(status::Args),
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::DeadLetters(args) => dead_letters::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Import(args) => import::main(&args),
        Command::Key(args) => key::main(&args),
        Command::Proof(args) => proof::main(&args),
        Command::Run(args) => run::main(args),
        Command::Status(args) => status::main(&args),
        Command::Verify(args) => verify::main(&args),
    };
    done.unwrap_or_else(|problem| {
        tell!("error: {problem}");
        Exit::Usage
    })
    .into()
}
