//! x
use std::process::ExitCode;
/// x
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn main(_: &Args) -> ExitCode {
    ExitCode::SUCCESS
}
