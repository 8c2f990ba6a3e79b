//! Stores a batch fast: entries go one after the other, and the cursor after them confirms that all are there.
//!
//! A fast batch of `JetStream` (ADR-50, `allow_batched`) has an id and numbers its messages; the stream takes them in
//! that order without a gap, or ends the batch. Ours begins with an *open* cursor, which continues from the newest
//! one: if the batch is late, the stream refuses this first message and so the whole batch. The last message is the
//! *closed* cursor. Whatever the server has acknowledged in between is stored.
//!
//! Unless the last acknowledgement arrives, [recovery](super::recovery) finds out how much is stored. A consumer may
//! see half of a batch; it is then completed, or followed by another batch that continues from there.

mod numbering;
mod under_way;

use tokio::time::Instant;
use uuid::Uuid;

use super::cursor::{Account, Cursor, State, Tip, note_stored};
use super::detour::Detour;
use super::failure::{self, Failure, Link};
use super::last_known::{LastKnown, Staleness};
use super::message::{Limits, Message};
use super::size::Size;
use super::stream::Found;
use super::suspect::Suspect;
use super::wire::{Ack, Wire};
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Batch, Record};
use crate::sink::Delivery;
pub(super) use numbering::{BEYOND, KNOWN_MAX, Op, number, ping, token};
pub(super) use under_way::Sent;
use under_way::{PORTIONS, UnderWay};

/// How many messages the server should acknowledge at once. It uses fewer if others send as well.
const FLOW: u64 = 500;
/// By how many bytes at most a fence is longer than an open cursor.
const FENCE: usize = 64;
/// From how many runs, at most, the entries of a batch come: its open cursor lists them.
const RUNS_MAX: usize = 32;

pub(super) struct Fast<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) found: &'a Found,
    pub(super) config: &'a NatsConfig,
    pub(super) batch: &'a Batch,
    pub(super) size: &'a mut Size,
    pub(super) last_known: &'a mut LastKnown,
    pub(super) detour: &'a mut Detour,
    pub(super) suspect: &'a mut Option<Suspect>,
    /// A batch that recovery has ended, and until when a replica may remember it.
    pub(super) ended: &'a mut Option<(Uuid, Instant)>,
    pub(super) sent: &'a mut Sent,
    pub(super) until: Instant,
}

/// Records of one batch, as messages.
struct LaidOut {
    messages: Vec<Message>,
    /// After the last of them.
    account: Option<Account>,
    /// Why the next one is left out.
    refused: Option<Failure>,
}

