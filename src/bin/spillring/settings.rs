//! The settings of a run: flags override the environment, which overrides the config file.

mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use spillring::error::ConfigError;
use spillring::nats::NatsUrl;
use spillring::sink::SinkAddress;
use spillring::{Config, JetStreamSink, JsonLinesSink, NatsConfig, Sink};

use crate::console::Problem;
use crate::spill_key::KeyArgs;
use file::File;

/// The default sink.
const SINK: &str = "jsonl:audit.jsonl";

/// The flags with a counterpart in the config file.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// File of entries, one JSON object per line; - is standard input [default: -]
    #[arg(long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// Where entries go: jsonl:PATH, nats://HOST:PORT, tls://HOST:PORT, or nats for the servers of `NATS_URL` or
    /// of the config file [default: jsonl:audit.jsonl]
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// NATS stream for the entries [default: AUDIT]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Directory for the backlog; required, here or as `spill_dir` in the config file
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    /// Capacity of the ring in entries [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    ring: Option<u32>,
    /// Directory for the ring, on a tmpfs such as /dev/shm: entries in it survive SIGKILL [default: none, the ring is
    /// in memory]
    #[arg(long, value_name = "DIR")]
    ring_dir: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// TOML file with the tables [spillring] and [spillring.nats]; other tables are ignored
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The settings from all sources, combined.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// None is standard input.
    pub(crate) input: Option<PathBuf>,
    pub(crate) shutdown_max: Duration,
    target: Target,
}

/// Where entries go.
#[derive(Debug)]
struct Target {
    address: SinkAddress,
    nats: NatsConfig,
    chosen: Chosen,
}

/// How the sink was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    ByName,
    ByDefault,
    /// By default, although there are NATS settings.
    DespiteNats,
}

/// The binary's own keys in `[spillring]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    input: Option<PathBuf>,
    sink: Option<String>,
    #[serde(with = "humantime_serde")]
    shutdown_max: Duration,
    spill_key_file: Option<PathBuf>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            input: None,
            sink: None,
            shutdown_max: Duration::from_secs(10),
            spill_key_file: None,
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
            // Unlike TOML, a path need not be Unicode.
            config.spill_dir = dir;
        }
        if let Some(dir) = flags.ring_dir {
            config.ring_dir = Some(dir);
        }
        let own: Own = file.parse(&file.own, "[spillring]")?;
        config.spill_key = flags.key.key_or(own.spill_key_file.as_deref())?;
        let mut target = Target::settle(&file, flags.sink.as_deref(), own.sink.as_deref())?;
        if let Some(stream) = flags.stream {
            target.take_stream(stream)?;
        }
        let input = flags.input.or(own.input);
        Ok(Self {
            config,
            input: input.filter(|path| path != Path::new("-")),
            shutdown_max: own.shutdown_max,
            target,
        })
    }

    pub(crate) fn sink(&self) -> Result<Box<dyn Sink>, Problem> {
        match &self.target.address {
            SinkAddress::JsonLines(path) => Ok(Box::new(JsonLinesSink::new(path))),
            // The environment may have overridden the servers of the address.
            _ => match JetStreamSink::new(self.target.nats.clone()) {
                Ok(sink) => Ok(Box::new(sink)),
                Err(error) => Err(Problem::new(format_args!("bad NATS settings: {error}"))),
            },
        }
    }

    /// The file that entries are written to, if the sink is a file.
    pub(crate) fn output(&self) -> Option<&Path> {
        match &self.target.address {
            SinkAddress::JsonLines(path) => Some(path),
            _ => None,
        }
    }

    /// The name of the sink.
    pub(crate) fn destination(&self) -> String {
        match &self.target.address {
            SinkAddress::JsonLines(path) => path.display().to_string(),
            _ => in_words(&self.target.nats),
        }
    }

    /// A remark on the choice of the sink, to append to its name.
    pub(crate) fn choice(&self) -> &'static str {
        match self.target.chosen {
            Chosen::ByName => "",
            Chosen::ByDefault => " in the current directory, because no sink is named",
            Chosen::DespiteNats => {
                " in the current directory, because no sink is named: `--sink nats`, or `sink = \"nats\"` in \
                 [spillring], sends them to NATS"
            }
        }
    }
}

