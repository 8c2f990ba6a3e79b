//! The numbering of a fast batch: each message has its number in the subject for its answer.

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Duration;
use uuid::Uuid;

use crate::config::NatsConfig;
use crate::event::PublisherId;
use crate::sink::jetstream::cursor::subject;
use crate::sink::jetstream::message::Message;
use crate::sink::jetstream::wire::Answer;

/// The operation of a message in a fast batch.
#[derive(Debug, Clone, Copy)]
pub(in crate::sink::jetstream) enum Op {
    Open,
    Append,
    /// Stores this message, and ends the batch with it.
    Commit,
    /// Asks how far the batch has come; stores nothing.
    Ping,
}

/// A number that no batch reaches.
pub(in crate::sink::jetstream) const BEYOND: u64 = 1 << 62;
/// How long a stream remembers an idle batch, plus a margin.
pub(in crate::sink::jetstream) const KNOWN_MAX: Duration = Duration::from_secs(11);

/// A message that asks how far a batch has come.
pub(in crate::sink::jetstream) fn ping(config: &NatsConfig, publisher: PublisherId) -> Message {
    Message {
        subject: subject(config, publisher),
        headers: HeaderMap::new(),
        payload: Bytes::new(),
    }
}

/// The token in the subject for the answers to a message of a batch.
pub(in crate::sink::jetstream) fn token(batch: Uuid, flow: u64, number: u64, op: Op) -> String {
    let op = match op {
        Op::Open => 0,
        Op::Append => 1,
        Op::Commit => 2,
        Op::Ping => 4,
    };
    format!("{}.{flow}.fail.{number}.{op}.$FI", batch.simple())
}

/// The number of the answered message, if it is one of this batch.
pub(in crate::sink::jetstream) fn number(answer: &Answer, batch: Uuid) -> Option<u64> {
    let rest = answer.token.strip_prefix(&batch.simple().to_string())?;
    rest.split('.').nth(3)?.parse().ok()
}
