//! The address of a sink, as written on a command line or in a config file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Sink;
use super::jetstream::JetStreamSink;
use super::json_lines::JsonLinesSink;
use crate::config::{NatsConfig, NatsUrl};
use crate::error::ConfigError;

/// The address of a sink: `jsonl:PATH`, `nats://HOST:PORT` or `tls://HOST:PORT` (more servers after commas), or `nats`
/// for the servers of a [`NatsConfig`].
///
/// ```
/// use spillring::NatsConfig;
/// use spillring::sink::SinkAddress;
///
/// let address: SinkAddress = "jsonl:audit.jsonl".parse()?;
/// let sink = address.sink(NatsConfig::default())?;
/// # drop(sink);
/// assert!("kafka://host".parse::<SinkAddress>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its `Debug` output may hold a password; `Display` is for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkAddress {
    /// A file of JSON lines.
    JsonLines(PathBuf),
    /// These servers, separated by commas; if empty, those of the settings.
    Nats(String),
}

impl SinkAddress {
    /// Puts the servers of the address, if it names any, into the settings.
    pub fn overrule(&self, nats: &mut NatsConfig) {
        if let Self::Nats(urls) = self
            && !urls.is_empty()
        {
            nats.urls = vec![urls.as_str().into()];
        }
    }

    /// Makes the sink. For NATS, `nats` has the settings; the address [overrules](Self::overrule) its servers.
    ///
    /// # Errors
    ///
    /// NATS settings that cannot be used.
    pub fn sink(&self, mut nats: NatsConfig) -> Result<Box<dyn Sink>, ConfigError> {
        match self {
            Self::JsonLines(path) => Ok(Box::new(JsonLinesSink::new(path))),
            Self::Nats(_) => {
                self.overrule(&mut nats);
                Ok(Box::new(JetStreamSink::new(nats)?))
            }
        }
    }
}

/// Leaves out passwords.
impl fmt::Display for SinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JsonLines(path) => write!(f, "jsonl:{}", path.display()),
            Self::Nats(urls) if urls.is_empty() => f.write_str("nats"),
            Self::Nats(urls) => {
                let urls = urls.split(',').map(str::trim);
                let urls = urls.map(|url| NatsUrl::from(url).to_string());
                f.write_str(&urls.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for SinkAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let error = |problem: String| ConfigError {
            key: "sink",
            problem,
        };
        if let Some(path) = text.strip_prefix("jsonl:") {
            return if path.is_empty() {
                Err(error(
                    "names no file after `jsonl:`: write it like jsonl:audit.jsonl".to_owned(),
                ))
            } else {
                Ok(Self::JsonLines(path.into()))
            };
        }
        if text == "nats" {
            return Ok(Self::Nats(String::new()));
        }
        let is_nats = |url: &str| url.starts_with("nats://") || url.starts_with("tls://");
        let mut urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        let other = match urls.next() {
            // After another URL, the scheme may be left out.
            Some(first) if is_nats(first) => urls.find(|url| url.contains("://") && !is_nats(url)),
            _ => Some(text),
        };
        let Some(other) = other else {
            return Ok(Self::Nats(text.to_owned()));
        };
        // A URL may hold a password: report only what precedes the colon.
        let scheme = other.split(':').next().unwrap_or_default();
        Err(error(format!(
            "cannot be `{scheme}`: write jsonl:PATH, nats://HOST:PORT, tls://HOST:PORT, or nats for the servers of \
             the NATS settings"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_with_commas_between_them_are_an_address() {
        for text in ["nats://a:1,b:2", "tls://a, nats://b,", "nats://u:p@a,b"] {
            assert_eq!(text.parse(), Ok(SinkAddress::Nats(text.to_owned())));
        }
        for (text, reported) in [
            ("a:1,nats://b:2", "cannot be `a`"),
            ("nats://a,ws://b", "cannot be `ws`"),
            (",", "cannot be `,`"),
            ("jsonl:", "names no file"),
        ] {
            let error = text.parse::<SinkAddress>().unwrap_err().to_string();
            assert!(error.contains(reported), "{error}");
        }
    }

    #[test]
    fn an_address_in_words_has_no_password() {
        let address: SinkAddress = "nats://u:secret@a:1,b".parse().unwrap();
        let words = address.to_string();
        assert!(!words.contains("secret"), "{words}");
        assert!(words.contains("a:1") && words.ends_with(",b"), "{words}");
    }
}
