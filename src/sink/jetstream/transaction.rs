//! Stores a batch as transactions: the entries, and the cursor that says so, together or not at all.
//!
//! A transaction is an atomic batch of `JetStream` (ADR-50): messages with one `Nats-Batch-Id`, numbered from 1, the last
//! with `Nats-Batch-Commit`. Its first message is the cursor. An id is never used twice, because a transaction that
//! was left half-way lives on in the server for ten seconds, whatever becomes of the connection.
//!
//! A refusal of the whole does not say which message is to blame. The same is then tried once more, in case it was
//! another, half-sent transaction that was in the way; then halves of it, until a single entry is left, whose refusal the
//! server explains. What comes before that entry is stored by then, and what comes after is not.
//!
//! Only where the server has said that it does not permit something, nothing more is tried: whom to let in is no matter of
//! one entry, and what is not stored now is stored when that is mended.

use std::future::IntoFuture;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Connection, NoAnswer};
use super::cursor::{self, Cursor, Tip};
use super::failure::{self, Failure, Link};
use super::message::{Limits, Message};
use super::stream::Found;
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Batch, Record, fresh_uuid};
use crate::sink::Delivery;

/// How many entries a transaction has at the most: with the cursor as many messages as a server takes by default.
const ENTRIES_MAX: usize = 999;
/// How long the answer to a first message is waited for once the commit has failed: it was given before.
const FIRST_ANSWER_MAX: Duration = Duration::from_millis(250);

/// What a transaction adds to the headers of a message, in bytes: its id, the message's number, and the commit.
const ENVELOPE: usize =
    "Nats-Batch-Id: \r\nNats-Batch-Sequence: 1000\r\nNats-Batch-Commit: 1\r\n".len() + 32;

/// What the server says when a transaction is not whole, one of its messages being refused.
const INCOMPLETE: u64 = 10_176;
/// A transaction has more messages than the server takes.
const TOO_MANY: u64 = 10_199;
/// The cursor is not the one that was expected.
const STALE: u64 = 10_071;
/// The same, while another transaction with that cursor is under way.
const OVERTAKEN: u64 = 10_164;

pub(super) struct Transactions<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) found: &'a Found,
    pub(super) config: &'a NatsConfig,
    pub(super) batch: &'a Batch,
    pub(super) until: Instant,
}

/// Why a transaction was not stored.
enum Refusal {
    /// Some message of it is not taken.
    Content(Failure),
    /// Anything else.
    Failed(Failure),
}

