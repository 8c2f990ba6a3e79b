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

/// Where NATS is, how to be let in, and which stream takes the entries.
///
/// What the environment says goes before these settings, if it is asked ([`with_env`](Self::with_env)), and what the
/// `context` says comes after them ([`with_context`](Self::with_context)).
///
/// Read by serde, a duration is a string such as `"5s"`, and an unknown key an error. It is never written by serde,
/// so that no secret is written by accident.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers, tried in random order. Each may be several, with commas between them. A user and password, or a token, in
    /// a URL goes before the settings below, for that URL.
    /// Default, if empty: those of `context`, else `nats://127.0.0.1:4222`.
    #[serde(deserialize_with = "secret::urls")]
    pub urls: Vec<NatsUrl>,
    /// A context of the `nats` tool: its name, or the absolute path of its file. It says what these settings leave open:
    /// see [`with_context`](Self::with_context).
    pub context: Option<String>,
    /// What the server calls this client in its log and reports. Default `spillring`.
    pub name: String,
    /// The stream that takes the entries. Default `AUDIT`.
    pub stream: String,
    /// What is done about the stream. Default [`StreamCare::Create`].
    pub stream_care: StreamCare,
    /// Goes before the subject of each entry, with a dot between. Default `assembly.audit`.
    pub subject_prefix: String,
    /// Goes before the publisher id in the subject of its cursor, with a dot between. Default `assembly.cursor`.
    pub cursor_prefix: String,
    /// A token.
    pub token: Option<Secret>,
    /// A user, who needs `password` as well.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// The path of a credentials file, as `nsc` writes it. Read at each connect.
    pub creds: Option<PathBuf>,
    /// The seed of an nkey, or the path of a file that holds one. Such a file is read at each connect.
    pub nkey: Option<Secret>,
    /// A user's JWT, or the path of a file that holds one; needs `nkey` as well. `creds` has both in one file.
    pub jwt: Option<Secret>,
    /// Certificates. TLS is required as soon as one is given; a `tls://` URL requires it, too.
    pub tls: NatsTls,
    /// Goes before the subjects on which answers come, with a dot between. Default `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// The domain of the `JetStream` that has the stream. Default: that of the server.
    pub jetstream_domain: Option<String>,
    /// Goes before the subjects of the API of `JetStream`, with a dot between, where another account lends it. Default
    /// `$JS.API`.
    pub jetstream_api_prefix: Option<String>,
    /// How often the server is pinged; three pings without an answer end a connection. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// What is done with the other servers of the cluster, as a server announces them. Default [`DiscoveredServers::Use`].
    pub discovered_servers: DiscoveredServers,
    /// Replicas of a stream that is made here, from 1 to 5. Default 1.
    pub stream_replicas: usize,
    /// Where a stream that is made here keeps its messages. Default [`StreamStorage::File`].
    pub stream_storage: StreamStorage,
    /// How long a stream that is made here keeps a message. Default: for ever.
    #[serde(with = "humantime_serde")]
    pub stream_max_age: Option<Duration>,
    /// How many bytes a stream that is made here holds. At that size it takes nothing more, rather than delete old
    /// entries. Default: no bound.
    #[serde(deserialize_with = "super::size::optional")]
    pub stream_max_bytes: Option<u64>,
}

/// What is done about the stream when the sink connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamCare {
    /// A missing stream is made; one that exists is looked at and never changed.
    #[default]
    Create,
    /// A missing stream is made; one that exists is given what it lacks for batches, `allow_atomic`, `allow_batched`,
    /// `allow_direct` and the subjects of cursors, and made append-only: `deny_purge` and `deny_delete`, without
    /// `allow_rollup_hdrs`. Nothing else of it is changed.
    Upgrade,
    /// A missing stream is an error; one that exists is looked at and never changed.
    Verify,
}

/// What is done with the other servers of the cluster, as a server announces them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiscoveredServers {
    /// They are tried when no server of `urls` answers.
    #[default]
    Use,
    /// Only `urls` are tried: for servers behind a proxy.
    Ignore,
}

/// Where a stream keeps its messages.
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

/// Certificates, each the path of a PEM file, read at each connect; and when they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsTls {
    /// The authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate to show; needs `key` as well.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// When TLS starts. Default [`TlsHandshake::AfterInfo`].
    pub handshake: Option<TlsHandshake>,
}

/// When TLS starts on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TlsHandshake {
    /// After the server's INFO, which is sent in the clear.
    AfterInfo,
    /// At once, and always: for servers with `handshake_first`.
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
    /// What goes before the subjects on which answers come.
    pub(crate) fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }

    /// What goes before the subjects of the API of `JetStream`.
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
