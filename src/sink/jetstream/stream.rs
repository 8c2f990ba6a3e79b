//! The stream: made if it is missing, looked at, never changed.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use std::error::Error;

use tokio::time::Instant;

use super::connection::{Connection, NoAnswer};
use super::failure;
use crate::config::{NatsConfig, StreamCare, StreamStorage};
use crate::error::SinkError;

/// What there is to know about the stream.
#[derive(Debug)]
pub(super) struct Found {
    /// The largest message that it takes, headers included.
    pub(super) message_max: Option<usize>,
    /// What could lose entries that it has acknowledged.
    pub(super) weaknesses: Vec<&'static str>,
}

/// Finds the stream, or makes it, and looks whether it will take our entries.
pub(super) async fn make_sure(
    connection: &mut Connection,
    config: &NatsConfig,
    until: Instant,
) -> Result<Found, SinkError> {
    let found = match find(connection, config, until).await? {
        Some(found) => found,
        None => match config.stream_care {
            StreamCare::Create => make(connection, config, until).await?,
            StreamCare::Verify => {
                return Err(SinkError::Misconfigured(format!(
                    "there is no stream {}: make it with the subject {}, or set `stream_care` to \"create\"",
                    config.stream,
                    subjects(config)
                )));
            }
        },
    };
    check(&found, config)
}

async fn find(
    connection: &mut Connection,
    config: &NatsConfig,
    until: Instant,
) -> Result<Option<Config>, SinkError> {
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let found = connection
        .answer(until, context.get_stream(&config.stream))
        .await;
    match found.map_err(unanswered)? {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
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
) -> Result<Config, SinkError> {
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let made = connection
        .answer(until, context.create_stream(wanted(config)))
        .await;
    let error = match made.map_err(unanswered)? {
        Ok(stream) => {
            tracing::info!(target: "spillring", stream = %config.stream, "made the stream");
            return Ok(stream.cached_info().config.clone());
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

fn unanswered(why: NoAnswer) -> SinkError {
    match why {
        NoAnswer::Denied(said) => SinkError::Misconfigured(failure::not_permitted(&said)),
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

fn subjects(config: &NatsConfig) -> String {
    format!("{}.>", config.subject_prefix)
}

fn wanted(config: &NatsConfig) -> Config {
    Config {
        name: config.stream.clone(),
        subjects: vec![subjects(config)],
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
        ..Config::default()
    }
}

fn check(found: &Config, config: &NatsConfig) -> Result<Found, SinkError> {
    let wrong = |why: &str| SinkError::Misconfigured(format!("the stream {} {why}", config.stream));
    let ours = subjects(config);
    if !found.subjects.iter().any(|theirs| overlap(theirs, &ours)) {
        return Err(wrong(&format!(
            "has the subjects [{}], none of which takes {ours}: add that one to it, or change `subject_prefix` or `stream`",
            found.subjects.join(", ")
        )));
    }
    if found.no_ack {
        return Err(wrong(
            "acknowledges nothing (`no_ack`): switch that off, or name another stream",
        ));
    }
    if found.sealed {
        return Err(wrong("is sealed and takes nothing more: name another one"));
    }
    Ok(Found {
        message_max: usize::try_from(found.max_message_size)
            .ok()
            .filter(|max| *max > 0),
        weaknesses: weaknesses(found, config, &ours),
    })
}

fn weaknesses(found: &Config, config: &NatsConfig, ours: &str) -> Vec<&'static str> {
    let partly = !found.subjects.iter().any(|theirs| covers(theirs, ours));
    let memory = found.storage == StorageType::Memory;
    [
        (
            partly,
            "its subjects take only some of those below the prefix",
        ),
        (
            memory && config.stream_storage == StreamStorage::File,
            "it keeps its messages in memory only",
        ),
        (
            found.retention == RetentionPolicy::Interest,
            "it keeps only what a consumer is waiting for",
        ),
        (
            found.retention == RetentionPolicy::WorkQueue,
            "it deletes what a consumer has taken",
        ),
        (
            found.persist_mode == Some(PersistenceMode::Async),
            "it acknowledges before it has written",
        ),
    ]
    .into_iter()
    .filter_map(|(weak, text)| weak.then_some(text))
    .collect()
}

/// Whether all subjects of the pattern `inner` are subjects of the pattern `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether there is a subject that fits both patterns.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_and_overlap() {
        let table = [
            ("a.b.>", "a.b.>", true, true),
            (">", "a.b.>", true, true),
            ("a.>", "a.b.>", true, true),
            ("a.*.>", "a.b.>", true, true),
            ("a.b.*.*", "a.b.>", false, true),
            ("a.b.c", "a.b.>", false, true),
            ("a.b", "a.b.>", false, false),
            ("a.c.>", "a.b.>", false, false),
            ("a.b.c.>", "a.b.>", false, true),
        ];
        for (theirs, ours, covering, overlapping) in table {
            assert_eq!(covers(theirs, ours), covering, "{theirs} covers {ours}");
            assert_eq!(
                overlap(theirs, ours),
                overlapping,
                "{theirs} overlaps {ours}"
            );
        }
    }

    #[test]
    fn each_weakness_is_told_and_what_was_asked_for_is_none() {
        let config = NatsConfig::default();
        let good = wanted(&config);
        assert!(check(&good, &config).is_ok_and(|found| found.weaknesses.is_empty()));
        let weak = Config {
            storage: StorageType::Memory,
            retention: RetentionPolicy::Interest,
            persist_mode: Some(PersistenceMode::Async),
            subjects: vec!["assembly.audit.*.*".to_owned()],
            ..good.clone()
        };
        assert!(check(&weak, &config).is_ok_and(|found| found.weaknesses.len() == 4));
        for useless in [
            Config {
                no_ack: true,
                ..good.clone()
            },
            Config {
                sealed: true,
                ..good.clone()
            },
            Config {
                subjects: vec!["other.>".to_owned()],
                ..good.clone()
            },
        ] {
            assert!(matches!(
                check(&useless, &config),
                Err(SinkError::Misconfigured(_))
            ));
        }
    }
}
