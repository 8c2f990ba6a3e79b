//! Finds settings that could never work, before anything connects.

use super::{NatsConfig, NatsTls, NatsUrl, wrong};
use crate::error::ConfigError;

impl NatsConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, and its valid values. A secret is never shown.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let urls = NatsUrl::each(&self.urls);
        urls.iter().try_for_each(NatsUrl::check)?;
        self.check_names()?;
        self.check_credentials()?;
        self.check_jetstream()?;
        if self.ping_interval.is_zero() {
            return Err(wrong("ping_interval", "must be above 0, such as \"5s\""));
        }
        self.check_new_stream()
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        if self.stream.is_empty() || self.stream.contains(|c| bad(c) || c == '.') {
            return Err(wrong(
                "stream",
                "must be a name without spaces, `.`, `*`, `>`, `/` and `\\`",
            ));
        }
        check_prefixes(&[
            ("subject_prefix", Some(&self.subject_prefix)),
            ("cursor_prefix", Some(&self.cursor_prefix)),
            ("inbox_prefix", self.inbox_prefix.as_ref()),
            ("jetstream_api_prefix", self.jetstream_api_prefix.as_ref()),
        ])?;
        let below = |one: &str, other: &str| format!("{one}.").starts_with(&format!("{other}."));
        if below(&self.cursor_prefix, &self.subject_prefix)
            || below(&self.subject_prefix, &self.cursor_prefix)
        {
            return Err(wrong(
                "cursor_prefix",
                "must not lie below `subject_prefix`, nor above it: cursors are not entries",
            ));
        }
        Ok(())
    }

    pub(super) fn check_credentials(&self) -> Result<(), ConfigError> {
        let ways = [
            ("token", self.token.is_some()),
            ("user", self.user.is_some()),
            ("creds", self.creds.is_some()),
            ("nkey", self.nkey.is_some() || self.jwt.is_some()),
        ];
        let mut given = ways.iter().filter(|(_, given)| *given);
        if let (Some((one, _)), Some((other, _))) = (given.next(), given.next()) {
            return Err(wrong(
                other,
                &format!("cannot be combined with `{one}`: give one of them"),
            ));
        }
        match (&self.user, &self.password) {
            (Some(_), None) => Err(wrong(
                "user",
                "needs `password` as well; a token goes into `token`",
            )),
            (None, Some(_)) => Err(wrong("password", "needs `user` as well")),
            _ if self.jwt.is_some() && self.nkey.is_none() => Err(wrong(
                "jwt",
                "needs `nkey` as well, with the seed of the JWT's user",
            )),
            _ => self.tls.check(),
        }
    }

    fn check_jetstream(&self) -> Result<(), ConfigError> {
        let Some(domain) = &self.jetstream_domain else {
            return Ok(());
        };
        if self.jetstream_api_prefix.is_some() {
            return Err(wrong(
                "jetstream_api_prefix",
                "cannot be combined with `jetstream_domain`: give one of them",
            ));
        }
        if domain.is_empty() || domain.contains(|c| bad(c) || c == '.') {
            return Err(wrong(
                "jetstream_domain",
                "must be a word without spaces, `.`, `*`, `>`, `/` and `\\`",
            ));
        }
        Ok(())
    }

    fn check_new_stream(&self) -> Result<(), ConfigError> {
        if !(1..=5).contains(&self.stream_replicas) {
            return Err(wrong("stream_replicas", "must be from 1 to 5"));
        }
        if self.stream_max_age.is_some_and(|age| age.is_zero()) {
            return Err(wrong(
                "stream_max_age",
                "must be above 0; leave it out to keep messages for ever",
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

/// Characters that no name or subject may contain.
fn bad(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "*>/\\".contains(c)
}

fn check_prefixes(prefixes: &[(&'static str, Option<&String>)]) -> Result<(), ConfigError> {
    for &(key, prefix) in prefixes {
        if prefix.is_some_and(|it| it.contains(bad) || it.split('.').any(str::is_empty)) {
            return Err(wrong(
                key,
                "must be words with dots between them, without spaces and wildcards, such as \"assembly.audit\"",
            ));
        }
    }
    Ok(())
}
