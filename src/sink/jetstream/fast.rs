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

use super::cursor::{Account, Coverage, Cursor};
use super::failure::{self, Cause, Link, NotStored};
use super::message::Message;
use super::sending::{LaidOut, Sending};
use super::suspect::Suspect;
use super::wire::Ack;
use crate::error::SinkError;
use crate::event::Record;
pub(super) use numbering::{BEYOND, KNOWN_MAX, Op, number, ping, token};
pub(super) use under_way::Sent;
use under_way::{PORTIONS, UnderWay};

/// How many messages the server should acknowledge at once. It uses fewer if others send as well.
const FLOW: u64 = 500;
/// A fence is longer than an open cursor by at most this many bytes.
const FENCE: usize = 64;
/// The maximum number of runs in a batch: its open cursor lists them.
const RUNS_MAX: usize = 32;

pub(super) struct Fast<'a, 'b> {
    pub(super) to: &'b mut Sending<'a>,
    pub(super) suspect: &'b mut Option<Suspect>,
    /// A batch that recovery has ended, and until when a replica may remember it.
    pub(super) ended: &'b mut Option<(Uuid, Instant)>,
    pub(super) sent: &'b mut Sent,
}

impl Fast<'_, '_> {
    /// Stores the rest of the batch, or a prefix of it.
    pub(super) async fn store(&mut self) -> Result<(), NotStored> {
        let all = self.to.batch.records();
        while self.to.stored < all.len() {
            let left = &all[self.to.stored..];
            let next = of_few_runs(&left[..left.len().min(self.to.size.entries())]);
            let LaidOut {
                messages,
                account,
                refused,
            } = self.to.lay_out(next, 0);
            let Some(mut account) = account else {
                return refused;
            };
            let count = messages.len();
            if count == left.len() {
                account = Account::through(Some(account), self.to.batch.through());
            }
            let mut under_way = UnderWay::new(&next[..count]);
            self.to.last_known.sent(under_way.id);
            self.to.doubt = true;
            if let Err(failure) = self.send(&mut under_way, account, messages).await {
                if failure.cause == Cause::Silence {
                    self.to.size.timed_out(count);
                }
                // The first message is the open cursor.
                let some = usize::try_from(under_way.stored.saturating_sub(1)).unwrap_or(0);
                self.to.stored += some.min(count);
                return Err(failure);
            }
            self.to.doubt = false;
            self.to.size.worked(count);
            self.to.stored += count;
            refused?;
        }
        Ok(())
    }

    /// Sends the batch, and waits until it is stored.
    async fn send(
        &mut self,
        under_way: &mut UnderWay<'_>,
        after: Account,
        messages: Vec<Message>,
    ) -> Result<(), NotStored> {
        self.to.wire.skip_answers();
        self.end_again().await?;
        let signs = self.to.batch.signer().is_some();
        let mut tree = self.to.tree();
        let first = under_way.records.first().map(Account::before);
        let open = Cursor {
            account: self.to.tip.account().or(first).unwrap_or(after),
            batch: Some(under_way.id),
            state: Coverage::open(under_way.records),
            seal: None,
        };
        let (_, open) = self
            .to
            .seal(open, &tree, Some(self.to.tip.sequence), FENCE)?;
        // Needed only for signing.
        self.sent.batch = if signs { under_way.id } else { Uuid::nil() };
        self.sent.leaves.clear();
        self.put(under_way, open, Op::Open).await?;
        for (message, record) in messages.into_iter().zip(under_way.records) {
            self.wait_for_room(under_way).await?;
            if signs {
                let leaf = record.leaf(Some(record.subject()));
                tree.push(leaf);
                self.sent.leaves.push(leaf);
            }
            self.put(under_way, message, Op::Append).await?;
        }
        let closed = Cursor::closed(after, under_way.id);
        let (closed, last) = self.to.seal(closed, &tree, None, 0)?;
        self.put(under_way, last, Op::Commit).await?;
        loop {
            if let Some(ack) = self.receive(under_way).await? {
                self.check(&ack, under_way)?;
                self.to.acknowledged(closed, ack.seq, ack.seq);
                return Ok(());
            }
        }
    }

