//! What a run is to do: the flags, before the environment, before the config file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use spillring::{Config, NatsConfig};
use toml::{Table, Value};

use crate::target::{Address, AnySink};
use crate::telling::Problem;

/// Where entries go if nobody says otherwise.
const SINK: &str = "jsonl:audit.jsonl";

/// The keys of `[spillring]` that are not the library's.
const OWN_KEYS: [&str; 3] = ["input", "sink", "shutdown_max"];

/// The flags that have their counterpart in the config file.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// File of entries, one JSON object a line; - is standard input [default: -]
    #[arg(long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// Where entries go: jsonl:PATH, nats://HOST:PORT, tls://HOST:PORT, or nats for the servers of `NATS_URL`
    /// [default: jsonl:audit.jsonl]
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Stream of NATS that takes the entries [default: AUDIT]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Directory for the backlog: needed, here or as `spill_dir` in the config file
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    /// How many entries the ring holds [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    ring: Option<u32>,
    /// TOML file with the tables [spillring] and [spillring.nats]; other tables are passed over
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Everything, settled.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// None is standard input.
    pub(crate) input: Option<PathBuf>,
    pub(crate) shutdown_max: Duration,
    address: Address,
    nats: NatsConfig,
}

/// What stands in `[spillring]` for the binary alone.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    input: Option<PathBuf>,
    sink: Option<String>,
    #[serde(with = "humantime_serde")]
    shutdown_max: Duration,
}

/// The tables of a config file, apart.
#[derive(Debug, Default)]
struct File {
    name: String,
    library: Table,
    own: Table,
    nats: Option<Table>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            input: None,
            sink: None,
            shutdown_max: Duration::from_secs(10),
        }
    }
}

impl Settings {
    pub(crate) fn settle(flags: Flags) -> Result<Self, Problem> {
        let mut file = flags
            .config
            .as_deref()
            .map_or_else(|| Ok(File::default()), File::read)?;
        if let Some(dir) = &flags.spill {
            let text = dir.to_string_lossy().into_owned();
            file.library.insert("spill_dir".to_owned(), text.into());
        }
        if let Some(ring) = flags.ring {
            file.library.insert("ring_capacity".to_owned(), ring.into());
        }
        if !file.library.contains_key("spill_dir") {
            return Err(Problem::new(
                "no directory for the backlog: give one with `--spill DIR`, or as `spill_dir` in [spillring] of the \
                 file of `--config`",
            ));
        }
        let mut config: Config = file.parse(&file.library, "[spillring]")?;
        if let Some(dir) = flags.spill {
            // A path need not be Unicode, as TOML is.
            config.spill_dir = dir;
        }
        let own: Own = file.parse(&file.own, "[spillring]")?;
        let address = match (flags.sink, own.sink) {
            (Some(sink), _) => address(&sink, "--sink")?,
            (None, Some(sink)) => address(&sink, &format!("`sink` in {}", file.name))?,
            (None, None) => address(SINK, "--sink")?,
        };
        let mut nats = file.nats(&address)?;
        if let Some(stream) = flags.stream {
            if let Address::JsonLines(path) = &address {
                return Err(Problem::new(format_args!(
                    "`--stream` names a stream of NATS, but entries go to {}: leave it out, or give `--sink \
                     nats://HOST:PORT`",
                    path.display()
                )));
            }
            nats.stream = stream;
        }
        let input = flags.input.or(own.input);
        Ok(Self {
            config,
            input: input.filter(|path| path != Path::new("-")),
            shutdown_max: own.shutdown_max,
            address,
            nats,
        })
    }

    pub(crate) fn sink(&self) -> Result<AnySink, Problem> {
        self.address.sink(self.nats.clone())
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::new(format_args!(
                "the config file {name} cannot be read: {error}"
            ))
        })?;
        let mut whole: Table = toml::from_str(&text).map_err(|error| {
            Problem::new(format_args!("the config file {name} is no TOML: {error}"))
        })?;
        let mut library = table_of(&mut whole, "spillring", &name)?.unwrap_or_default();
        let nats = table_of(&mut library, "nats", &name)?;
        let own = OWN_KEYS
            .into_iter()
            .filter_map(|key| library.remove_entry(key))
            .collect();
        Ok(Self {
            name,
            library,
            own,
            nats,
        })
    }

    fn parse<T: DeserializeOwned>(&self, table: &Table, title: &str) -> Result<T, Problem> {
        table.clone().try_into().map_err(|error: toml::de::Error| {
            let place = if self.name.is_empty() {
                "the flags".to_owned()
            } else {
                format!("{title} of {}", self.name)
            };
            let what = error.to_string();
            Problem::new(format_args!(
                "{place}: {}",
                what.trim_end().replace('\n', " ")
            ))
        })
    }

    /// The settings of NATS: those of the file, overruled by the environment. That is not looked at where no server is
    /// to be asked.
    fn nats(&self, address: &Address) -> Result<NatsConfig, Problem> {
        let table = self.nats.clone().unwrap_or_default();
        let file: NatsConfig = self.parse(&table, "[spillring.nats]")?;
        if matches!(address, Address::JsonLines(_)) {
            return Ok(file);
        }
        file.with_env()
            .map_err(|error| Problem::new(format_args!("in the environment {error}")))
    }
}

fn address(text: &str, place: &str) -> Result<Address, Problem> {
    text.parse()
        .map_err(|error| Problem::new(format_args!("{place}: {error}")))
}

/// Takes a table out of another one.
fn table_of(table: &mut Table, key: &str, name: &str) -> Result<Option<Table>, Problem> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::Table(table)) => Ok(Some(table)),
        Some(_) => Err(Problem::new(format_args!(
            "`{key}` in {name} must be a table: write its settings below a line [spillring] or [spillring.nats]"
        ))),
    }
}
