//! The config file: reads our tables, and explains what is wrong with them.

use std::path::Path;

use serde::de::DeserializeOwned;
use spillring::{Config, NatsConfig};
use toml::{Table, Value};

use crate::console::{Problem, errln};

/// The keys of `[spillring]` that are not the library's.
const OWN_KEYS: [&str; 4] = ["input", "sink", "shutdown_max", "spill_key_file"];

/// The table in `[spillring]`.
const NATS: &str = "nats";

/// The tables of the file. Without a file, all are empty.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) library: Table,
    pub(super) own: Table,
    pub(super) nats: Option<Table>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::new(format_args!(
                "the config file {name} cannot be read: {error}"
            ))
        })?;
        let mut whole: Table =
            toml::from_str(&text).map_err(|error| no_toml(&name, &text, &error))?;
        let mut library = table_of(&mut whole, "spillring", &name)?.ok_or_else(|| {
            Problem::new(format_args!(
                "{name} has no table [spillring]: write the settings below a line [spillring], and those of NATS \
                 below a line [spillring.nats]"
            ))
        })?;
        let nats = table_of(&mut library, NATS, &name)?;
        let known = keys_of_library()?;
        if nats.is_none() && whole.get(NATS).is_some_and(Value::is_table) {
            return Err(Problem::new(format_args!(
                "[nats] in {name} is outside of [spillring]: write it as [spillring.nats]"
            )));
        }
        report_strays(&whole, &known, &name);
        let own = OWN_KEYS
            .into_iter()
            .filter_map(|key| library.remove_entry(key))
            .collect();
        check_keys(&library, &known, &name)?;
        Ok(Self {
            name,
            library,
            own,
            nats,
        })
    }

    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        table: &Table,
        title: &str,
    ) -> Result<T, Problem> {
        table.clone().try_into().map_err(|error: toml::de::Error| {
            let place = if self.name.is_empty() {
                "the flags".to_owned()
            } else {
                format!("{title} of {}", self.name)
            };
            let what = error.to_string().trim_end().replace('\n', " ");
            let remedy = if what.contains("expected a duration") {
                ": write it like \"1s\" or \"250ms\""
            } else {
                ""
            };
            Problem::new(format_args!("{place}: {what}{remedy}"))
        })
    }

    pub(super) fn parse_nats(&self) -> Result<NatsConfig, Problem> {
        let table = self.nats.clone().unwrap_or_default();
        self.parse(&table, "[spillring.nats]")
    }
}

/// Does not quote the line: it may contain a secret.
fn no_toml(name: &str, text: &str, error: &toml::de::Error) -> Problem {
    let start = error.span().map_or(0, |span| span.start);
    let line = text
        .bytes()
        .take(start)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1;
    let what = error.message();
    Problem::new(format_args!(
        "the config file {name} is not valid TOML: line {line}: {what}"
    ))
}

fn keys_of_library() -> Result<Vec<String>, Problem> {
    let mut all = Config::new("spill");
    // `None` would not be written.
    all.import = Some("buffer.db".into());
    all.ring_dir = Some("/dev/shm".into());
    all.signing_key = Some("signing.key".into());
    all.replay_rate_max = Some(1);
    let all = Table::try_from(all).map_err(Problem::new)?;
    Ok(all.into_iter().map(|(key, _)| key).collect())
}

/// The remaining keys of `[spillring]` must be the library's.
fn check_keys(library: &Table, known: &[String], name: &str) -> Result<(), Problem> {
    let Some(unknown) = library.keys().find(|key| !known.contains(key)) else {
        return Ok(());
    };
    let known = known.iter().map(String::as_str);
    let known: Vec<_> = known
        .chain(OWN_KEYS)
        .chain([NATS])
        .map(|key| format!("`{key}`"))
        .collect();
    Err(Problem::new(format_args!(
        "[spillring] of {name}: unknown key `{unknown}`; the keys are {}",
        known.join(", ")
    )))
}

/// Reports keys outside of `[spillring]` that look as if they belonged there. They may be another program's.
fn report_strays(whole: &Table, known: &[String], name: &str) {
    for (key, value) in whole {
        let ours = known.contains(key) || OWN_KEYS.contains(&key.as_str());
        if ours && !value.is_table() {
            errln!("`{key}` in {name} is outside of [spillring], and is ignored");
        }
    }
}

/// Removes a table from another one.
fn table_of(table: &mut Table, key: &str, name: &str) -> Result<Option<Table>, Problem> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::Table(table)) => Ok(Some(table)),
        Some(_) => Err(Problem::new(format_args!(
            "`{key}` in {name} must be a table: write its settings below a line [spillring] or [spillring.nats]"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting without a default is not written, and so is easily forgotten.
    #[test]
    fn every_key_of_the_library_is_known() {
        let error = toml::from_str::<Config>("no_such_key = 1").expect_err("an unknown key");
        let error = error.message();
        let (_, expected) = error.split_once("expected one of ").expect("a list");
        let mut expected: Vec<_> = expected
            .split(", ")
            .map(|key| key.trim_matches('`'))
            .collect();
        expected.sort_unstable();
        let mut known = keys_of_library().expect("they can be written");
        known.sort_unstable();
        assert_eq!(known, expected);
    }
}
