//! Settings of the NATS sink: plain data, checked once when the sink is made.

mod check;
mod context;
mod layers;
mod secret;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::ConfigError;
pub use secret::{NatsUrl, Secret};

/// Addresses, credentials and stream of NATS.
///
/// Settings from the environment, if asked for, override these ([`with_env`](Self::with_env)); those of the `context`
/// fill in what is left open ([`with_context`](Self::with_context)).
///
/// With serde, a duration is a string such as `"5s"`, and an unknown key is an error. It does not implement
/// `Serialize`, so no secret is written by accident.
///
/// ```
/// use spillring::NatsConfig;
/// use spillring::nats::{DiscoveredServers, StreamCare, StreamStorage, TlsHandshake};
///
/// let mut nats = NatsConfig::default(); // or from_env()
/// nats.urls = vec!["nats://a.example.org,b.example.org".into()];
/// nats.discovered_servers = DiscoveredServers::Ignore;
/// nats.creds = Some("/etc/agent/nats.creds".into()); // or `token`, a Secret
/// nats.tls.ca = Some("/etc/agent/ca.pem".into());
/// nats.tls.handshake = Some(TlsHandshake::First);
/// nats.stream_care = StreamCare::Upgrade;
/// nats.stream_replicas = 3;
/// nats.stream_storage = StreamStorage::File;
/// assert_eq!(nats.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers, tried in random order. Each item may hold several, separated by commas. A user and password, or a
    /// token, in a URL overrides the settings below for that URL.
    /// Default, if empty: those of `context`, else `nats://127.0.0.1:4222`.
    #[serde(deserialize_with = "secret::urls")]
    pub urls: Vec<NatsUrl>,
    /// A context of the `nats` tool: its name, or the absolute path of its file. It fills in what these settings leave
    /// open: see [`with_context`](Self::with_context).
    pub context: Option<String>,
    /// The name of this client in the server's log and reports. Default `spillring`.
    pub name: String,
    /// The stream that takes the entries. Default `AUDIT`.
    pub stream: String,
    /// Whether the stream is created or upgraded. Default [`StreamCare::Create`].
    pub stream_care: StreamCare,
    /// The prefix of each entry's subject, before a dot. Default `assembly.audit`.
    pub subject_prefix: String,
    /// The prefix of the publisher id in the subject of its cursor, before a dot. Default `assembly.cursor`.
    pub cursor_prefix: String,
    /// A token.
    pub token: Option<Secret>,
    /// A user; needs `password` as well.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// The path of a credentials file, as written by `nsc`. Read at each connect.
    pub creds: Option<PathBuf>,
    /// The seed of an nkey, or the path of a file that holds one. Such a file is read at each connect.
    pub nkey: Option<Secret>,
    /// A user's JWT, or the path of a file that holds one; needs `nkey` as well. `creds` has both in one file.
    pub jwt: Option<Secret>,
    /// Certificates. TLS is required as soon as one is set; a `tls://` URL also requires it.
    pub tls: NatsTls,
    /// The prefix of reply subjects, before a dot. Default `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// The domain of the `JetStream` that has the stream. Default: that of the server.
    pub jetstream_domain: Option<String>,
    /// The prefix of the `JetStream` API, before a dot, if another account lends it. Default `$JS.API`.
    pub jetstream_api_prefix: Option<String>,
    /// How often the server is pinged; three pings without an answer end a connection. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Whether to use the other servers of the cluster, as a server announces them. Default
    /// [`DiscoveredServers::Use`].
    pub discovered_servers: DiscoveredServers,
    /// Replicas of a stream that the sink creates, from 1 to 5. Default 1.
    pub stream_replicas: usize,
    /// The storage of a stream that the sink creates. Default [`StreamStorage::File`].
    pub stream_storage: StreamStorage,
    /// How long a stream that the sink creates keeps a message. Default: for ever.
    #[serde(with = "humantime_serde")]
    pub stream_max_age: Option<Duration>,
    /// How many bytes a stream that the sink creates holds. When full, it refuses new entries rather than delete old
    /// ones. Default: no bound.
    #[serde(deserialize_with = "super::size::optional")]
    pub stream_max_bytes: Option<u64>,
}

/// What the sink does about the stream when it connects.
///
/// See the example of [`NatsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamCare {
    /// A missing stream is created; an existing one is inspected and never changed.
    #[default]
    Create,
    /// A missing stream is created. An existing one gets what it lacks for batches (`allow_atomic`, `allow_batched`,
    /// `allow_direct` and the subjects of cursors), and is made append-only: `deny_purge` and `deny_delete`, without
    /// `allow_rollup_hdrs`. Its other settings stay.
    Upgrade,
    /// A missing stream is an error; an existing one is inspected and never changed.
    Verify,
}

/// Whether to use the other servers of the cluster, as a server announces them.
///
/// See the example of [`NatsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiscoveredServers {
    /// They are tried if no server of `urls` responds.
    #[default]
    Use,
    /// Only `urls` are tried: for servers behind a proxy.
    Ignore,
}

/// Where a stream keeps its messages.
///
/// See the example of [`NatsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamStorage {
    /// In files.
    #[default]
    File,
    /// In memory: a restart of the servers loses acknowledged entries.
    Memory,
}

/// Certificates, each the path of a PEM file read at each connect, and the time of the TLS handshake.
///
/// See the example of [`NatsConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsTls {
    /// The authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client certificate; needs `key` as well.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// When TLS starts. Default [`TlsHandshake::AfterInfo`].
    pub handshake: Option<TlsHandshake>,
}

/// When TLS starts on a connection.
///
/// See the example of [`NatsConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsHandshake {
    /// After the server's INFO, which is sent unencrypted.
    AfterInfo,
    /// Immediately, and always: for servers with `handshake_first`.
    First,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            context: None,
            name: "spillring".to_owned(),
            stream: "AUDIT".to_owned(),
            stream_care: StreamCare::default(),
            subject_prefix: "assembly.audit".to_owned(),
            cursor_prefix: "assembly.cursor".to_owned(),
            token: None,
            user: None,
            password: None,
            creds: None,
            nkey: None,
            jwt: None,
            tls: NatsTls::default(),
            inbox_prefix: None,
            jetstream_domain: None,
            jetstream_api_prefix: None,
            ping_interval: Duration::from_secs(5),
            discovered_servers: DiscoveredServers::default(),
            stream_replicas: 1,
            stream_storage: StreamStorage::default(),
            stream_max_age: None,
            stream_max_bytes: None,
        }
    }
}

impl NatsConfig {
    /// The prefix of reply subjects.
    pub(crate) fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }

    /// The prefix of the `JetStream` API.
    pub(crate) fn api(&self) -> String {
        match (&self.jetstream_domain, &self.jetstream_api_prefix) {
            (Some(domain), _) => format!("$JS.{domain}.API"),
            (None, Some(prefix)) => prefix.clone(),
            (None, None) => "$JS.API".to_owned(),
        }
    }
}

fn wrong(key: &'static str, problem: &str) -> ConfigError {
    ConfigError {
        key,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
