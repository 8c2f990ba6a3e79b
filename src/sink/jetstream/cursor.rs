//! The cursor: a message that says how far a publisher has come in the stream.
//!
//! It stands on `<cursor_prefix>.<publisher id>`, is written in the same transaction as the entries that it tells of,
//! and takes the place of the one before (`Nats-Rollup: sub`). Each writing says which one that was
//! (`Nats-Expected-Last-Subject-Sequence`), so a batch that comes late, from wherever, is refused as a whole: its
//! cursor is not the one that stands there. After any doubt, reading the cursor says what is stored.

use std::fmt;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::connection::{Connection, NoAnswer};
use super::failure;
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Position, PublisherId, Record, RunId};

/// How far a publisher has come, as the message's JSON says it: of the numbers `first` to `last` of the run, `lost` are
/// not in the stream, and all others are. `first` is 1, unless an earlier cursor went missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    run: RunId,
    first: u64,
    last: u64,
    lost: u64,
}

/// What the stream is known to hold of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tip {
    pub(super) cursor: Option<Cursor>,
    /// The sequence of the cursor's message, 0 if there is none.
    pub(super) sequence: u64,
}

impl Cursor {
    pub(super) fn position(&self) -> Position {
        Position {
            run: self.run,
            n: self.last,
        }
    }

    /// The cursor behind the record.
    pub(super) fn past(before: Option<Self>, record: &Record) -> Self {
        let (id, lost) = (record.id(), record.lost_before());
        match before.filter(|cursor| cursor.run == id.run) {
            Some(cursor) => Self {
                last: id.n,
                lost: cursor.lost + lost,
                ..cursor
            },
            None => Self {
                run: id.run,
                first: id.n.saturating_sub(lost),
                last: id.n,
                lost,
            },
        }
    }

    /// The cursor behind losses that no entry tells any more.
    pub(super) fn through(before: Option<Self>, through: Position) -> Self {
        let cursor = before.filter(|cursor| cursor.run == through.run);
        let cursor = cursor.unwrap_or(Self {
            run: through.run,
            first: 1,
            last: 0,
            lost: 0,
        });
        Self {
            last: through.n.max(cursor.last),
            lost: cursor.lost + through.n.saturating_sub(cursor.last),
            ..cursor
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// As `Audit-After` writes it: `<run id>.<last>; first=<n>; lost=<k>`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, lost, .. } = self;
        write!(f, "{}; first={first}; lost={lost}", self.position())
    }
}

/// The subject of a publisher's cursor.
pub(super) fn subject(config: &NatsConfig, publisher: PublisherId) -> String {
    format!("{}.{publisher}", config.cursor_prefix)
}

/// Reads the cursor from the stream's leader: what another replica says may be old.
pub(super) async fn read(
    connection: &mut Connection,
    config: &NatsConfig,
    publisher: PublisherId,
    until: Instant,
) -> Result<Tip, SinkError> {
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let subject = subject(config, publisher);
    let read = async {
        let stream = context.get_stream_no_info(&config.stream).await;
        let stream = stream.map_err(|error| SinkError::Unavailable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(said) => Err(failure::of_server(&said)),
                _ => Err(SinkError::Unavailable(format!(
                    "the cursor cannot be read: {error}"
                ))),
            },
        }
    };
    let message = match connection.answer(until, read).await {
        Ok(message) => message?,
        Err(NoAnswer::Denied(why)) => return Err(SinkError::Misconfigured(why)),
        Err(NoAnswer::Late) => {
            return Err(SinkError::Unavailable(
                "JetStream did not say in time where the cursor stands".to_owned(),
            ));
        }
    };
    let Some(message) = message else {
        return Ok(Tip::default());
    };
    match serde_json::from_slice(&message.payload) {
        Ok(cursor) => Ok(Tip {
            cursor: Some(cursor),
            sequence: message.sequence,
        }),
        Err(error) => Err(SinkError::Misconfigured(format!(
            "message {} on {subject} is no cursor ({error}): nobody else may write there; delete it, and what was in \
             doubt may be stored twice",
            message.sequence
        ))),
    }
}
