//! The stream: made if it is missing, looked at, changed only if that is asked for.

mod look;
mod subjects;

use std::error::Error;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use tokio::time::Instant;

use super::connection::{Connection, NoAnswer};
use super::failure;
use crate::config::{NatsConfig, StreamCare, StreamStorage};
use crate::error::SinkError;
use crate::host::log;
pub(super) use look::{Found, Way};
pub(super) use subjects::covers;

/// Finds the stream, or makes it, upgrades it if that is asked for, and looks whether it will take our entries.
pub(super) async fn make_sure(
    connection: &mut Connection,
    config: &NatsConfig,
    until: Instant,
) -> Result<Found, SinkError> {
    let mut info = match find(connection, config, until).await? {
        Some(info) => info,
        None => match config.stream_care {
            StreamCare::Create | StreamCare::Upgrade => make(connection, config, until).await?,
            StreamCare::Verify => {
                return Err(SinkError::Misconfigured(format!(
                    "there is no stream {}: make it with the subject {}, or set `stream_care` to \"create\"",
                    config.stream,
                    entries(config)
                )));
            }
        },
    };
    let lacks = look::lacks(&info.config, config);
    if config.stream_care == StreamCare::Upgrade && !lacks.is_empty() {
        info = upgrade(connection, config, info, &lacks, until).await?;
    }
    look::look(&info, config)
}

async fn find(
    connection: &mut Connection,
    config: &NatsConfig,
    until: Instant,
) -> Result<Option<Info>, SinkError> {
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let found = connection
        .answer(until, context.get_stream(&config.stream))
        .await;
    match found.map_err(unanswered)? {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(said) => match said.error_code() {
                ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(failure::of_server(&said)),
            },
            _ => Err(of_request(error.source(), &error.to_string())),
        },
    }
}

/// Makes the stream. Another publisher may be quicker: then theirs is taken.
async fn make(
    connection: &mut Connection,
    config: &NatsConfig,
    until: Instant,
) -> Result<Info, SinkError> {
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let made = connection
        .answer(until, context.create_stream(wanted(config)))
        .await;
    let error = match made.map_err(unanswered)? {
        Ok(stream) => {
            log::info!(stream = %config.stream, "made the stream");
            return Ok(stream.cached_info().clone());
        }
        Err(error) => error,
    };
    match error.kind() {
        CreateStreamErrorKind::JetStream(said) => match said.error_code() {
            ErrorCode::STREAM_NAME_EXIST => {
                let found = find(connection, config, until).await?;
                found.ok_or_else(|| failure::of_server(&said))
            }
            _ => Err(failure::of_server(&said)),
        },
        _ => Err(of_request(error.source(), &error.to_string())),
    }
}

/// Gives the stream what it lacks for transactions. A server that refuses leaves it as it is.
async fn upgrade(
    connection: &mut Connection,
    config: &NatsConfig,
    info: Info,
    lacks: &[String],
    until: Instant,
) -> Result<Info, SinkError> {
    let mut wanted = info.config.clone();
    wanted.allow_atomic_publish = true;
    wanted.allow_rollup = true;
    let cursors = cursors(config);
    if !wanted
        .subjects
        .iter()
        .any(|theirs| covers(theirs, &cursors))
    {
        wanted.subjects.push(cursors);
    }
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let updated = connection
        .answer(until, context.update_stream(wanted))
        .await;
    match updated.map_err(unanswered)? {
        Ok(updated) => {
            log::info!(stream = %config.stream, "upgraded the stream: it lacked {}", lacks.join(", "));
            Ok(updated)
        }
        Err(error) => {
            log::warning!(stream = %config.stream, %error, "the stream cannot be upgraded");
            Ok(info)
        }
    }
}

fn unanswered(why: NoAnswer) -> SinkError {
    match why {
        NoAnswer::Denied(why) => SinkError::Misconfigured(why),
        NoAnswer::Late => silent(),
    }
}

fn silent() -> SinkError {
    SinkError::Unavailable("JetStream did not answer within the time limit".to_owned())
}

fn of_request(source: Option<&(dyn Error + 'static)>, text: &str) -> SinkError {
    let kind = source
        .and_then(|source| source.downcast_ref::<RequestError>())
        .map(RequestError::kind);
    match kind {
        Some(RequestErrorKind::TimedOut) => silent(),
        Some(RequestErrorKind::NoResponders) => SinkError::Unavailable(
            "nobody answers for JetStream: switch it on at the servers, or wait for their leader"
                .to_owned(),
        ),
        _ => SinkError::Unavailable(format!("the stream cannot be looked at: {text}")),
    }
}

/// The subjects of entries.
fn entries(config: &NatsConfig) -> String {
    format!("{}.>", config.subject_prefix)
}

/// The subjects of cursors.
fn cursors(config: &NatsConfig) -> String {
    format!("{}.>", config.cursor_prefix)
}

fn wanted(config: &NatsConfig) -> Config {
    Config {
        name: config.stream.clone(),
        subjects: vec![entries(config), cursors(config)],
        storage: match config.stream_storage {
            StreamStorage::File => StorageType::File,
            StreamStorage::Memory => StorageType::Memory,
        },
        num_replicas: config.stream_replicas,
        max_age: config.stream_max_age.unwrap_or_default(),
        max_bytes: config
            .stream_max_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        // An audit trail that is full refuses, so that the publisher keeps what is new; it deletes nothing.
        discard: DiscardPolicy::New,
        allow_direct: true,
        allow_atomic_publish: true,
        allow_rollup: true,
        ..Config::default()
    }
}