impl Transactions<'_> {
    /// Stores a prefix of the batch behind `tip`, which comes to say what the stream then holds, or, after a doubt,
    /// nothing.
    pub(super) async fn store(mut self, known: &mut Option<Tip>) -> (Delivery, Link) {
        let Some(mut tip) = *known else {
            let why = "where the cursor stands has to be read first".to_owned();
            return (Delivery::stopped(0, SinkError::Unknown(why)), Link::Sound);
        };
        let mut stored = 0;
        let stopped = self.advance(&mut tip, &mut stored).await;
        let doubt =
            matches!(&stopped, Some(failure) if matches!(failure.error, SinkError::Unknown(_)));
        *known = (!doubt).then_some(tip);
        match stopped {
            None => (Delivery::all(self.batch), Link::Sound),
            Some(failure) => (Delivery::stopped(stored, failure.error), failure.link),
        }
    }

    /// Answers why it stopped, if it did.
    async fn advance(&mut self, tip: &mut Tip, stored: &mut usize) -> Option<Failure> {
        let batch = self.batch;
        let records = batch.records();
        let (mut size, mut tries) = (ENTRIES_MAX, 0);
        while *stored < records.len() {
            let next = &records[*stored..(*stored + size).min(records.len())];
            let (messages, cursor, refused) = self.lay_out(tip.cursor, next);
            if messages.is_empty() {
                return refused;
            }
            let count = messages.len();
            match self.commit(tip.sequence, &cursor, messages).await {
                Ok(sequence) => {
                    *tip = Tip {
                        cursor: Some(cursor),
                        sequence,
                    };
                    *stored += count;
                    if refused.is_some() {
                        return refused;
                    }
                }
                Err(Refusal::Failed(failure)) => return Some(failure),
                Err(Refusal::Content(_)) if let Some(why) = self.connection.denied() => {
                    return Some(failure::misconfigured(why));
                }
                Err(Refusal::Content(failure)) if count == 1 => return Some(failure),
                Err(Refusal::Content(_)) if tries == 0 => tries += 1,
                Err(Refusal::Content(_)) => size = count.div_ceil(2),
            }
        }
        self.pass_losses(tip).await.err()
    }

    /// Moves the cursor past losses that no entry tells any more.
    async fn pass_losses(&mut self, tip: &mut Tip) -> Result<(), Failure> {
        let cursor = Cursor::through(tip.cursor, self.batch.through());
        if tip.cursor == Some(cursor) {
            return Ok(());
        }
        match self.commit(tip.sequence, &cursor, Vec::new()).await {
            Ok(sequence) => {
                *tip = Tip {
                    cursor: Some(cursor),
                    sequence,
                };
                Ok(())
            }
            Err(Refusal::Content(failure) | Refusal::Failed(failure)) => Err(failure),
        }
    }

    /// The messages of the records up to one that will not be taken, why that is, and the cursor behind them.
    fn lay_out(
        &self,
        mut cursor: Option<Cursor>,
        records: &[Record],
    ) -> (Vec<Message>, Cursor, Option<Failure>) {
        let limits = Limits {
            found: self.found,
            payload_max: self.connection.payload_max(),
        };
        let mut messages = Vec::with_capacity(records.len());
        let mut refused = None;
        for record in records {
            let message = Message::new(self.config, record).after(cursor);
            if let Err(why) = message.check(&limits, ENVELOPE) {
                refused = Some(failure::rejected(why));
                break;
            }
            cursor = Some(Cursor::past(cursor, record));
            messages.push(message);
        }
        let cursor = cursor.unwrap_or(Cursor::through(None, self.batch.through()));
        (messages, cursor, refused)
    }

    /// Sends one transaction, and answers the sequence of its cursor.
    async fn commit(
        &mut self,
        expected: u64,
        cursor: &Cursor,
        messages: Vec<Message>,
    ) -> Result<u64, Refusal> {
        let count = messages.len() as u64;
        let sent = self.send(expected, cursor, messages).await;
        let (first, last) = sent.map_err(Refusal::Failed)?;
        match self.connection.answer(self.until, last.into_future()).await {
            Ok(Ok(ack)) => self.check(&ack).map(|()| ack.sequence - count),
            Ok(Err(error)) => Err(self.refused(first, &error).await),
            Err(NoAnswer::Denied(why)) => Err(Refusal::Failed(failure::misconfigured(why))),
            Err(NoAnswer::Late) => Err(Refusal::Failed(failure::silent())),
        }
    }

    /// Answers the promises of an answer to the first message, if it is not also the last, and to the last.
    async fn send(
        &self,
        expected: u64,
        cursor: &Cursor,
        mut messages: Vec<Message>,
    ) -> Result<(Option<PublishAckFuture>, PublishAckFuture), Failure> {
        let id = fresh_uuid().simple().to_string();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let mut first = Message {
            subject: cursor::subject(self.config, self.batch.publisher()),
            headers,
            payload: cursor.json().into(),
        };
        let Some(mut last) = messages.pop() else {
            return Ok((None, self.ask(first).await?));
        };
        let last_number = messages.len() + 2;
        first.number(&id, 1);
        let first_answer = self.ask(first).await?;
        for (mut message, number) in messages.into_iter().zip(2..) {
            message.number(&id, number);
            let Message {
                subject,
                headers,
                payload,
            } = message;
            let publish = self
                .connection
                .client()
                .publish_with_headers(subject, headers, payload);
            match timeout_at(self.until, publish).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(failure::broken(&error.to_string())),
                Err(_) => return Err(failure::silent()),
            }
        }
        last.number(&id, last_number);
        last.headers.insert("Nats-Batch-Commit", "1");
        Ok((Some(first_answer), self.ask(last).await?))
    }

    /// Publishes a message that is answered.
    async fn ask(&self, message: Message) -> Result<PublishAckFuture, Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        let context = self.connection.context(left);
        let Message {
            subject,
            headers,
            payload,
        } = message;
        let publish = context.publish_with_headers(subject, headers, payload);
        match timeout_at(self.until, publish).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.kind() == PublishErrorKind::Other => {
                Err(failure::broken(&error.to_string()))
            }
            Ok(Err(error)) => Err(failure::of_publish(&error)),
            Err(_) => Err(failure::silent()),
        }
    }

    /// The acknowledgement must come from our stream: another one may capture the subject.
    fn check(&self, ack: &PublishAck) -> Result<(), Refusal> {
        if ack.stream == self.config.stream {
            return Ok(());
        }
        Err(Refusal::Failed(failure::foreign(&ack.stream, self.config)))
    }

    /// Why the whole was refused. What the server said to the first message tells more than what it says to the last.
    async fn refused(&self, first: Option<PublishAckFuture>, last: &PublishError) -> Refusal {
        if let Some(first) = first
            && let Ok(Err(error)) = timeout(FIRST_ANSWER_MAX, first.into_future()).await
            && failure::said(&error).is_some()
        {
            return classified(&error);
        }
        classified(last)
    }
}

fn classified(error: &PublishError) -> Refusal {
    let failure = failure::of_publish(error);
    match failure::said(error).map(|said| said.error_code().0) {
        Some(INCOMPLETE | TOO_MANY) => Refusal::Content(Failure {
            error: SinkError::Unavailable(failure.error.to_string()),
            ..failure
        }),
        // Late, or the stream is no longer what it was: it is looked at again.
        Some(STALE | OVERTAKEN) => Refusal::Failed(Failure {
            error: SinkError::Unknown(failure.error.to_string()),
            link: Link::Doubtful,
        }),
        _ if matches!(failure.error, SinkError::Rejected(_)) => Refusal::Content(failure),
        _ => Refusal::Failed(failure),
    }
}

impl Message {
    /// Its place in a transaction.
    fn number(&mut self, transaction: &str, number: usize) {
        self.headers.insert("Nats-Batch-Id", transaction);
        self.headers
            .insert("Nats-Batch-Sequence", number.to_string());
    }
}
