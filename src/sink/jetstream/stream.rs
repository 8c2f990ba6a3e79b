//! The stream: created if it is missing, inspected, changed only if the settings ask for it.

use std::sync::Arc;

use async_nats::jetstream::ErrorCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::failure;
use super::inspect::{Found, inspect};
use super::settings::{FAST_SINCE, Info};
use super::subjects::{covers, cursors, entries};
use super::wire::Wire;
use crate::config::{NatsConfig, StreamCare, StreamStorage};
use crate::error::SinkError;
use crate::host::log;

/// Whether the user may read entries, which recovery of fast batches needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ReadPermission {
    #[default]
    Untried,
    Permitted,
    Denied,
}

/// Finds the stream, or creates it, upgrades it if asked to, and checks that it will take our entries.
pub(super) async fn make_sure(
    wire: &mut Wire,
    reading: &mut ReadPermission,
    until: Instant,
) -> Result<Found, SinkError> {
    let config = Arc::clone(&wire.config);
    let mut info = match find(wire, String::new(), until).await? {
        Some(info) => info,
        None if config.stream_care != StreamCare::Verify => make(wire, until).await?,
        None => {
            return Err(SinkError::Misconfigured(format!(
                "there is no stream {}: make it with the subjects {} and {}, or set `stream_care` to \"create\"",
                config.stream,
                entries(&config),
                cursors(&config)
            )));
        }
    };
    if config.stream_care == StreamCare::Upgrade {
        info = upgrade(wire, info, until).await?;
    }
    let mut found = inspect(&info, &config, wire.connection.server_version())?;
    if found.is_fast() && !may_read(wire, reading, until).await? {
        found.without_fast();
    }
    Ok(found)
}

/// Whether entries may be read. If not, the server has denied something.
async fn may_read(
    wire: &mut Wire,
    reading: &mut ReadPermission,
    until: Instant,
) -> Result<bool, SinkError> {
    if *reading == ReadPermission::Untried {
        let request = wire.api("DIRECT.GET");
        *reading = match wire.ask(&request, r#"{"seq":1}"#, until).await {
            Ok(_) => ReadPermission::Permitted,
            Err(SinkError::Misconfigured(_)) => ReadPermission::Denied,
            Err(error) => return Err(error),
        };
    }
    Ok(*reading == ReadPermission::Permitted)
}

/// Whether the leader lists messages on a subject. It may list one that it cannot read.
pub(super) async fn lists(
    wire: &mut Wire,
    subject: &str,
    until: Instant,
) -> Result<bool, SinkError> {
    let wanted = json!({ "subjects_filter": subject }).to_string();
    let info = find(wire, wanted, until).await?;
    Ok(info.is_some_and(|info| info.state.subjects.is_some_and(|on| !on.is_empty())))
}

async fn find(wire: &mut Wire, wanted: String, until: Instant) -> Result<Option<Info>, SinkError> {
    let request = wire.api("STREAM.INFO");
    match wire.request(&request, wanted, until).await? {
        Ok(info) => Ok(Some(info)),
        Err(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Err(said) => Err(failure::of_server(&said)),
    }
}

/// Creates the stream. If another publisher is quicker, theirs is used.
async fn make(wire: &mut Wire, until: Instant) -> Result<Info, SinkError> {
    let request = wire.api("STREAM.CREATE");
    let fast = wire.connection.server_version() >= FAST_SINCE;
    let wanted = wanted(&wire.config, fast).to_string();
    match wire.request::<Info>(&request, wanted, until).await? {
        Ok(_) => log_made(&wire.config),
        Err(said) if said.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
        Err(said) => return Err(failure::of_server(&said)),
    }
    // The answer to a creation lacks the domain.
    let made = find(wire, String::new(), until).await?;
    made.ok_or_else(|| {
        SinkError::Unavailable("the stream was created, and is gone again".to_owned())
    })
}

/// Logs the limits of the new stream, and which settings change them: once in its life, loud enough to be seen.
fn log_made(config: &NatsConfig) {
    let age = config.stream_max_age;
    log::warning!(
        stream = %config.stream,
        stream_replicas = config.stream_replicas,
        stream_max_age = %age.map_or("for ever".to_owned(), |age| format!("{age:?}")),
        stream_max_bytes = %config.stream_max_bytes.map_or("no bound".to_owned(), |max| max.to_string()),
        "created the stream with these settings, which apply only at creation: to change them, edit the stream on the server"
    );
}

/// Adds what the stream lacks, and removes what would let others erase entries. All other settings stay, known here or
/// not. If a server refuses, the stream stays as it is.
async fn upgrade(wire: &mut Wire, mut info: Info, until: Instant) -> Result<Info, SinkError> {
    let before = info.config.clone();
    let mut set = |key: &str, value: Value| {
        if let Some(config) = info.config.as_object_mut() {
            config.insert(key.to_owned(), value);
        }
    };
    set("allow_atomic", json!(true));
    if wire.connection.server_version() >= FAST_SINCE {
        set("allow_batched", json!(true));
    }
    set("allow_direct", json!(true));
    set("allow_rollup_hdrs", json!(false));
    set("deny_delete", json!(true));
    set("deny_purge", json!(true));
    let cursors = cursors(&wire.config);
    let subjects = before["subjects"].as_array().cloned().unwrap_or_default();
    let covered = |theirs: &Value| theirs.as_str().is_some_and(|it| covers(it, &cursors));
    if !subjects.iter().any(covered) {
        let more = subjects.into_iter().chain([json!(cursors)]).collect();
        set("subjects", Value::Array(more));
    }
    if info.config == before {
        return Ok(info);
    }
    let request = wire.api("STREAM.UPDATE");
    let wanted = info.config.to_string();
    match wire.request(&request, wanted, until).await? {
        Ok(Info { config: now, .. }) => {
            log::info!(stream = %wire.config.stream, "upgraded the stream");
            info.config = now;
            Ok(info)
        }
        Err(error) => {
            log::warning!(stream = %wire.config.stream, %error, "the stream cannot be upgraded");
            info.config = before;
            Ok(info)
        }
    }
}

pub(super) fn wanted(config: &NatsConfig, fast: bool) -> Value {
    let age = config.stream_max_age.unwrap_or_default();
    let mut wanted = json!({
        "name": config.stream,
        "subjects": [entries(config), cursors(config)],
        "retention": "limits",
        "storage": match config.stream_storage {
            StreamStorage::File => "file",
            StreamStorage::Memory => "memory",
        },
        "num_replicas": config.stream_replicas,
        "max_age": u64::try_from(age.as_nanos()).unwrap_or(u64::MAX >> 1),
        "max_bytes": config.stream_max_bytes.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX)),
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        // A full audit trail refuses new entries, which the publisher keeps; it deletes nothing.
        "discard": "new",
        "deny_delete": true,
        "deny_purge": true,
        "allow_direct": true,
        "allow_atomic": true,
    });
    if fast {
        wanted["allow_batched"] = json!(true);
    }
    wanted
}
