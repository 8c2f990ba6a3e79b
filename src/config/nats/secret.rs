//! Values that are never shown: a secret, and a URL that may hold one.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::error::ConfigError;

/// A value that `Debug` does not show.
///
/// ```
/// let token = spillring::nats::Secret::from("s3cr3t");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.expose(), "s3cr3t");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The URL of a NATS server, such as `nats://127.0.0.1:4222` or `tls://nats.example.org`, or several, separated by
/// commas, such as `nats://a:4222,b:4222`. `Debug` and `Display` mask everything before an `@`.
///
/// Each of several is a separate URL, as in NATS's own clients: it does not inherit user, password or token from the
/// one before. A URL without a scheme is `tls://` if any other is, else `nats://`. Write a comma inside a password as
/// `%2C`.
///
/// ```
/// let url = spillring::nats::NatsUrl::from("tls://agent:s3cr3t@nats.example.org");
/// assert_eq!(url.to_string(), "tls://***@nats.example.org");
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct NatsUrl(String);

impl Secret {
    /// The value itself: show it to a server only, never to a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// The format's own error for a value of another kind is dropped: it would show the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        text.map(Self)
            .map_err(|_| D::Error::custom("a secret must be a string, in quotes"))
    }
}

/// The same, for a list of URLs.
pub(super) fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NatsUrl>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| {
        D::Error::custom("`urls` must be a list of strings, such as [\"nats://127.0.0.1:4222\"]")
    })
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl NatsUrl {
    /// The URL itself, including everything before its `@`.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address of the server. An error never shows the URL's secret.
    pub(crate) fn address(&self) -> Result<ServerAddr, ConfigError> {
        let wrong = |shown: &str, why: &str| ConfigError {
            key: "urls",
            problem: format!(
                "has {shown}, which {why}: write it like \"nats://127.0.0.1:4222\" or \"tls://nats.example.org\""
            ),
        };
        let address = ServerAddr::from_str(&self.0).map_err(|_| {
            // A comma in a password cuts a URL in two: the apparent port may be half of the password.
            let (scheme, who, host) = self.parts();
            let host = host.split(':').next().filter(|_| who.is_empty());
            let shown = host.map_or_else(|| self.to_string(), |host| format!("{scheme}{host}"));
            wrong(&shown, "is not a URL")
        })?;
        if !["nats", "tls"].contains(&address.scheme()) {
            return Err(wrong(
                &self.to_string(),
                "has a scheme other than nats or tls",
            ));
        }
        if address.host().is_empty() {
            return Err(wrong(&self.to_string(), "names no host"));
        }
        Ok(address)
    }

    /// Several, separated by commas; a trailing comma is ignored. A URL without a scheme is encrypted if another one
    /// is.
    pub(super) fn list(urls: &str) -> Vec<Self> {
        let urls = urls.split(',').map(str::trim);
        let urls: Vec<_> = urls.filter(|url| !url.is_empty()).collect();
        let encrypted = urls.iter().any(|url| url.starts_with("tls://"));
        let scheme = if encrypted { "tls://" } else { "nats://" };
        let whole = |url: &&str| {
            let scheme = if url.contains("://") { "" } else { scheme };
            Self(format!("{scheme}{url}"))
        };
        urls.iter().map(whole).collect()
    }

    /// Splits each list of servers. An empty list becomes a URL without a host, which validation then refuses.
    pub(in crate::config) fn each(urls: &[Self]) -> Vec<Self> {
        let each = |url: &Self| match Self::list(&url.0) {
            none if none.is_empty() => vec![Self("nats://".to_owned())],
            urls => urls,
        };
        urls.iter().flat_map(each).collect()
    }

    /// Another server, such as `10.0.0.2:4222`, reached in the same way: encrypted if this one is, and as the same
    /// user.
    pub(crate) fn at(&self, host: &str) -> Self {
        let (scheme, who, _) = self.parts();
        let other = Self::from(host);
        let (_, _, host) = other.parts();
        Self(format!("{scheme}{who}{host}"))
    }

    /// Whether there is anything before its `@`.
    pub(super) fn lets_in(&self) -> bool {
        !self.parts().1.is_empty()
    }

    /// The same server, without anything before its `@`.
    pub(in crate::config) fn bare(&self) -> Self {
        let (scheme, _, host) = self.parts();
        Self(format!("{scheme}{host}"))
    }

    /// The same server, over TLS.
    #[cfg(feature = "assembly")]
    pub(in crate::config) fn with_tls(&self) -> Self {
        let (_, who, host) = self.parts();
        Self(format!("tls://{who}{host}"))
    }

    /// The parts up to `://`, from there up to `@`, and after it.
    fn parts(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.0.split_at(self.0.find("://").map_or(0, |at| at + 3));
        let (who, host) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        (scheme, who, host)
    }

    pub(in crate::config) fn check(&self) -> Result<(), ConfigError> {
        self.address().map(drop)
    }
}

impl Default for NatsUrl {
    /// A server on this machine.
    fn default() -> Self {
        Self("nats://127.0.0.1:4222".to_owned())
    }
}

impl<T: Into<String>> From<T> for NatsUrl {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, who, host) = self.parts();
        let mask = if who.is_empty() { "" } else { "***@" };
        write!(f, "{scheme}{mask}{host}")
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