    /// Ends that batch again: a lagging replica may still know it, and must take no more of it as the new leader.
    async fn end_again(&mut self) -> Result<(), NotStored> {
        let (Some((id, until)), now) = (*self.ended, Instant::now()) else {
            return Ok(());
        };
        if now >= until {
            *self.ended = None;
            return Ok(());
        }
        let ping = ping(&self.to.wire.config, self.to.batch.publisher());
        let token = token(id, 1, BEYOND, Op::Ping);
        self.to.wire.send(ping, Some(&token), self.to.until).await
    }

    async fn put(
        &self,
        under_way: &mut UnderWay<'_>,
        message: Message,
        op: Op,
    ) -> Result<(), NotStored> {
        under_way.sent += 1;
        let token = token(under_way.id, FLOW, under_way.sent, op);
        let sent = self
            .to
            .wire
            .send(message, Some(&token), self.to.until)
            .await;
        // The message fitted before; if the client refuses it now, earlier messages are already under way.
        sent.map_err(NotStored::unknown)
    }

    async fn wait_for_room(&mut self, under_way: &mut UnderWay<'_>) -> Result<(), NotStored> {
        while under_way.sent >= under_way.stored + under_way.portion * PORTIONS {
            if let Some(ack) = self.receive(under_way).await? {
                self.check(&ack, under_way)?;
            }
        }
        Ok(())
    }

    /// Takes the next answer. Returns it if it ends the batch.
    async fn receive(&mut self, under_way: &mut UnderWay<'_>) -> Result<Option<Ack>, NotStored> {
        let answer = self.to.wire.answer(self.to.until).await;
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
        failure: NotStored,
        under_way: &UnderWay<'_>,
    ) -> NotStored {
        let index = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(2));
        let record = index.and_then(|index| under_way.records.get(index));
        if number == 1 {
            return self.refused_at_once(code, failure);
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
        NotStored {
            link: Link::Sound,
            ..failure.unknown()
        }
    }

    /// The first message was refused: nothing of the batch is stored.
    fn refused_at_once(&mut self, code: u64, failure: NotStored) -> NotStored {
        match failure.error {
            _ if matches!(code, failure::STALE | failure::OVERTAKEN) => self.to.stale(failure),
            // The refused message is not an entry.
            SinkError::Rejected(_) => failure.unavailable(),
            _ => failure,
        }
    }

    /// The acknowledgement must come from our stream and cover all messages.
    fn check(&self, ack: &Ack, under_way: &mut UnderWay<'_>) -> Result<(), NotStored> {
        if let Err(foreign) = self.to.found.took(ack, &self.to.wire.config) {
            // Earlier acknowledgements do not name their stream: they came from that one, too.
            under_way.stored = 0;
            return Err(foreign);
        }
        if ack.covers(under_way.id, under_way.sent) {
            return Ok(());
        }
        Err(NotStored {
            link: Link::Sound,
            ..failure::broken(&format!("{} messages of a batch are stored", ack.count))
        })
    }
}

/// The leading records, from at most as many runs as an open cursor lists.
fn of_few_runs(records: &[Record]) -> &[Record] {
    let runs = records.chunk_by(|one, next| one.id().run == next.id().run);
    let count = runs.take(RUNS_MAX).map(<[Record]>::len).sum();
    &records[..count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunEnd;
    use crate::sink::conformance::Draft;

    #[test]
    fn a_batch_ends_before_more_runs_than_its_open_cursor_lists() {
        let mut draft = Draft::new();
        for _ in 0..=RUNS_MAX {
            draft.entry("1").entry("2").restart(RunEnd::Killed);
        }
        let batch = draft.batch();
        assert_eq!(of_few_runs(batch.records()).len(), 2 * RUNS_MAX);
        assert_eq!(of_few_runs(&batch.records()[1..4]).len(), 3);
    }
}
