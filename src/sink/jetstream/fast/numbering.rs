//! How the messages of a fast batch are numbered: in the subject on which each wants its answer.

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Duration;
use uuid::Uuid;

use crate::config::NatsConfig;
use crate::event::PublisherId;
use crate::sink::jetstream::cursor::subject;
use crate::sink::jetstream::message::Message;
use crate::sink::jetstream::wire::Answer;

/// What a message of a fast batch does.
#[derive(Debug, Clone, Copy)]
pub(in crate::sink::jetstream) enum Op {
    Open,
    Append,
    /// Stores this message, and ends the batch with it.
    Commit,
    /// Asks how far the batch has come; stores nothing.
    Ping,
}

/// A number that no batch comes to.
pub(in crate::sink::jetstream) const BEYOND: u64 = 1 << 62;
/// How long a stream knows a batch that does not go on, and a little more.
pub(in crate::sink::jetstream) const KNOWN_MAX: Duration = Duration::from_secs(11);

/// A message that asks how far a batch has come.
pub(in crate::sink::jetstream) fn ping(config: &NatsConfig, publisher: PublisherId) -> Message {
    Message {
        subject: subject(config, publisher),
        headers: HeaderMap::new(),
        payload: Bytes::new(),
    }
}

/// What the answers to a message of a batch go to.
pub(in crate::sink::jetstream) fn token(batch: Uuid, flow: u64, number: u64, op: Op) -> String {
    let op = match op {
        Op::Open => 0,
        Op::Append => 1,
        Op::Commit => 2,
        Op::Ping => 4,
    };
    format!("{}.{flow}.fail.{number}.{op}.$FI", batch.simple())
}

/// The number of the message that is answered, if it is one of this batch.
pub(in crate::sink::jetstream) fn number(answer: &Answer, batch: Uuid) -> Option<u64> {
    let rest = answer.token.strip_prefix(&batch.simple().to_string())?;
    rest.split('.').nth(3)?.parse().ok()
}
