//! The settings of Agent Assembly's own audit publisher.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, NatsConfig, NatsTls, NatsUrl, Secret, WhenSpillFull};
use crate::error::ConfigError;

/// The settings of an `agent-assembly.toml` for the audit publisher: tables `[gateway.nats]` (`url`, `token`,
/// `max_inflight`, and `ca`, `cert` and `key` below `tls`), which `aa-runtime` reads, and `[storage.sqlite_buffer]`
/// (`path`, `cap`), which hosts of `EventBuffer::from_config` read. Other tables and keys are ignored, as in Agent
/// Assembly; missing settings have spillring's defaults.
///
/// ```
/// use spillring::JetStreamSink;
/// use spillring::assembly::AssemblyConfig;
///
/// let text = r#"
///     [gateway.nats]
///     url = "nats://nats.example.org:4222"
///     token = "s3cr3t"
///
///     [storage.sqlite_buffer]
///     path = "/var/lib/agent-assembly/buffer.db"
/// "#;
/// let assembly = AssemblyConfig::from_toml_str(text)?;
/// let sink = JetStreamSink::new(assembly.nats()?)?;
/// let config = assembly.config("/var/lib/agent/spill");
/// let buffer = config.import.as_deref(); // imported at the start
/// assert_eq!(buffer, Some("/var/lib/agent-assembly/buffer.db".as_ref()));
/// # drop(sink);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct AssemblyConfig {
    gateway: Gateway,
    storage: Storage,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Gateway {
    nats: Nats,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Nats {
    url: Option<NatsUrl>,
    token: Option<Secret>,
    tls: Option<Tls>,
    max_inflight: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Tls {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Storage {
    sqlite_buffer: SqliteBuffer,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct SqliteBuffer {
    path: Option<PathBuf>,
    cap: Option<u64>,
}

/// A generous size for a row of the buffer in the spill: entries have 843 bytes at the median.
const BYTES_PER_ROW: u64 = 4_096;
/// The smallest spill.
const SPILL_BYTES_MIN: u64 = 1 << 20;
/// More entries under way than a transaction holds make nothing faster.
const BATCH_MAX: usize = 999;

impl AssemblyConfig {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or a setting has the wrong type. The error names the line, but not the value: it may be a
    /// secret.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().split('\n').count();
            ConfigError {
                key: "agent-assembly.toml",
                problem: format!(
                    "cannot be read: line {line}: {}",
                    without_value(error.message())
                ),
            }
        })
    }

    /// The settings of NATS. A table `tls`, even an empty one, requires TLS. A `token` overrides anything before the
    /// `@` of the URL. Without a `token` the URL's credentials are used, although Agent Assembly ignores them.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used. A `cert` without its `key`, or a `key` without its `cert`, is one: Agent
    /// Assembly silently ignores both.
    pub fn nats(&self) -> Result<NatsConfig, ConfigError> {
        let Nats {
            url, token, tls, ..
        } = &self.gateway.nats;
        let mut nats = NatsConfig::default();
        nats.token.clone_from(token);
        let mut urls = NatsUrl::each(&[url.clone().unwrap_or_default()]);
        urls.iter().try_for_each(NatsUrl::check)?;
        if token.is_some() {
            urls = urls.iter().map(NatsUrl::bare).collect();
        }
        if let Some(Tls { ca, cert, key }) = tls {
            nats.tls = NatsTls {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
                ..NatsTls::default()
            };
            urls = urls.iter().map(NatsUrl::with_tls).collect();
        }
        if urls != [NatsUrl::default()] {
            nats.urls = urls;
        }
        nats.validate()?;
        Ok(nats)
    }

    /// The settings of the publisher, with this spill directory.
    ///
    /// The buffer at `path` is [imported](Config::import) at the start. Without a `path` nothing is imported, not even
    /// from the default of `EventBuffer::from_config`, `agent-assembly/buffer.db` in the user's data directory.
    ///
    /// Each row of `cap` becomes 4 KiB of [`spill_bytes_max`](Config::spill_bytes_max), at least 1 MiB in all. At that
    /// cap the oldest entries are evicted, as in Agent Assembly, but with an announcement. Without `cap` the spill has
    /// its own defaults: 4 GiB, and then new entries are refused; see [`when_spill_full`](Config::when_spill_full).
    ///
    /// `max_inflight` bounds [`batch_max`](Config::batch_max), up to the 999 entries of a transaction; 0 counts as 1.
    /// A small value costs Agent Assembly nothing, since nobody acknowledges what it sends. Here each batch waits for
    /// its acknowledgement, so batches of a few entries reach only some thousand entries a second. Leave it out unless
    /// you want that.
    #[must_use]
    pub fn config(&self, spill_dir: impl Into<PathBuf>) -> Config {
        let mut config = Config::new(spill_dir);
        let SqliteBuffer { path, cap } = &self.storage.sqlite_buffer;
        config.import.clone_from(path);
        if let Some(rows) = cap {
            config.spill_bytes_max = rows.saturating_mul(BYTES_PER_ROW).max(SPILL_BYTES_MIN);
            config.when_spill_full = WhenSpillFull::EvictOldest;
        }
        if let Some(entries) = self.gateway.nats.max_inflight {
            config.batch_max = entries.clamp(1, BATCH_MAX);
        }
        config
    }
}

/// The error message without the value.
fn without_value(message: &str) -> String {
    match (message.find(['`', '"']), message.rfind(", expected")) {
        (Some(from), Some(to)) if from < to => {
            message[..from].trim_end().to_owned() + &message[to..]
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AssemblyConfig {
        AssemblyConfig::from_toml_str(text).expect("it can be read")
    }

    #[test]
    fn an_error_names_the_line_and_no_secret() {
        for (text, line, what) in [
            (
                "[gateway.nats]\ntoken = \"s3cr3t\"\nurl = 7",
                3,
                "invalid type: integer, expected a string",
            ),
            (
                "[gateway.nats]\ntoken = 5309",
                2,
                "a secret must be a string",
            ),
            (
                "[gateway.nats]\nmax_inflight = \"s3cr3t\"",
                2,
                "invalid type: string, expected usize",
            ),
            ("[gateway.nats]\ntoken = \"s3cr3t", 2, "basic string"),
        ] {
            let error = AssemblyConfig::from_toml_str(text).expect_err(text);
            let text = format!("{error} {error:?}");
            assert!(text.contains(&format!("line {line}: ")), "{text}");
            assert!(text.contains(what), "{text}");
            assert!(!text.contains("s3cr3t") && !text.contains("5309"), "{text}");
        }
    }

    #[test]
    fn a_token_counts_before_the_user_of_the_url() {
        let text = "[gateway.nats]\nurl = \"nats://bob:pw@nats.example.org\"\ntoken = \"s3cr3t\"";
        let nats = read(text).nats().expect("sound settings");
        assert_eq!(nats.urls, ["nats://nats.example.org".into()]);
        assert_eq!(nats.token, Some("s3cr3t".into()));
        let nats = read(&text[..text.find("\ntoken").expect("a token")])
            .nats()
            .expect("sound settings");
        assert_eq!(nats.urls, ["nats://bob:pw@nats.example.org".into()]);
    }

    #[test]
    fn several_servers_in_the_url_are_several_with_one_token_and_tls() {
        let text =
            "[gateway.nats]\nurl = \"nats://a:1,b:2,\"\ntoken = \"s3cr3t\"\n[gateway.nats.tls]";
        let nats = read(text).nats().expect("sound settings");
        assert_eq!(nats.urls, ["tls://a:1".into(), "tls://b:2".into()]);
    }

    #[test]
    fn a_scheme_that_is_not_spoken_is_an_error_even_with_tls() {
        for tls in ["", "[gateway.nats.tls]"] {
            let text = format!("[gateway.nats]\nurl = \"wss://nats.example.org\"\n{tls}");
            assert!(read(&text).nats().is_err(), "{text}");
        }
    }

    #[test]
    fn without_its_tables_all_is_as_by_default() {
        for text in ["", "[gateway.nats]", "[storage]\naudit_sink = \"postgres\""] {
            let assembly = read(text);
            assert_eq!(assembly.nats(), Ok(NatsConfig::default()), "{text}");
            assert_eq!(assembly.config("spill"), Config::new("spill"), "{text}");
        }
    }

    #[test]
    fn the_whole_of_both_tables_is_read() {
        let assembly = read(
            r#"
            [gateway.nats]
            url = "nats://nats.example.com:4222"
            token = "s3cr3t"
            max_inflight = 500
            later = "passed over"

            [gateway.nats.tls]
            ca = "/etc/aa/ca.pem"
            cert = "/etc/aa/client.pem"
            key = "/etc/aa/client.key"

            [storage.sqlite_buffer]
            path = "/var/lib/aa/buffer.db"
            cap = 100000
            "#,
        );
        let nats = assembly.nats().expect("sound settings");
        assert_eq!(nats.urls, ["tls://nats.example.com:4222".into()]);
        assert_eq!(nats.token, Some("s3cr3t".into()));
        assert_eq!(nats.tls.ca, Some("/etc/aa/ca.pem".into()));
        assert_eq!(nats.tls.cert, Some("/etc/aa/client.pem".into()));
        assert_eq!(nats.tls.key, Some("/etc/aa/client.key".into()));
        let config = assembly.config("spill");
        assert_eq!(config.import, Some("/var/lib/aa/buffer.db".into()));
        assert_eq!(config.spill_bytes_max, 409_600_000);
        assert_eq!(config.when_spill_full, WhenSpillFull::EvictOldest);
        assert_eq!(config.batch_max, 500);
        assert!(!format!("{assembly:?}").contains("s3cr3t"));
    }

    #[test]
    fn what_is_under_way_is_at_least_one_and_at_most_a_transaction() {
        for (entries, expected) in [(0, 1), (1, 1), (1_024, 999), (usize::MAX >> 1, 999)] {
            let assembly = read(&format!("[gateway.nats]\nmax_inflight = {entries}"));
            assert_eq!(assembly.config("spill").batch_max, expected, "{entries}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_an_error_and_so_is_the_key_alone() {
        for (given, lacking) in [("cert", "key"), ("key", "cert")] {
            let text = format!("[gateway.nats.tls]\n{given} = \"/etc/aa/client.pem\"");
            let error = read(&text).nats().expect_err("half of a pair");
            assert!(error.to_string().contains(lacking), "{error}");
        }
    }

    #[test]
    fn a_table_of_tls_requires_it() {
        let nats = read("[gateway.nats.tls]").nats().expect("sound settings");
        assert_eq!(nats.urls, ["tls://127.0.0.1:4222".into()]);
    }

    #[test]
    fn a_tiny_cap_is_the_least_that_a_spill_holds() {
        let config = read("[storage.sqlite_buffer]\ncap = 0").config("spill");
        assert_eq!(config.spill_bytes_max, SPILL_BYTES_MIN);
        assert!(config.validate().is_ok());
    }
}
