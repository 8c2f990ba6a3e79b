//! Settings of the NATS sink: plain data, checked once when the sink is made.

mod secret;

use std::env::{self, VarError};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::ConfigError;
pub use secret::{NatsUrl, Secret};

/// Where NATS is, how to be let in, and which stream takes the entries.
///
/// Read by serde, a duration is a string such as `"5s"`, and an unknown key an error. It is never written by serde,
/// so that no secret is written by accident.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers, tried in random order. A user and password, or a token, in a URL goes before the settings below.
    /// Default `nats://127.0.0.1:4222`.
    pub urls: Vec<NatsUrl>,
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
    /// Certificates. TLS is required as soon as one is given; a `tls://` URL requires it, too.
    pub tls: NatsTls,
    /// How often the server is pinged; three pings without an answer end a connection. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// What is done with the servers of its cluster that a server tells. Default [`DiscoveredServers::Use`].
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
    /// A missing stream is made; one that exists is given what it lacks for transactions: `allow_atomic`,
    /// `allow_rollup_hdrs`, and the subjects of cursors.
    Upgrade,
    /// A missing stream is an error; one that exists is looked at and never changed.
    Verify,
}

/// What is done with the servers of its cluster that a server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
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
pub enum StreamStorage {
    /// In files.
    #[default]
    File,
    /// In memory: a restart of the servers loses acknowledged entries.
    Memory,
}

/// Certificates, each the path of a PEM file. Read at each connect.
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
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            stream: "AUDIT".to_owned(),
            stream_care: StreamCare::default(),
            subject_prefix: "assembly.audit".to_owned(),
            cursor_prefix: "assembly.cursor".to_owned(),
            token: None,
            user: None,
            password: None,
            creds: None,
            nkey: None,
            tls: NatsTls::default(),
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
    /// The defaults, with what the environment says: see [`with_env`](Self::with_env).
    ///
    /// # Errors
    ///
    /// A variable that is not Unicode.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().with_env()
    }

    /// These settings, overruled by `NATS_URL` (several, separated by commas), `NATS_TOKEN`, `NATS_USER`,
    /// `NATS_PASSWORD`, `NATS_CREDS`, `NATS_NKEY`, `NATS_CA`, `NATS_CERT` and `NATS_KEY`, where set and not empty.
    ///
    /// There is one way to be let in: that of the environment displaces any other one set here, those in `urls`
    /// included.
    ///
    /// # Errors
    ///
    /// A variable that is not Unicode.
    pub fn with_env(self) -> Result<Self, ConfigError> {
        self.with_vars(env::var)
    }

    fn with_vars(
        mut self,
        read: impl Fn(&'static str) -> Result<String, VarError>,
    ) -> Result<Self, ConfigError> {
        let var = |name| match read(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(wrong(name, "must be Unicode")),
        };
        let urls = var("NATS_URL")?;
        let (user, password) = (var("NATS_USER")?, var("NATS_PASSWORD")?.map(Secret::from));
        let token = var("NATS_TOKEN")?.map(Secret::from);
        let creds = var("NATS_CREDS")?.map(PathBuf::from);
        let nkey = var("NATS_NKEY")?.map(Secret::from);
        let by_name = user.is_some() || password.is_some();
        if by_name || token.is_some() || creds.is_some() || nkey.is_some() {
            self.urls = self.urls.iter().map(NatsUrl::bare).collect();
            self.user = user.or(self.user.filter(|_| by_name));
            self.password = password.or(self.password.filter(|_| by_name));
            (self.token, self.creds, self.nkey) = (token, creds, nkey);
        }
        if let Some(urls) = urls {
            self.urls = urls.split(',').map(|url| url.trim().into()).collect();
        }
        self.tls.ca = var("NATS_CA")?.map(PathBuf::from).or(self.tls.ca);
        self.tls.cert = var("NATS_CERT")?.map(PathBuf::from).or(self.tls.cert);
        self.tls.key = var("NATS_KEY")?.map(PathBuf::from).or(self.tls.key);
        Ok(self)
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// The first one that cannot be used, with what it may be. A secret is never told.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.urls.is_empty() {
            return Err(wrong("urls", "must name at least one server"));
        }
        self.urls.iter().try_for_each(NatsUrl::check)?;
        self.check_names()?;
        self.check_credentials()?;
        if self.ping_interval.is_zero() {
            return Err(wrong(
                "ping_interval",
                "must be longer than nothing, such as \"5s\"",
            ));
        }
        self.check_new_stream()
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "*>/\\".contains(c);
        if self.stream.is_empty() || self.stream.contains(|c| bad(c) || c == '.') {
            return Err(wrong(
                "stream",
                "must be a name without spaces, `.`, `*`, `>`, `/` and `\\`",
            ));
        }
        for (key, prefix) in [
            ("subject_prefix", &self.subject_prefix),
            ("cursor_prefix", &self.cursor_prefix),
        ] {
            if prefix.contains(bad) || prefix.split('.').any(str::is_empty) {
                return Err(wrong(
                    key,
                    "must be words with dots between them, without spaces and wildcards, such as \"assembly.audit\"",
                ));
            }
        }
        let below = |one: &str, other: &str| format!("{one}.").starts_with(&format!("{other}."));
        if below(&self.cursor_prefix, &self.subject_prefix)
            || below(&self.subject_prefix, &self.cursor_prefix)
        {
            return Err(wrong(
                "cursor_prefix",
                "must not lie below `subject_prefix`, nor above it: cursors are no entries",
            ));
        }
        Ok(())
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        let ways = [
            ("token", self.token.is_some()),
            ("user", self.user.is_some()),
            ("creds", self.creds.is_some()),
            ("nkey", self.nkey.is_some()),
        ];
        let mut given = ways.iter().filter(|(_, given)| *given);
        if let (Some((one, _)), Some((other, _))) = (given.next(), given.next()) {
            return Err(wrong(
                other,
                &format!("cannot stand beside `{one}`: give one of them"),
            ));
        }
        match (&self.user, &self.password) {
            (Some(_), None) => Err(wrong(
                "user",
                "needs `password` as well; a token goes into `token`",
            )),
            (None, Some(_)) => Err(wrong("password", "needs `user` as well")),
            _ => self.tls.check(),
        }
    }

    fn check_new_stream(&self) -> Result<(), ConfigError> {
        if !(1..=5).contains(&self.stream_replicas) {
            return Err(wrong("stream_replicas", "must be from 1 to 5"));
        }
        if self.stream_max_age.is_some_and(|age| age.is_zero()) {
            return Err(wrong(
                "stream_max_age",
                "must be longer than nothing; leave it out to keep messages for ever",
            ));
        }
        if self
            .stream_max_bytes
            .is_some_and(|bytes| bytes == 0 || i64::try_from(bytes).is_err())
        {
            return Err(wrong(
                "stream_max_bytes",
                "must be from 1 to 2^63 - 1; leave it out for no bound",
            ));
        }
        Ok(())
    }
}

impl NatsTls {
    fn check(&self) -> Result<(), ConfigError> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Err(wrong("tls.cert", "needs `tls.key` as well")),
            (None, Some(_)) => Err(wrong("tls.key", "needs `tls.cert` as well")),
            _ => Ok(()),
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
