//! The key of an encrypted spill: from a flag, else the environment, else the config file.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};

use spillring::config::SpillKey;
use spillring::error::ConfigError;

use crate::console::Problem;

/// The variable that holds a key.
const VARIABLE: &str = "SPILLRING_SPILL_KEY";

#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// File with the key of an encrypted spill: 64 hexadecimal digits, Base64, or 32 bytes [default: the key in
    /// `SPILLRING_SPILL_KEY`, or none]
    #[arg(long, value_name = "FILE", global = true)]
    spill_key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// The key, if there is one.
    pub(crate) fn key(&self) -> Result<Option<SpillKey>, Problem> {
        self.key_or(None)
    }

    /// The same with the file that the settings name.
    pub(crate) fn key_or(&self, in_settings: Option<&Path>) -> Result<Option<SpillKey>, Problem> {
        if let Some(file) = &self.spill_key_file {
            return from_file(file).map(Some);
        }
        if let Some(key) = from_environment()? {
            return Ok(Some(key));
        }
        in_settings.map(from_file).transpose()
    }
}

fn from_file(file: &Path) -> Result<SpillKey, Problem> {
    let key = SpillKey::from_file(file);
    key.map_err(|error: ConfigError| {
        Problem::new(format_args!("the key of the spill {}", error.problem))
    })
}

/// An empty variable is an error: otherwise entries would go to disk in plain text.
fn from_environment() -> Result<Option<SpillKey>, Problem> {
    match env::var(VARIABLE) {
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Problem::new(format_args!("{VARIABLE} is not text"))),
        Ok(text) => SpillKey::from_text(&text)
            .map(Some)
            .map_err(|error| Problem::new(format_args!("{VARIABLE} {}", error.problem))),
    }
}
