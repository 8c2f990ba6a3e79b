//! The binary's own NATS client. It shares no code with the sink.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{ConnectOptions, ServerAddr};
use spillring::NatsConfig;
use spillring::nats::{NatsUrl, Secret, TlsHandshake};
use tokio::runtime::{Builder, Runtime};

/// The longest wait for the server.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One worker thread receives while the caller's thread processes.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Connects to the first server that accepts us.
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
    let options = with_credentials(options(config), config, &address).await?;
    let client = options.connect(address).await.map_err(io::Error::other)?;
    let context = ContextBuilder::new().api_prefix(api(config));
    Ok(context.build(client))
}

/// The prefix of the `JetStream` API's subjects.
fn api(config: &NatsConfig) -> String {
    match (&config.jetstream_domain, &config.jetstream_api_prefix) {
        (Some(domain), _) => format!("$JS.{domain}.API"),
        (None, Some(prefix)) => prefix.clone(),
        (None, None) => "$JS.API".to_owned(),
    }
}

fn options(config: &NatsConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(ANSWER_MAX);
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(ca) = &config.tls.ca {
        options = options.require_tls(true).add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        options = options
            .require_tls(true)
            .add_client_certificate(cert.clone(), key.clone());
    }
    if config.tls.handshake == Some(TlsHandshake::First) {
        options = options.tls_first();
    }
    options
}

/// The credentials in the URL, or else those in the settings.
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
        let seed = held("nkey", nkey, |text| {
            text.starts_with('S') && text.len() == 58
        })?;
        let Some(jwt) = &config.jwt else {
            return Ok(options.nkey(seed));
        };
        let jwt = held("jwt", jwt, |text| text.starts_with("eyJ"))?;
        return options.credentials(&format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        ));
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

/// The secret itself, or a line of the file that the setting names.
fn held(key: &str, secret: &Secret, is: fn(&str) -> bool) -> io::Result<String> {
    let secret = secret.expose().trim();
    if is(secret) {
        return Ok(secret.to_owned());
    }
    // A mistyped secret would be taken for a path: do not print it.
    let unreadable = |why: &dyn Display| io::Error::other(format!("the file of `{key}`: {why}"));
    let text = std::fs::read_to_string(secret).map_err(|error| unreadable(&error))?;
    let mut lines = text.lines().map(str::trim);
    let found = lines.find(|line| is(line)).map(str::to_owned);
    found.ok_or_else(|| unreadable(&"no line of it is one"))
}

/// Decodes `%40` to `@`, and the like.
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
