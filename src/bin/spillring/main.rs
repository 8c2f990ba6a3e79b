//! The operator's binary: the library's public API on the command line.

mod config;
mod console;
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
mod shell;
mod signals;
mod spill_key;
mod status;
mod verify;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use console::{Exit, errln};

/// Deliver audit entries to NATS `JetStream` or a JSON lines file, and lose none
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Completions(shell::CompletionsArgs),
    Config(config::Args),
    DeadLetters(dead_letters::Args),
    Demo(demo::Args),
    Export(export::Args),
    Import(import::Args),
    Key(key::Args),
    Man(shell::ManArgs),
    Proof(proof::Args),
    Run(run::Args),
    Status(status::Args),
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse_from(verbs_last(env::args_os())).command {
        Command::Completions(args) => Ok(shell::completions(&args, Cli::command())),
        Command::Config(args) => config::main(args),
        Command::DeadLetters(args) => dead_letters::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Import(args) => import::main(&args),
        Command::Key(args) => key::main(&args),
        Command::Man(args) => shell::man(&args, Cli::command()),
        Command::Proof(args) => proof::main(&args),
        Command::Run(args) => run::main(args),
        Command::Status(args) => status::main(&args),
        Command::Verify(args) => verify::main(&args),
    };
    done.unwrap_or_else(|problem| {
        errln!("error: {problem}");
        Exit::Usage
    })
    .into()
}

/// Accepts `dead-letters list DIR` for `dead-letters DIR list`.
fn verbs_last(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let verbs = ["list", "show", "requeue", "remove"];
    if arguments.len() > 3
        && arguments[1] == "dead-letters"
        && verbs.iter().any(|verb| arguments[2] == *verb)
        && !verbs.iter().any(|verb| arguments[3] == *verb)
    {
        arguments.swap(2, 3);
    }
    arguments
}
