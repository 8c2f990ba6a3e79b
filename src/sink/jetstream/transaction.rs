//! Stores a batch as transactions: the entries and their cursor, together or not at all.
//!
//! A transaction is an atomic batch of `JetStream` (ADR-50): messages with one `Nats-Batch-Id`, numbered from 1, the
//! last with `Nats-Batch-Commit`. Its first message is the cursor. An id is never reused: a transaction that was left
//! half-way lives on in the server for ten seconds, whatever happens to the connection.
//!
//! A refusal of a whole transaction does not name the message at fault. The same transaction is tried once more, in
//! case another, half-sent one was in the way. Then halves of it are tried, until a single entry is left, whose
//! refusal the server explains. By then everything before that entry is stored, and nothing after it.
//!
//! If the server has denied something, nothing more is tried: permissions are not a matter of one entry, and the rest
//! is stored once they are granted.

use async_nats::jetstream;
use tokio::time::{Duration, timeout};
use uuid::Uuid;

use super::cursor::{Account, Cursor};
use super::failure::{self, Cause, NotStored};
use super::message::Message;
use super::sending::{LaidOut, Sending};
use super::wire::Ack;
use crate::error::SinkError;
use crate::event::{Record, fresh_uuid};

/// How long to wait for the answer to the first message once the commit has failed: the server has sent it already.
const FIRST_ANSWER_MAX: Duration = Duration::from_millis(250);

/// How many bytes a transaction adds to the headers of a message: its id, the message's number, and the commit.
const ENVELOPE: usize =
    "Nats-Batch-Id: \r\nNats-Batch-Sequence: 1000\r\nNats-Batch-Commit: 1\r\n".len() + 32;

/// The error of a transaction that lacks a message, because one was refused.
const INCOMPLETE: u64 = 10_176;
/// The error of a transaction with more messages than the server takes.
const TOO_MANY: u64 = 10_199;

/// The tokens of the two messages that are answered.
const FIRST: &str = "first";
const LAST: &str = "last";

pub(super) struct Transactions<'a, 'b>(pub(super) &'b mut Sending<'a>);

impl Transactions<'_, '_> {
    /// Stores the rest of the batch, or a prefix of it.
    pub(super) async fn store(&mut self) -> Result<(), NotStored> {
        let outcome = self.advance().await;
        let unknown = |failure: &NotStored| matches!(failure.error, SinkError::Unknown(_));
        self.0.doubt = outcome.as_ref().is_err_and(unknown);
        outcome
    }

    async fn advance(&mut self) -> Result<(), NotStored> {
        let all = self.0.batch.records();
        let (mut size, mut tries) = (usize::MAX, 0);
        while self.0.stored < all.len() {
            let left = &all[self.0.stored..];
            let next = &left[..left.len().min(size).min(self.0.size.entries())];
            let LaidOut {
                messages,
                account,
                refused,
            } = self.0.lay_out(next, ENVELOPE);
            let Some(account) = account else {
                return refused;
            };
            let count = messages.len();
            let Err(failure) = self.commit(account, &next[..count], messages).await else {
                self.0.size.worked(count);
                self.0.stored += count;
                refused?;
                continue;
            };
            match failure.cause {
                Cause::TooMany if count > 1 => self.0.size.too_many(count),
                Cause::Content => {
                    if let Some(why) = self.0.wire.connection.denied() {
                        return Err(failure::misconfigured(why));
                    }
                    match tries {
                        _ if count == 1 => return Err(failure),
                        0 => tries += 1,
                        _ => size = count.div_ceil(2),
                    }
                }
                Cause::Silence => {
                    self.0.size.timed_out(count);
                    return Err(failure);
                }
                Cause::TooMany | Cause::Other => return Err(failure),
            }
        }
        self.pass_losses().await
    }

    /// Moves the cursor past the losses after the last entry.
    async fn pass_losses(&mut self) -> Result<(), NotStored> {
        let (batch, before) = (self.0.batch, self.0.tip.account());
        let through = batch.through();
        let reached = Account::after_alone(before, self.0.alone, through.run);
        let account = Account::through(reached, through);
        // An empty batch that changes nothing asks for a new signature.
        let renewal = batch.records().is_empty() && batch.signer().is_some();
        if before == Some(account) && !renewal {
            return Ok(());
        }
        self.commit(account, &[], Vec::new()).await
    }

