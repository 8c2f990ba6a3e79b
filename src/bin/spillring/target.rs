//! Where entries are to go: the address on the command line, and the sink that it names.

use std::path::PathBuf;
use std::str::FromStr;

use spillring::{JetStreamSink, JsonLinesSink, NatsConfig, NatsUrl, Sink};

use crate::telling::Problem;

/// What `--sink` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    JsonLines(PathBuf),
    /// These servers, with commas between them, or, if none, those of the settings.
    Nats(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("jsonl:") {
            return if path.is_empty() {
                Err("`jsonl:` names no file: write it like jsonl:audit.jsonl".to_owned())
            } else {
                Ok(Self::JsonLines(path.into()))
            };
        }
        if text == "nats" {
            return Ok(Self::Nats(String::new()));
        }
        let urls = text.split(',').map(str::trim);
        let urls: Vec<_> = urls.filter(|url| !url.is_empty()).collect();
        let other = match urls.first() {
            Some(first) if is_nats(first) => urls.into_iter().find(|url| !may_follow(url)),
            _ => Some(text),
        };
        let Some(other) = other else {
            return Ok(Self::Nats(text.to_owned()));
        };
        // A URL may hold a password: only what stands before the colon is told.
        let scheme = other.split(':').next().unwrap_or_default();
        Err(format!(
            "there is no sink `{scheme}`: write jsonl:PATH, nats://HOST:PORT, tls://HOST:PORT, or nats for the servers \
             of NATS_URL or of the config file"
        ))
    }
}

fn is_nats(url: &str) -> bool {
    url.starts_with("nats://") || url.starts_with("tls://")
}

/// Behind another URL the scheme may be left out.
fn may_follow(url: &str) -> bool {
    is_nats(url) || !url.contains("://")
}

impl Address {
    /// Puts its servers, if it names any, into the settings.
    pub(crate) fn overrule(&self, nats: &mut NatsConfig) {
        if let Self::Nats(urls) = self
            && !urls.is_empty()
        {
            nats.urls = vec![urls.as_str().into()];
        }
    }

    /// The sink, with these settings where it is one of NATS.
    pub(crate) fn sink(&self, nats: NatsConfig) -> Result<Box<dyn Sink>, Problem> {
        match self {
            Self::JsonLines(path) => Ok(Box::new(JsonLinesSink::new(path))),
            Self::Nats(_) => {
                let sink = JetStreamSink::new(nats)
                    .map_err(|error| Problem::new(format_args!("bad NATS settings: {error}")))?;
                Ok(Box::new(sink))
            }
        }
    }

    /// Where that is, with these settings; no secret of a URL is told.
    pub(crate) fn in_words(&self, nats: &NatsConfig) -> String {
        match self {
            Self::JsonLines(path) => path.display().to_string(),
            Self::Nats(_) => {
                let urls: Vec<_> = nats.urls.iter().map(NatsUrl::to_string).collect();
                format!("the stream {} of {}", nats.stream, urls.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_with_commas_between_them_are_an_address() {
        for text in ["nats://a:1,b:2", "tls://a, nats://b,", "nats://u:p@a,b"] {
            assert_eq!(text.parse(), Ok(Address::Nats(text.to_owned())));
        }
        for (text, told) in [
            ("a:1,nats://b:2", "no sink `a`"),
            ("nats://a,ws://b", "no sink `ws`"),
            (",", "no sink `,`"),
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.contains(told), "{error}");
        }
    }
}
