//! Reads the newest cursor of a publisher.

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use tokio::time::Instant;

use super::{Cursor, Tip, subject};
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::PublisherId;
use crate::sink::jetstream::wire::{Wire, unanswered};
use crate::sink::jetstream::{failure, stream};

/// The header for the sequence of a message that was read.
const SEQUENCE: &str = "Nats-Sequence";
/// The header of the marker that replaces expired messages.
const MARKER: &str = "Nats-Marker-Reason";

/// Who answers a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sink::jetstream) enum From {
    /// Any replica: the answer may be old. Needs the least permission.
    AnyReplica,
    Leader,
}

/// The sequence, headers and payload of a message.
type Read = (u64, HeaderMap, Bytes);

/// Reads the newest cursor. A replica's answer may be old: then the next batch is refused.
///
/// A server reports a message that it cannot read as missing, and so accepts a batch that expects none. The list of
/// messages comes from its index.
pub(in crate::sink::jetstream) async fn read(
    wire: &mut Wire,
    config: &NatsConfig,
    publisher: PublisherId,
    from: From,
    until: Instant,
) -> Result<Tip, SinkError> {
    let subject = subject(config, publisher);
    let read = match from {
        From::AnyReplica => from_any(wire, config, &subject, until).await?,
        From::Leader => from_leader(wire, config, &subject, until).await?,
    };
    let Some((sequence, headers, payload)) = read else {
        if stream::lists(wire, config, &subject, until).await? {
            return Err(SinkError::Unavailable(format!(
                "the stream lists a message on {subject}, but its server cannot read it: see the log of the server, or let \
                 another one lead the stream"
            )));
        }
        return Ok(Tip::default());
    };
    if headers.get(MARKER).is_some() {
        // The cursor has expired; its place is left.
        return Ok(Tip {
            cursor: None,
            sequence,
            ..Tip::default()
        });
    }
    match serde_json::from_slice(&payload) {
        Ok(cursor) => Ok(Tip {
            cursor: Some(cursor),
            sequence,
            ..Tip::default()
        }),
        Err(error) => Err(SinkError::Misconfigured(format!(
            "message {sequence} on {subject} is not a cursor ({error}): nobody else may write there; delete it, and what was in \
             doubt may be stored twice"
        ))),
    }
}

/// Whether the stream has a cursor at this sequence that was not found by its subject: then the server's index is
/// wrong.
pub(in crate::sink::jetstream) async fn is_there(
    wire: &mut Wire,
    config: &NatsConfig,
    tip: &Tip,
    until: Instant,
) -> Result<bool, SinkError> {
    let request = format!("{}.DIRECT.GET.{}", config.api(), config.stream);
    let wanted = serde_json::json!({ "seq": tip.sequence }).to_string();
    let read = direct(wire, &request, wanted, until).await?;
    let found = read.and_then(|(_, _, payload)| serde_json::from_slice::<Cursor>(&payload).ok());
    Ok(found.map(|found| found.batch) == tip.cursor.as_ref().map(|known| known.batch))
}

async fn from_any(
    wire: &mut Wire,
    config: &NatsConfig,
    subject: &str,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let request = format!("{}.DIRECT.GET.{}.{subject}", config.api(), config.stream);
    direct(wire, &request, String::new(), until).await
}

async fn direct(
    wire: &mut Wire,
    request: &str,
    wanted: String,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let answer = wire.ask(request, wanted, until).await?;
    match answer.status {
        None => {}
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) => {
            return Err(SinkError::Unavailable(format!(
                "the cursor cannot be read: the server said {status}"
            )));
        }
    }
    let headers = answer.headers.unwrap_or_default();
    // A server appends its own headers to those of the message.
    let sequence = headers
        .get_all(SEQUENCE)
        .last()
        .and_then(|it| it.as_str().parse().ok());
    let sequence = sequence.ok_or_else(|| {
        SinkError::Unavailable("the cursor cannot be read: it has no sequence".to_owned())
    })?;
    Ok(Some((sequence, headers, answer.payload)))
}

async fn from_leader(
    wire: &mut Wire,
    config: &NatsConfig,
    subject: &str,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let connection = &mut wire.connection;
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let read = async {
        let stream = context.get_stream_no_info(&config.stream).await;
        let stream = stream.map_err(|error| SinkError::Unavailable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some((message.sequence, message.headers, message.payload))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(said) => Err(failure::of_server(&said)),
                _ => Err(SinkError::Unavailable(format!(
                    "the cursor cannot be read: {error}"
                ))),
            },
        }
    };
    connection.answer(until, read).await.map_err(unanswered)?
}