    /// Sends one transaction, and moves the tip to its cursor.
    async fn commit(
        &mut self,
        account: Account,
        records: &[Record],
        messages: Vec<Message>,
    ) -> Result<(), NotStored> {
        let (id, count) = (fresh_uuid(), messages.len() as u64);
        self.0.last_known.sent(id);
        let mut tree = self.0.tree();
        if self.0.batch.signer().is_some() {
            tree.extend(records.iter().map(|it| it.leaf(Some(it.subject()))));
        }
        let cursor = Cursor::closed(account, id);
        let expected = Some(self.0.tip.sequence);
        let (cursor, first) = self.0.seal(cursor, &tree, expected, ENVELOPE)?;
        let sent = self.send(id, first, messages).await;
        sent.map_err(|failure| match failure.error {
            // The messages fitted before; if the client refuses one now, nothing is stored.
            SinkError::Rejected(_) => failure.unavailable(),
            _ => failure,
        })?;
        let ack = self.outcome().await?;
        self.0.found.took(&ack, &self.0.wire.config)?;
        let whole = match count {
            0 => ack.batch.is_none(),
            _ => ack.covers(id, count + 1),
        };
        if !whole {
            return Err(failure::broken(&format!(
                "only {} messages of a batch were acknowledged",
                ack.count
            )));
        }
        self.0.acknowledged(cursor, ack.seq - count, ack.seq);
        Ok(())
    }

    /// The first message and the last are answered; they may be the same one.
    async fn send(
        &mut self,
        id: Uuid,
        mut first: Message,
        mut messages: Vec<Message>,
    ) -> Result<(), NotStored> {
        self.0.wire.skip_answers();
        let Some(mut last) = messages.pop() else {
            return self.0.wire.send(first, Some(LAST), self.0.until).await;
        };
        let id = id.simple().to_string();
        let last_number = messages.len() + 2;
        first.number(&id, 1);
        self.0.wire.send(first, Some(FIRST), self.0.until).await?;
        for (mut message, number) in messages.into_iter().zip(2..) {
            message.number(&id, number);
            self.0.wire.send(message, None, self.0.until).await?;
        }
        last.number(&id, last_number);
        last.headers.insert("Nats-Batch-Commit", "1");
        self.0.wire.send(last, Some(LAST), self.0.until).await
    }

    /// The outcome. The answer to the first message explains a refusal of the whole better than the answer to the
    /// last.
    async fn outcome(&mut self) -> Result<Ack, NotStored> {
        let mut first = None;
        loop {
            let (token, said) = self.next().await?;
            match (token.as_str(), said) {
                (FIRST, Some(ack)) => first = ack.error,
                (LAST, Some(ack)) => match ack.error {
                    None => return Ok(ack),
                    Some(last) => {
                        if first.is_none()
                            && let Ok(Ok((_, Some(ack)))) =
                                timeout(FIRST_ANSWER_MAX, self.next()).await
                        {
                            first = ack.error;
                        }
                        return Err(self.refused(&first.unwrap_or(last)));
                    }
                },
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<(String, Option<Ack>), NotStored> {
        let answer = self.0.wire.answer(self.0.until).await;
        let answer = answer.map_err(failure::unanswered)?;
        let ack = answer.ack()?;
        Ok((answer.token, ack))
    }

    fn refused(&mut self, error: &jetstream::Error) -> NotStored {
        let failure = failure::of_answer(error);
        let (cause, failure) = match error.error_code().0 {
            TOO_MANY => (Cause::TooMany, failure.unavailable()),
            INCOMPLETE => (Cause::Content, failure.unavailable()),
            failure::STALE | failure::OVERTAKEN => (Cause::Other, self.0.stale(failure)),
            _ if matches!(failure.error, SinkError::Rejected(_)) => (Cause::Content, failure),
            _ => (Cause::Other, failure),
        };
        NotStored { cause, ..failure }
    }
}

impl Message {
    /// Numbers the message within a transaction.
    fn number(&mut self, transaction: &str, number: usize) {
        self.headers.insert("Nats-Batch-Id", transaction);
        self.headers
            .insert("Nats-Batch-Sequence", number.to_string());
    }
}
