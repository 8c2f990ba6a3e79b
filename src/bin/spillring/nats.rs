//! What the binary asks a NATS server itself, with a client of its own and nothing of the sink's.

use std::io;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, ServerAddr};
use spillring::{NatsConfig, NatsUrl, Secret};
use tokio::runtime::{Builder, Runtime};

/// The longest wait for the server.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Connects to the first of the servers that lets us in.
pub(crate) async fn connect(config: &NatsConfig) -> io::Result<Context> {
    let mut why = io::Error::other("no server is named");
    for url in &config.urls {
        match connect_to(config, url).await {
            Ok(context) => return Ok(context),
            Err(error) => why = io::Error::other(format!("{url}: {error}")),
        }
    }
    Err(why)
}

async fn connect_to(config: &NatsConfig, url: &NatsUrl) -> io::Result<Context> {
    let address: ServerAddr = url.expose().parse()?;
    let options = with_tls(config);
    let options = with_credentials(options, config, &address).await?;
    let client = options
        .connection_timeout(ANSWER_MAX)
        .connect(address)
        .await
        .map_err(io::Error::other)?;
    Ok(jetstream::new(client))
}

fn with_tls(config: &NatsConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new();
    if let Some(ca) = &config.tls.ca {
        options = options.require_tls(true).add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        options = options
            .require_tls(true)
            .add_client_certificate(cert.clone(), key.clone());
    }
    options
}

/// The credentials of the URL, else those of the settings.
async fn with_credentials(
    options: ConnectOptions,
    config: &NatsConfig,
    address: &ServerAddr,
) -> io::Result<ConnectOptions> {
    match (address.username(), address.password()) {
        (Some(user), Some(password)) => {
            return Ok(options.user_and_password(decoded(user), decoded(password)));
        }
        (Some(token), None) => return Ok(options.token(decoded(token))),
        (None, _) => {}
    }
    if let Some(file) = &config.creds {
        return options.credentials_file(file).await;
    }
    if let Some(nkey) = &config.nkey {
        return Ok(options.nkey(seed(nkey)?));
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

/// The setting itself, or what stands in the file of that name.
fn seed(nkey: &Secret) -> io::Result<String> {
    let text = nkey.expose();
    if text.starts_with('S') && text.len() == 58 {
        return Ok(text.to_owned());
    }
    match std::fs::read_to_string(text) {
        Ok(seed) => Ok(seed.trim().to_owned()),
        // A mistyped seed would be taken for a path: it is not told.
        Err(error) => Err(io::Error::other(format!("the file of `nkey`: {error}"))),
    }
}

/// What a URL writes as `%40` is an `@`.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let hex = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = hex {
            bytes.push(byte);
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        } else {
            bytes.push(b'%');
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