impl Fast<'_> {
    /// Stores a prefix of the records after `tip`. Leaves in `tip` what the stream holds afterwards, or nothing after
    /// a doubt.
    pub(super) async fn store(mut self, known: &mut Option<Tip>) -> (Delivery, Link) {
        let Some(mut tip) = known.take() else {
            let why = "the cursor must be read first".to_owned();
            return (Delivery::stopped(0, SinkError::Unknown(why)), Link::Sound);
        };
        let all = self.batch.records();
        let mut stored = 0;
        while stored < all.len() {
            let end = (stored + self.size.entries()).min(all.len());
            let next = &all[stored..end];
            let LaidOut {
                messages,
                account,
                refused,
            } = self.lay_out(tip.account(), next);
            let (count, Some(mut account)) = (messages.len(), account) else {
                *known = Some(tip);
                let failure = refused.unwrap_or_else(|| failure::broken("the batch is empty"));
                return (Delivery::stopped(stored, failure.error), failure.link);
            };
            if stored + count == all.len() {
                account = Account::through(Some(account), self.batch.through());
            }
            let mut under_way = UnderWay::new(&next[..count], tip.sequence);
            self.last_known.sent(under_way.id);
            match self.send(&mut under_way, &tip, account, messages).await {
                Ok(closed) => tip = closed,
                Err(failure) => {
                    if failure.timed_out {
                        self.size.timed_out(count);
                    }
                    // The first message is the open cursor.
                    let some = usize::try_from(under_way.stored.saturating_sub(1)).unwrap_or(0);
                    let stored = stored + some.min(count);
                    return (Delivery::stopped(stored, failure.error), failure.link);
                }
            }
            self.size.worked(count);
            stored += count;
            if let Some(failure) = refused {
                *known = Some(tip);
                return (Delivery::stopped(stored, failure.error), failure.link);
            }
        }
        *known = Some(tip);
        (Delivery::all(self.batch), Link::Sound)
    }

    /// The messages of the records, up to one that will not be taken.
    fn lay_out(&self, mut account: Option<Account>, records: &[Record]) -> LaidOut {
        let limits = Limits::of(self.found, &self.wire.connection);
        let mut messages = Vec::with_capacity(records.len());
        let mut refused = None;
        let mut runs = Vec::new();
        for record in records {
            if runs.last() != Some(&record.id().run) {
                if runs.len() == RUNS_MAX {
                    break;
                }
                runs.push(record.id().run);
            }
            let message = Message::new(self.config, record).after(account);
            if let Err(why) = message.check(&limits, 0) {
                refused = Some(failure::rejected(why));
                break;
            }
            account = Some(Account::past_record(account, record));
            messages.push(message);
        }
        let account = account.filter(|_| !messages.is_empty());
        LaidOut {
            messages,
            account,
            refused,
        }
    }

    /// Sends the batch, and waits until it is stored.
    async fn send(
        &mut self,
        under_way: &mut UnderWay<'_>,
        tip: &Tip,
        after: Account,
        messages: Vec<Message>,
    ) -> Result<Tip, Failure> {
        self.wire.skip_answers();
        self.end_again().await?;
        let (publisher, signer) = (self.batch.publisher(), self.batch.signer());
        let mut tree = tip.tree(signer, publisher);
        let first = under_way.records.first().map(Account::before);
        let open = Cursor {
            account: tip.account().or(first).unwrap_or(after),
            batch: Some(under_way.id),
            state: State::open(under_way.records),
            seal: None,
        };
        let limits = Limits::of(self.found, &self.wire.connection);
        let open = open.sealed(signer, &tree, tip).fitting(|open| {
            let message = open.message(self.config, publisher, tip.sequence);
            message.check(&limits, FENCE).is_ok()
        });
        let first = open.message(self.config, publisher, tip.sequence);
        first
            .check(&limits, FENCE)
            .map_err(|why| failure::no_cursor(&why))?;
        // Needed only for signing.
        self.sent.batch = signer.map_or(Uuid::nil(), |_| under_way.id);
        self.sent.leaves.clear();
        self.put(under_way, first, Op::Open).await?;
        for (message, record) in messages.into_iter().zip(under_way.records) {
            self.wait_for_room(under_way).await?;
            if signer.is_some() {
                let leaf = record.leaf(Some(record.subject()));
                tree.push(leaf);
                self.sent.leaves.push(leaf);
            }
            self.put(under_way, message, Op::Append).await?;
        }
        let limits = Limits::of(self.found, &self.wire.connection);
        let closed = Cursor::closed(after, under_way.id).sealed(signer, &tree, tip);
        let closed = closed.fitting(|closed| {
            let message = closed.plain_message(self.config, publisher);
            message.check(&limits, 0).is_ok()
        });
        let last = closed.plain_message(self.config, publisher);
        self.put(under_way, last, Op::Commit).await?;
        loop {
            if let Some(ack) = self.receive(under_way).await? {
                self.check(&ack, under_way)?;
                let tip = Tip {
                    cursor: Some(closed),
                    sequence: ack.seq,
                    ..Tip::default()
                };
                note_stored(signer, &tip);
                self.last_known.acknowledged(publisher, &tip, ack.seq);
                return Ok(tip);
            }
        }
    }

    /// A replica that lagged may still know an ended batch, and must not take more of it if it becomes the leader.
    async fn end_again(&mut self) -> Result<(), Failure> {
        let (Some((id, until)), now) = (*self.ended, Instant::now()) else {
            return Ok(());
        };
        if now >= until {
            *self.ended = None;
            return Ok(());
        }
        let ping = ping(self.config, self.batch.publisher());
        let token = token(id, 1, BEYOND, Op::Ping);
        self.wire.send(ping, Some(&token), self.until).await
    }

    async fn put(
        &self,
        under_way: &mut UnderWay<'_>,
        message: Message,
        op: Op,
    ) -> Result<(), Failure> {
        under_way.sent += 1;
        let token = token(under_way.id, FLOW, under_way.sent, op);
        let sent = self.wire.send(message, Some(&token), self.until).await;
        // What the client refuses now fitted before; earlier messages are under way.
        sent.map_err(|failure| Failure {
            error: SinkError::Unknown(failure.error.to_string()),
            ..failure
        })
    }

    async fn wait_for_room(&mut self, under_way: &mut UnderWay<'_>) -> Result<(), Failure> {
        while under_way.sent >= under_way.stored + under_way.portion * PORTIONS {
            if let Some(ack) = self.receive(under_way).await? {
                self.check(&ack, under_way)?;
            }
        }
        Ok(())
    }

    /// Takes the next answer. Returns it if it ends the batch.
    async fn receive(&mut self, under_way: &mut UnderWay<'_>) -> Result<Option<Ack>, Failure> {
        let answer = self.wire.answer(self.until).await;
        let answer = answer.map_err(failure::unanswered)?;
        let Some(number) = number(&answer, under_way.id) else {
            return Ok(None);
        };
        let Some(ack) = answer.ack()? else {
            return Ok(None);
        };
        if let Some(error) = &ack.error {
            let failure = failure::of_answer(error);
            return Err(self.refused(number, error.error_code().0, failure, under_way));
        }
        match ack.kind.as_deref() {
            Some("ack") => {
                under_way.stored = under_way.stored.max(ack.seq);
                under_way.portion = ack.msgs.max(1);
                Ok(None)
            }
            Some(_) => Ok(None),
            None => Ok(Some(ack)),
        }
    }

    /// The server has refused a message. Earlier ones are stored, or will be.
    fn refused(
        &mut self,
        number: u64,
        code: u64,
        failure: Failure,
        under_way: &UnderWay<'_>,
    ) -> Failure {
        let index = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(2));
        let record = index.and_then(|index| under_way.records.get(index));
        if number == 1 {
            return self.refused_at_once(code, failure, under_way.expected);
        }
        if let Some(record) = record
            && matches!(failure.error, SinkError::Rejected(_))
            && under_way.stored < number
        {
            *self.suspect = Some(Suspect {
                id: record.id(),
                why: failure.error.to_string(),
            });
        }
        Failure {
            error: SinkError::Unknown(failure.error.to_string()),
            link: Link::Sound,
            ..failure
        }
    }

    /// The first message was refused: nothing of the batch is stored.
    fn refused_at_once(&mut self, code: u64, failure: Failure, expected: u64) -> Failure {
        let said = failure.error.to_string();
        if matches!(code, failure::STALE | failure::OVERTAKEN) {
            let refused = self.last_known.refused(expected, failure::newest(&said));
            if refused == Staleness::Impossible {
                self.detour.refused_without_reason();
            }
            return Failure {
                error: SinkError::Unknown(said),
                link: Link::Doubtful,
                ..failure
            };
        }
        match failure.error {
            // The refused message is not an entry.
            SinkError::Rejected(_) => failure.unavailable(),
            _ => failure,
        }
    }

    /// The acknowledgement must come from our stream and cover all messages.
    fn check(&self, ack: &Ack, under_way: &mut UnderWay<'_>) -> Result<(), Failure> {
        if ack.stream != self.config.stream || ack.domain != self.found.domain {
            // Then so do the earlier acknowledgements, which do not name their stream.
            under_way.stored = 0;
            return Err(failure::foreign(ack, self.found, self.config));
        }
        let whole = ack.batch.as_deref() == Some(&under_way.id.simple().to_string());
        if whole && ack.count == under_way.sent {
            return Ok(());
        }
        Err(Failure {
            link: Link::Sound,
            ..failure::broken(&format!("{} messages of a batch are stored", ack.count))
        })
    }
}
