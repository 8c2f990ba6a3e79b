//! The credentials of the client.

use std::io;
use std::path::Path;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use tokio::fs;

use crate::config::{NatsConfig, NatsTls, Secret, TlsHandshake};
use crate::error::SinkError;

/// Adds the credentials from the settings and the URL. Files are read again at each connect, so renewed ones are used
/// without a restart.
pub(super) async fn add(
    options: ConnectOptions,
    config: &NatsConfig,
    address: &ServerAddr,
) -> Result<ConnectOptions, SinkError> {
    let options = with_tls(options, &config.tls);
    // The client ignores credentials in a URL.
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
        let seed = held("nkey", nkey, is_seed).await?;
        let Some(jwt) = &config.jwt else {
            return Ok(options.nkey(seed));
        };
        let jwt = held("jwt", jwt, is_jwt).await?;
        return signed(options, &jwt, &seed);
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

/// The address without anything before its `@`: the client logs addresses.
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
    if tls.handshake == Some(TlsHandshake::First) {
        options = options.tls_first();
    }
    options
}

fn is_seed(text: &str) -> bool {
    const SEED_LENGTH: usize = 58;
    text.starts_with('S') && text.len() == SEED_LENGTH
}

/// A JWT begins with the header `{"`, encoded.
fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ")
}

/// The setting itself if it is the secret, else the matching line of the file with that name.
async fn held(key: &str, secret: &Secret, is: fn(&str) -> bool) -> Result<String, SinkError> {
    let secret = secret.expose().trim();
    if is(secret) {
        return Ok(secret.to_owned());
    }
    // A mistyped secret would be taken for a path: keep it out of the error.
    let unreadable = |error| unreadable(key, Path::new("***"), &error);
    let text = fs::read_to_string(secret).await.map_err(unreadable)?;
    let mut lines = text.lines().map(str::trim);
    let found = lines.find(|line| is(line)).map(str::to_owned);
    found.ok_or_else(|| unreadable(io::Error::other("it contains none")))
}

/// Shows the JWT and signs with the seed, as with a credentials file.
fn signed(options: ConnectOptions, jwt: &str, seed: &str) -> Result<ConnectOptions, SinkError> {
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    options
        .credentials(&creds)
        .map_err(|error| unreadable("jwt", Path::new("***"), &error))
}

fn unreadable(key: &str, path: &Path, error: &io::Error) -> SinkError {
    SinkError::Misconfigured(format!(
        "cannot use {}, which `{key}` names: {error}",
        path.display()
    ))
}

/// A user or password from a URL, where special characters are written as `%40`.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
