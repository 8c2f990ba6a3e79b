//! Precedence: the environment, then the settings, then a context.

use std::env::{self, VarError};
use std::path::PathBuf;

use super::{NatsConfig, NatsTls, NatsUrl, wrong};
use crate::error::ConfigError;

impl NatsConfig {
    /// The defaults, overridden by the environment: see [`with_env`](Self::with_env).
    ///
    /// # Errors
    ///
    /// A variable that is not Unicode.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().with_env()
    }

    /// These settings, overridden by `NATS_URL` (several, separated by commas), `NATS_TOKEN`, `NATS_USER`,
    /// `NATS_PASSWORD`, `NATS_CREDS`, `NATS_NKEY`, `NATS_CA`, `NATS_CERT`, `NATS_KEY` and `NATS_CONTEXT`, where set
    /// and not empty.
    ///
    /// Credentials come from the highest-priority source that sets any: those of the environment replace all of these,
    /// including those in `urls`. `NATS_PASSWORD` alone goes with the `user` set here, and `NATS_NKEY` with the `jwt`.
    ///
    /// # Errors
    ///
    /// A variable that is not Unicode.
    pub fn with_env(self) -> Result<Self, ConfigError> {
        self.with_vars(env::var)
    }

    pub(super) fn with_vars(
        self,
        read: impl Fn(&'static str) -> Result<String, VarError>,
    ) -> Result<Self, ConfigError> {
        let var = |name| match read(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(wrong(name, "must be Unicode")),
        };
        let path = |name| var(name).map(|path| path.map(PathBuf::from));
        let environment = Self {
            urls: var("NATS_URL")?.map_or_else(Vec::new, |urls| NatsUrl::list(&urls)),
            context: var("NATS_CONTEXT")?,
            token: var("NATS_TOKEN")?.map(Into::into),
            user: var("NATS_USER")?,
            password: var("NATS_PASSWORD")?.map(Into::into),
            creds: path("NATS_CREDS")?,
            nkey: var("NATS_NKEY")?.map(Into::into),
            tls: NatsTls {
                ca: path("NATS_CA")?,
                cert: path("NATS_CERT")?,
                key: path("NATS_KEY")?,
                ..NatsTls::default()
            },
            ..Self::default()
        };
        Ok(environment.over(self))
    }

    /// Overlays these addresses and credentials on `below`; everything else comes from `below`.
    pub(super) fn over(self, below: Self) -> Self {
        let by_name = self.user.is_some() || self.password.is_some();
        let by_key = self.nkey.is_some() || self.jwt.is_some();
        let (ours, theirs) = (NatsUrl::each(&self.urls), NatsUrl::each(&below.urls));
        let by_url = !ours.is_empty() && ours.iter().all(NatsUrl::lets_in);
        let by_setting = by_name || by_key || self.token.is_some() || self.creds.is_some();
        let open = !by_setting && !by_url;
        let api_is_open = self.jetstream_domain.is_none() && self.jetstream_api_prefix.is_none();
        let urls = match (ours.is_empty(), by_setting) {
            (true, true) => theirs.iter().map(NatsUrl::bare).collect(),
            (true, false) => theirs,
            (false, _) => ours,
        };
        Self {
            urls,
            context: self.context.or(below.context),
            token: self.token.or(below.token.filter(|_| open)),
            user: self.user.or(below.user.filter(|_| open || by_name)),
            password: self.password.or(below.password.filter(|_| open || by_name)),
            creds: self.creds.or(below.creds.filter(|_| open)),
            nkey: self.nkey.or(below.nkey.filter(|_| open || by_key)),
            jwt: self.jwt.or(below.jwt.filter(|_| open || by_key)),
            tls: NatsTls {
                ca: self.tls.ca.or(below.tls.ca),
                cert: self.tls.cert.or(below.tls.cert),
                key: self.tls.key.or(below.tls.key),
                handshake: self.tls.handshake.or(below.tls.handshake),
            },
            inbox_prefix: self.inbox_prefix.or(below.inbox_prefix),
            jetstream_domain: self
                .jetstream_domain
                .or(below.jetstream_domain.filter(|_| api_is_open)),
            jetstream_api_prefix: self
                .jetstream_api_prefix
                .or(below.jetstream_api_prefix.filter(|_| api_is_open)),
            ..below
        }
    }
}
