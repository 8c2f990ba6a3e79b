//! Stores a batch as transactions: the entries and their cursor, together or not at all.
//!
//! A transaction is an atomic batch of `JetStream` (ADR-50): messages with one `Nats-Batch-Id`, numbered from 1, the
//! last with `Nats-Batch-Commit`. Its first message is the cursor. An id is never reused: a transaction that was left
//! half-way lives on in the server for ten seconds, whatever happens to the connection.
//!
//! A refusal of the whole does not name the message at fault. The same transaction is tried once more, in case
//! another, half-sent one was in the way. Then halves of it are tried, until a single entry is left, whose refusal the
//! server explains. By then everything before that entry is stored, and nothing after it.
//!
//! If the server has denied something, nothing more is tried: permissions are not a matter of one entry, and the rest
//! is stored once they are granted.

use async_nats::jetstream;
use tokio::time::{Duration, Instant, timeout};
use uuid::Uuid;

use super::cursor::{Account, Cursor, Tip, note_stored};
use super::detour::Detour;
use super::failure::{self, Failure, Link};
use super::last_known::{LastKnown, Staleness};
use super::message::{Limits, Message};
use super::size::Size;
use super::stream::Found;
use super::wire::{Ack, Wire};
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Batch, Record, fresh_uuid};
use crate::sink::Delivery;

/// How long to wait for the answer to a first message once the commit has failed: it was given before.
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

pub(super) struct Transactions<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) found: &'a Found,
    pub(super) config: &'a NatsConfig,
    pub(super) batch: &'a Batch,
    pub(super) size: &'a mut Size,
    pub(super) last_known: &'a mut LastKnown,
    pub(super) detour: &'a mut Detour,
    pub(super) until: Instant,
}

/// Why a transaction was not stored.
enum NotStored {
    /// A message of it was refused.
    Content(Failure),
    /// It has more messages than the server takes.
    TooMany(Failure),
    /// Anything else.
    Failed(Failure),
}

impl NotStored {
    fn into_failure(self) -> Failure {
        match self {
            Self::Content(failure) | Self::TooMany(failure) | Self::Failed(failure) => failure,
        }
    }
}

