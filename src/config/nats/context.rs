//! The contexts of the `nats` tool, as its library `natscontext` (in nats-io/jsm.go) writes them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{NatsConfig, NatsTls, NatsUrl, Secret, TlsHandshake, wrong};
use crate::error::ConfigError;

const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Prefixes of values that must be fetched from elsewhere.
const ELSEWHERE: [&str; 4] = ["op://", "nsc://", "env://", "data:"];

/// The directories of contexts and of the files that they name.
#[derive(Debug, Default)]
pub(super) struct Directories {
    pub(super) home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`
    pub(super) config: Option<PathBuf>,
}

/// The relevant part of a context's file. The tool writes every key; an empty value is not set.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    token: String,
    user: String,
    password: String,
    creds: String,
    nkey: String,
    user_jwt: String,
    user_seed: String,
    cert: String,
    key: String,
    ca: String,
    tls_first: bool,
    inbox_prefix: String,
    jetstream_domain: String,
    jetstream_api_prefix: String,
    nsc: String,
    socks_proxy: String,
    windows_cert_store: String,
}

impl NatsConfig {
    /// These settings, completed by the context of the `nats` tool that they name, and then by the defaults. The sink
    /// does the same when it is made.
    ///
    /// The context `NAME` is in `$XDG_CONFIG_HOME/nats/context/NAME.json`, or below `~/.config` if that variable is
    /// not set. It provides the server, credentials, TLS, the inbox prefix, and the domain or API prefix of
    /// `JetStream`. It has the lowest priority: any credentials set here replace those of the context. The context
    /// selected in the tool is used only if it is named here: a choice made in a shell must not send an audit trail
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// A context that is missing or cannot be read, or that needs something unsupported: `nsc`, a SOCKS proxy, the
    /// certificate store of Windows, or secrets that must be fetched (`op://`, `env://`, …).
    pub fn with_context(self) -> Result<Self, ConfigError> {
        self.with_context_in(&Directories {
            home: env::home_dir(),
            config: env::var_os("XDG_CONFIG_HOME")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        })
    }

    pub(super) fn with_context_in(
        mut self,
        directories: &Directories,
    ) -> Result<Self, ConfigError> {
        if let Some(name) = self.context.take() {
            let path = directories.file(&name)?;
            let context = Context::read(&path)
                .and_then(|context| context.settings(&self, directories))
                .map_err(|why| wrong("context", &format!("names {}: {why}", path.display())))?;
            self = self.over(context);
            self.check_credentials().map_err(|why| {
                wrong(
                    "context",
                    &format!("names {}, but then {why}", path.display()),
                )
            })?;
        }
        if self.urls.is_empty() {
            self.urls = vec![DEFAULT_URL.into()];
        }
        self.urls = NatsUrl::each(&self.urls);
        Ok(self)
    }
}

impl Directories {
    /// The file of the context.
    fn file(&self, name: &str) -> Result<PathBuf, ConfigError> {
        let path = Path::new(name);
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        if name.is_empty() || name.contains("..") || name.contains(['/', '\\']) {
            return Err(wrong(
                "context",
                "must be the name of a context, as `nats context ls` shows it, or the absolute path of its file",
            ));
        }
        let beside_home = self.home.as_ref().map(|home| home.join(".config"));
        let config = self.config.clone().or(beside_home).ok_or_else(|| {
            wrong(
                "context",
                "names a file below the home directory, but there is none: set XDG_CONFIG_HOME",
            )
        })?;
        Ok(config.join("nats/context").join(format!("{name}.json")))
    }

    /// Expands `~` to the home directory.
    fn path(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => path.into(),
        }
    }
}

impl Context {
    /// An error shows nothing of the contents: they may be secret.
    fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read(path).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| {
            format!(
                "it is not a context of the `nats` tool: line {}, column {}",
                error.line(),
                error.column()
            )
        })
    }

    /// The settings of the context, with all else unchanged.
    fn settings(
        self,
        all_else: &NatsConfig,
        directories: &Directories,
    ) -> Result<NatsConfig, String> {
        self.check()?;
        let path = |text: String| {
            set(text).map(|text| directories.path(text.strip_prefix("file://").unwrap_or(&text)))
        };
        let secret = |text: String| set(text).map(Secret::from);
        let nkey = path(self.nkey)
            .map(|path| path.to_string_lossy().into_owned())
            .or(set(self.user_seed));
        let settings = NatsConfig {
            urls: set(self.url).map_or_else(Vec::new, |urls| NatsUrl::list(&urls)),
            token: secret(self.token),
            user: set(self.user),
            password: secret(self.password),
            creds: path(self.creds),
            nkey: nkey.map(Secret::from),
            jwt: secret(self.user_jwt),
            tls: NatsTls {
                ca: path(self.ca),
                cert: path(self.cert),
                key: path(self.key),
                handshake: self.tls_first.then_some(TlsHandshake::First),
            },
            inbox_prefix: set(self.inbox_prefix),
            jetstream_domain: set(self.jetstream_domain),
            jetstream_api_prefix: set(self.jetstream_api_prefix),
            ..all_else.clone()
        };
        Ok(settings)
    }

    /// Refuses unsupported settings.
    fn check(&self) -> Result<(), String> {
        let not_done = [
            (
                "nsc",
                &self.nsc,
                "give a file of credentials instead, as `nsc generate creds` writes it",
            ),
            (
                "socks_proxy",
                &self.socks_proxy,
                "name a server that can be reached without one",
            ),
            (
                "windows_cert_store",
                &self.windows_cert_store,
                "give `cert` and `key` instead",
            ),
        ];
        if let Some((key, _, instead)) = not_done.iter().find(|(_, value, _)| !value.is_empty()) {
            return Err(format!("its `{key}` cannot be used here: {instead}"));
        }
        let secrets = [
            ("token", &self.token),
            ("password", &self.password),
            ("creds", &self.creds),
            ("nkey", &self.nkey),
            ("user_jwt", &self.user_jwt),
            ("user_seed", &self.user_seed),
        ];
        let elsewhere = |value: &&String| ELSEWHERE.iter().any(|it| value.starts_with(it));
        match secrets.iter().find(|(_, value)| elsewhere(value)) {
            Some((key, _)) => Err(format!(
                "its `{key}` must be fetched from elsewhere, which is not supported: write it into a file, or set it \
                 in the environment"
            )),
            None => Ok(()),
        }
    }
}

fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
