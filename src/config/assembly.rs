//! The settings of Agent Assembly's own audit publisher.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, NatsConfig, NatsTls, NatsUrl, Secret, WhenSpillFull};
use crate::error::ConfigError;

/// What an `agent-assembly.toml` says of the audit publisher, in its tables `[gateway.nats]` (`url`, `token`,
/// `max_inflight`, and `ca`, `cert` and `key` below `tls`) and `[storage.sqlite_buffer]` (`path`, `cap`). Other tables and
/// keys are passed over, as Agent Assembly does; what is not said is spillring's default.
///
/// Read by serde from the whole file:
///
/// ```
/// use spillring::{AssemblyConfig, JetStreamSink};
///
/// let text = r#"
///     [gateway.nats]
///     url = "nats://nats.example.org:4222"
///     token = "s3cr3t"
///
///     [storage.sqlite_buffer]
///     path = "/var/lib/agent-assembly/buffer.db"
/// "#;
/// let assembly: AssemblyConfig = toml::from_str(text)?;
/// let sink = JetStreamSink::new(assembly.nats()?)?;
/// let config = assembly.config("/var/lib/agent/spill"); // imports the old buffer at the start
/// assert_eq!(config.import.as_deref(), Some("/var/lib/agent-assembly/buffer.db".as_ref()));
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

/// What a row of the buffer counts for in the bytes of a spill, amply: entries have 843 bytes at the median.
const BYTES_PER_ROW: u64 = 4_096;
/// The least that a spill holds.
const SPILL_BYTES_MIN: u64 = 1 << 20;
/// With more entries under way than a transaction holds nothing gets faster.
const BATCH_MAX: usize = 999;

impl AssemblyConfig {
    /// The settings of NATS. A table `tls`, even an empty one, requires TLS.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used. One of them is a `cert` without its `key`, or a `key` without its `cert`:
    /// Agent Assembly passes over both without a word.
    pub fn nats(&self) -> Result<NatsConfig, ConfigError> {
        let Nats {
            url, token, tls, ..
        } = &self.gateway.nats;
        let mut nats = NatsConfig::default();
        nats.token.clone_from(token);
        if let Some(url) = url {
            nats.urls = vec![url.clone()];
        }
        if let Some(Tls { ca, cert, key }) = tls {
            nats.tls = NatsTls {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
                ..NatsTls::default()
            };
            nats.urls = vec![url.clone().unwrap_or_default().with_tls()];
        }
        nats.validate()?;
        Ok(nats)
    }

    /// The settings of the publisher, with this spill directory.
    ///
    /// The buffer at `path` is [imported](Config::import) at the start. `cap` rows become 4 KiB each of
    /// [`spill_bytes_max`](Config::spill_bytes_max), at which the oldest entries are evicted, as Agent Assembly does, but
    /// announced; without it the spill has its own defaults. `max_inflight` bounds a batch, up to the 999 entries of a
    /// transaction; 0 counts as 1.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AssemblyConfig {
        toml::from_str(text).expect("it can be read")
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