impl Target {
    /// The flag overrides the environment, which overrides the file, which overrides a context. The environment names
    /// servers but no sink, and counts only if the sink is NATS.
    fn settle(file: &File, flag: Option<&str>, in_file: Option<&str>) -> Result<Self, Problem> {
        let in_file = in_file
            .map(|sink| address(sink, &format!("`sink` in {}", file.name)))
            .transpose()?;
        let flag = flag.map(|sink| address(sink, "--sink")).transpose()?;
        let mut nats: NatsConfig = file.parse_nats()?;
        if let Some(named) = &in_file {
            named.overrule(&mut nats);
        }
        let named = flag.clone().or(in_file);
        let chosen = match named {
            Some(_) => Chosen::ByName,
            None if file.nats.is_some() || env_names_nats() => Chosen::DespiteNats,
            None => Chosen::ByDefault,
        };
        if matches!(named, Some(SinkAddress::Nats(_))) {
            nats = with_env(nats)?;
        }
        if let Some(flag) = flag {
            flag.overrule(&mut nats);
        }
        if matches!(named, Some(SinkAddress::Nats(_))) {
            nats = with_context(nats)?;
        }
        let address = named.map_or_else(|| address(SINK, "--sink"), Ok)?;
        Ok(Self {
            address,
            nats,
            chosen,
        })
    }

    fn take_stream(&mut self, stream: String) -> Result<(), Problem> {
        if let SinkAddress::JsonLines(path) = &self.address {
            return Err(Problem::new(format_args!(
                "`--stream` names a stream of NATS, but entries go to {}: leave it out, or give `--sink \
                 nats://HOST:PORT`",
                path.display()
            )));
        }
        self.nats.stream = stream;
        Ok(())
    }
}

/// The NATS settings alone, for servers that are named.
pub(crate) fn nats(
    config: Option<&Path>,
    servers: &SinkAddress,
    stream: Option<String>,
) -> Result<NatsConfig, Problem> {
    let file = config.map_or_else(|| Ok(File::default()), File::read)?;
    let own: Own = file.parse(&file.own, "[spillring]")?;
    let mut nats: NatsConfig = file.parse_nats()?;
    if let Some(named) = &own.sink {
        address(named, &format!("`sink` in {}", file.name))?.overrule(&mut nats);
    }
    nats = with_env(nats)?;
    servers.overrule(&mut nats);
    nats = with_context(nats)?;
    nats.stream = stream.unwrap_or(nats.stream);
    nats.validate()
        .map_err(|error| Problem::new(format_args!("bad NATS settings: {error}")))?;
    Ok(nats)
}

/// The stream and its servers, without passwords.
pub(crate) fn in_words(nats: &NatsConfig) -> String {
    let urls: Vec<_> = nats.urls.iter().map(NatsUrl::to_string).collect();
    format!("the stream {} of {}", nats.stream, urls.join(", "))
}

fn with_context(nats: NatsConfig) -> Result<NatsConfig, Problem> {
    nats.with_context()
        .map_err(|error| Problem::new(format_args!("bad NATS settings: {error}")))
}

fn with_env(nats: NatsConfig) -> Result<NatsConfig, Problem> {
    nats.with_env()
        .map_err(|error| Problem::new(format_args!("in the environment {error}")))
}

fn env_names_nats() -> bool {
    NatsConfig::from_env() != Ok(NatsConfig::default())
}

fn address(text: &str, place: &str) -> Result<SinkAddress, Problem> {
    text.parse()
        .map_err(|error: ConfigError| Problem::new(format_args!("{place} {}", error.problem)))
}
