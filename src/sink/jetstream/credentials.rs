//! How the client shows who it is.

use std::path::Path;

use async_nats::{ConnectOptions, ServerAddr};

use crate::config::{NatsConfig, NatsTls};
use crate::error::SinkError;

/// Adds what the settings and the URL say about who we are. Files are read anew at each connect, so that renewed ones
/// are taken without a restart.
pub(super) async fn add(
    options: ConnectOptions,
    config: &NatsConfig,
    address: &ServerAddr,
) -> Result<ConnectOptions, SinkError> {
    let options = with_tls(options, &config.tls);
    // The client reads no credentials out of a URL.
    match (address.username(), address.password()) {
        (Some(user), Some(password)) => {
            return Ok(options.user_and_password(decoded(user), decoded(password)));
        }
        (Some(token), None) => return Ok(options.token(decoded(token))),
        (None, _) => {}
    }
    if let Some(path) = &config.creds {
        let read = options.credentials_file(path).await;
        return read.map_err(|error| unreadable("creds", path, &error));
    }
    if let Some(nkey) = &config.nkey {
        return Ok(options.nkey(seed(nkey.expose()).await?));
    }
    if let Some(token) = &config.token {
        return Ok(options.token(token.expose().to_owned()));
    }
    Ok(match (&config.user, &config.password) {
        (Some(user), Some(password)) => {
            options.user_and_password(user.clone(), password.expose().to_owned())
        }
        _ => options,
    })
}

/// The address without what stands before its `@`: the client writes addresses to its log.
pub(super) fn removed(address: ServerAddr) -> Result<ServerAddr, SinkError> {
    let mut url = address.into_inner();
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    let bare = cleared.ok().and_then(|()| ServerAddr::from_url(url).ok());
    bare.ok_or_else(|| SinkError::Misconfigured("a URL names no host".to_owned()))
}

fn with_tls(mut options: ConnectOptions, tls: &NatsTls) -> ConnectOptions {
    if let Some(ca) = &tls.ca {
        options = options.require_tls(true).add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        options = options
            .require_tls(true)
            .add_client_certificate(cert.clone(), key.clone());
    }
    options
}

/// The setting itself if it looks like a seed, else what the file of that name holds.
async fn seed(nkey: &str) -> Result<String, SinkError> {
    const SEED_LENGTH: usize = 58;
    if nkey.starts_with('S') && nkey.len() == SEED_LENGTH {
        return Ok(nkey.to_owned());
    }
    match tokio::task::spawn_blocking({
        let path = nkey.to_owned();
        move || std::fs::read_to_string(path)
    })
    .await
    {
        Ok(Ok(text)) => Ok(text.trim().to_owned()),
        // A mistyped seed would be taken for a path: it is not told.
        Ok(Err(error)) => Err(unreadable("nkey", Path::new("***"), &error)),
        Err(error) => Err(SinkError::Unavailable(format!(
            "the reading of `nkey` was broken off: {error}"
        ))),
    }
}

fn unreadable(key: &str, path: &Path, error: &std::io::Error) -> SinkError {
    SinkError::Misconfigured(format!(
        "cannot use {}, which `{key}` names: {error}",
        path.display()
    ))
}

/// A user or password out of a URL, where special characters are written as `%40`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn special_characters_of_a_url_are_decoded() {
        let table = [
            ("plain", "plain"),
            ("p%40ss%3aword", "p@ss:word"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A9", "é"),
        ];
        for (text, expected) in table {
            assert_eq!(decoded(text), expected);
        }
    }
}
