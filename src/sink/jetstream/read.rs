//! Reads a stream back: the newest cursor of a publisher, and pages of messages.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cursor::{Cursor, Tip, subject};
use super::failure;
use super::inspect::Found;
use super::message::added;
use super::stream;
use super::wire::Wire;
use crate::error::SinkError;
use crate::event::PublisherId;

/// The header for the sequence of a message that was read.
pub(super) const SEQUENCE: &str = "Nats-Sequence";
/// The header of the marker that replaces expired messages.
const MARKER: &str = "Nats-Marker-Reason";

/// The sequence, headers and payload of a message.
type Read = (u64, HeaderMap, Bytes);

/// Reads the newest cursor. Where that is allowed, any replica answers, which needs the least permission. Its answer
/// may be old: then the next batch is refused.
///
/// A server reports a message that it cannot read as missing, and then accepts a batch that expects none. So the list
/// of messages, which comes from its index, is checked as well.
pub(super) async fn newest(
    wire: &mut Wire,
    found: &Found,
    publisher: PublisherId,
    until: Instant,
) -> Result<Tip, SinkError> {
    let subject = subject(&wire.config, publisher);
    let read = if found.settings.allow_direct {
        let request = format!("{}.{subject}", wire.api("DIRECT.GET"));
        direct(wire, &request, String::new(), until).await?
    } else {
        from_leader(wire, &subject, until).await?
    };
    let Some((sequence, headers, payload)) = read else {
        if stream::lists(wire, &subject, until).await? {
            return Err(SinkError::Unavailable(format!(
                "the stream lists a message on {subject}, but its server cannot read it: see the log of the server, or let \
                 another one lead the stream"
            )));
        }
        return Ok(Tip::default());
    };
    if headers.get(MARKER).is_some() {
        // The cursor has expired; a marker is left in its place.
        return Ok(Tip {
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
pub(super) async fn is_there(
    wire: &mut Wire,
    tip: &Tip,
    until: Instant,
) -> Result<bool, SinkError> {
    let wanted = json!({ "seq": tip.sequence }).to_string();
    let read = direct(wire, &wire.api("DIRECT.GET"), wanted, until).await?;
    let found = read.and_then(|(_, _, payload)| serde_json::from_slice::<Cursor>(&payload).ok());
    Ok(found.map(|found| found.batch) == tip.cursor.as_ref().map(|known| known.batch))
}

/// A page of messages, with their headers.
pub(super) async fn page(
    wire: &mut Wire,
    wanted: &Value,
    until: Instant,
) -> Result<Vec<(HeaderMap, Bytes)>, SinkError> {
    let mut found = Vec::new();
    let request = wire.api("DIRECT.GET");
    let mut answer = wire.ask(&request, wanted.to_string(), until).await?;
    let token = answer.token.clone();
    loop {
        match answer.status {
            None => found.extend(answer.headers.map(|headers| (headers, answer.payload))),
            Some(status) if status == 204 || status == StatusCode::NOT_FOUND => return Ok(found),
            Some(status) => {
                return Err(SinkError::Unavailable(format!(
                    "the stream cannot be read: the server said {status}"
                )));
            }
        }
        answer = wire.answer_to(&token, until).await?;
    }
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
        Some(status) => return Err(unreadable(&format!("the server said {status}"))),
    }
    let headers = answer.headers.unwrap_or_default();
    let sequence = added(&headers, SEQUENCE).and_then(|it| it.parse().ok());
    let sequence = sequence.ok_or_else(|| unreadable("it has no sequence"))?;
    Ok(Some((sequence, headers, answer.payload)))
}

async fn from_leader(
    wire: &mut Wire,
    subject: &str,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    #[derive(Deserialize)]
    struct Got {
        message: RawMessage,
    }
    let wanted = json!({ "last_by_subj": subject }).to_string();
    let request = wire.api("STREAM.MSG.GET");
    match wire.request(&request, wanted, until).await? {
        Ok(Got { message }) => {
            let read = StreamMessage::try_from(message);
            let read = read.map_err(|error| unreadable(&error.to_string()))?;
            Ok(Some((read.sequence, read.headers, read.payload)))
        }
        Err(said) if said.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Err(said) => Err(failure::of_server(&said)),
    }
}

fn unreadable(why: &str) -> SinkError {
    SinkError::Unavailable(format!("the cursor cannot be read: {why}"))
}