impl Transactions<'_> {
    /// Stores a prefix of the batch after `tip`. Leaves in `tip` what the stream holds afterwards, or nothing after a
    /// doubt.
    pub(super) async fn store(mut self, known: &mut Option<Tip>) -> (Delivery, Link) {
        let Some(mut tip) = known.take() else {
            let why = "the cursor must be read first".to_owned();
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

    /// Returns why it stopped, if it did.
    async fn advance(&mut self, tip: &mut Tip, stored: &mut usize) -> Option<Failure> {
        let batch = self.batch;
        let records = batch.records();
        let (mut size, mut tries) = (usize::MAX, 0);
        while *stored < records.len() {
            let count = size.min(self.size.entries());
            let next = &records[*stored..(*stored + count).min(records.len())];
            let (messages, account, refused) = self.lay_out(tip.account(), next);
            if messages.is_empty() {
                return refused;
            }
            let count = messages.len();
            match self.commit(tip, account, &next[..count], messages).await {
                Ok(()) => {
                    self.size.worked(count);
                    *stored += count;
                    if refused.is_some() {
                        return refused;
                    }
                }
                Err(NotStored::Failed(failure)) => {
                    if failure.timed_out {
                        self.size.timed_out(count);
                    }
                    return Some(failure);
                }
                Err(NotStored::TooMany(failure)) if count == 1 => return Some(failure),
                Err(NotStored::TooMany(_)) => self.size.too_many(count),
                Err(NotStored::Content(failure)) => {
                    if let Some(why) = self.wire.connection.denied() {
                        return Some(failure::misconfigured(why));
                    }
                    match tries {
                        _ if count == 1 => return Some(failure),
                        0 => tries += 1,
                        _ => size = count.div_ceil(2),
                    }
                }
            }
        }
        self.pass_losses(tip).await.err()
    }

    /// Moves the cursor past losses that no entry announces any more.
    async fn pass_losses(&mut self, tip: &mut Tip) -> Result<(), Failure> {
        let account = Account::through(tip.account(), self.batch.through());
        // An empty batch that changes nothing asks for a new signature.
        let renewal = self.batch.records().is_empty() && self.batch.signer().is_some();
        if tip.account() == Some(account) && !renewal {
            return Ok(());
        }
        self.commit(tip, account, &[], Vec::new())
            .await
            .map_err(NotStored::into_failure)
    }

    /// The messages of the records up to one that will not be taken, the reason for that, and the account after them.
    fn lay_out(
        &self,
        mut account: Option<Account>,
        records: &[Record],
    ) -> (Vec<Message>, Account, Option<Failure>) {
        let limits = Limits::of(self.found, &self.wire.connection);
        let mut messages = Vec::with_capacity(records.len());
        let mut refused = None;
        for record in records {
            let message = Message::new(self.config, record).after(account);
            if let Err(why) = message.check(&limits, ENVELOPE) {
                refused = Some(failure::rejected(why));
                break;
            }
            account = Some(Account::past_record(account, record));
            messages.push(message);
        }
        let account = account.unwrap_or(Account::through(None, self.batch.through()));
        (messages, account, refused)
    }

    /// Sends one transaction, and moves the tip to its cursor.
    async fn commit(
        &mut self,
        tip: &mut Tip,
        account: Account,
        records: &[Record],
        messages: Vec<Message>,
    ) -> Result<(), NotStored> {
        let count = messages.len() as u64;
        let id = fresh_uuid();
        self.last_known.sent(id);
        let (publisher, signer) = (self.batch.publisher(), self.batch.signer());
        let mut tree = tip.tree(signer, publisher);
        if signer.is_some() {
            tree.extend(
                records
                    .iter()
                    .map(|record| record.leaf(Some(record.subject()))),
            );
        }
        let cursor = Cursor::closed(account, id).sealed(signer, &tree, tip);
        let limits = Limits::of(self.found, &self.wire.connection);
        let cursor = cursor.fitting(|cursor| {
            let message = cursor.message(self.config, publisher, tip.sequence);
            message.check(&limits, ENVELOPE).is_ok()
        });
        let first = cursor.message(self.config, publisher, tip.sequence);
        let fits = first
            .check(&limits, ENVELOPE)
            .map_err(|why| failure::no_cursor(&why));
        fits.map_err(NotStored::Failed)?;
        let sent = self.send(id, first, messages).await;
        sent.map_err(|failure| match failure.error {
            // What the client refuses now fitted before; nothing of it is stored.
            SinkError::Rejected(_) => NotStored::Failed(failure.unavailable()),
            _ => NotStored::Failed(failure),
        })?;
        let ack = self.outcome(tip.sequence).await?;
        let whole = if count == 0 {
            ack.batch.is_none()
        } else {
            ack.batch == Some(id.simple().to_string()) && ack.count == count + 1
        };
        self.check(&ack, whole)?;
        *tip = Tip {
            cursor: Some(cursor),
            sequence: ack.seq - count,
            ..Tip::default()
        };
        note_stored(self.batch.signer(), tip);
        self.last_known.acknowledged(publisher, tip, ack.seq);
        Ok(())
    }

    /// The first message and the last are answered; they may be the same one.
    async fn send(
        &mut self,
        id: Uuid,
        mut first: Message,
        mut messages: Vec<Message>,
    ) -> Result<(), Failure> {
        self.wire.skip_answers();
        let Some(mut last) = messages.pop() else {
            return self.wire.send(first, Some(LAST), self.until).await;
        };
        let id = id.simple().to_string();
        let last_number = messages.len() + 2;
        first.number(&id, 1);
        self.wire.send(first, Some(FIRST), self.until).await?;
        for (mut message, number) in messages.into_iter().zip(2..) {
            message.number(&id, number);
            self.wire.send(message, None, self.until).await?;
        }
        last.number(&id, last_number);
        last.headers.insert("Nats-Batch-Commit", "1");
        self.wire.send(last, Some(LAST), self.until).await
    }

    /// The outcome. The answer to the first message explains a refusal of the whole better than the answer to the
    /// last.
    async fn outcome(&mut self, expected: u64) -> Result<Ack, NotStored> {
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
                        return Err(self.refused(&first.unwrap_or(last), expected));
                    }
                },
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<(String, Option<Ack>), NotStored> {
        let answer = self.wire.answer(self.until).await;
        let answer = answer.map_err(|why| NotStored::Failed(failure::unanswered(why)))?;
        let ack = answer.ack().map_err(NotStored::Failed)?;
        Ok((answer.token, ack))
    }

    fn refused(&mut self, error: &jetstream::Error, expected: u64) -> NotStored {
        let failure = failure::of_answer(error);
        match error.error_code().0 {
            TOO_MANY => NotStored::TooMany(failure.unavailable()),
            INCOMPLETE => NotStored::Content(failure.unavailable()),
            // Late, or the stream has changed: it is inspected again.
            failure::STALE | failure::OVERTAKEN => {
                let newest = failure::newest(&error.to_string());
                if self.last_known.refused(expected, newest) == Staleness::Impossible {
                    self.detour.refused_without_reason();
                }
                NotStored::Failed(Failure {
                    error: SinkError::Unknown(failure.error.to_string()),
                    link: Link::Doubtful,
                    ..failure
                })
            }
            _ if matches!(failure.error, SinkError::Rejected(_)) => NotStored::Content(failure),
            _ => NotStored::Failed(failure),
        }
    }

    /// The acknowledgement must be for this transaction and from our stream: another stream, perhaps in another
    /// domain, may capture the subjects.
    fn check(&self, ack: &Ack, whole: bool) -> Result<(), NotStored> {
        if ack.stream != self.config.stream || ack.domain != self.found.domain {
            let taken = failure::foreign(ack, self.found, self.config);
            return Err(NotStored::Failed(taken));
        }
        if whole {
            return Ok(());
        }
        Err(NotStored::Failed(failure::broken(&format!(
            "of a batch {} messages were acknowledged",
            ack.count
        ))))
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
