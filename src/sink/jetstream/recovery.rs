//! Finds out what is stored of a fast batch that was left half-way.
//!
//! 1. The batch is ended at the leader, which then takes nothing more of it.
//! 2. A *fence*, a cursor that continues from the open one, is stored under the id of the batch. Replicas that still
//!    know the batch end it too. From now on late messages of the batch are refused, by number or by cursor.
//! 3. The messages between the open cursor and the fence are read. The newest entry of the batch's runs shows how far
//!    it came.
//!
//! If a step fails, the next attempt begins again with the newest cursor.

use async_nats::{HeaderMap, HeaderValue};
use serde_json::json;
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::cursor::{Account, Coverage, Cursor, Tip};
use super::failure;
use super::fast::{BEYOND, Op, number, ping, token};
use super::message::{Message, added};
use super::read::{self, SEQUENCE};
use super::wire::{Ack, Answer, Wire, unanswered};
use crate::error::SinkError;
use crate::event::{Position, PublisherId, RunId};
use crate::seal::{Hash, Leaf};

/// The stream does not know the batch, or no longer takes fast ones.
const ENDED: [u64; 2] = [10_208, 10_205];
/// The stream takes no fast batches, or has as many open as it may.
const NO_MORE: [u64; 2] = [10_205, 10_211];
/// The token of a fence outside a batch.
const PLAIN: &str = "fence";
/// How long to wait for the end of a batch.
const END_MAX: Duration = Duration::from_secs(2);
/// How many messages are read at once, and how many bytes of them.
const PAGE: u64 = 1_000;
const PAGE_BYTES: u64 = 4 << 20;

/// Makes the cursor of a publisher exact.
pub(super) struct Recovery<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) publisher: PublisherId,
    pub(super) progress: &'a mut Option<Progress>,
    pub(super) until: Instant,
}

/// How far the messages after an open cursor have been read: the next attempt continues from there.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    open: u64,
    next: u64,
    account: Account,
    leaves: Vec<Hash>,
}

impl Recovery<'_> {
    /// Makes an open cursor exact.
    pub(super) async fn close(&mut self, tip: Tip) -> Result<Tip, SinkError> {
        let Some(cursor) = &tip.cursor else {
            return Ok(tip);
        };
        let id = cursor.batch.unwrap_or_default();
        let (from, end, runs) = match &cursor.state {
            Coverage::Closed => return Ok(tip),
            // Nothing of the batch comes after it.
            Coverage::Fence(from, runs) => (*from, tip.sequence, runs),
            Coverage::Open(runs) => {
                self.end(id).await?;
                let fence = Cursor {
                    state: Coverage::Fence(tip.sequence, runs.clone()),
                    ..cursor.clone()
                };
                let end = self.fence(&fence, id, tip.sequence).await?;
                (tip.sequence, end, runs)
            }
        };
        let (account, leaves) = self.read(cursor.account, from, end, runs).await?;
        let exact = Cursor {
            seal: cursor.seal.clone(),
            ..Cursor::closed(account, id)
        };
        Ok(Tip {
            cursor: Some(exact),
            sequence: end,
            recovered: leaves.len() as u64,
            leaves,
        })
    }

    /// Ends the batch at the leader.
    async fn end(&mut self, id: Uuid) -> Result<(), SinkError> {
        let ping = ping(&self.wire.config, self.publisher);
        let token = token(id, 1, BEYOND, Op::Ping);
        let is_ours = |answer: &Answer| number(answer, id) == Some(BEYOND);
        let ack = self.ask(ping, &token, is_ours).await?;
        match ack.error {
            Some(error) if !ENDED.contains(&error.error_code().0) => {
                Err(failure::of_server(&error))
            }
            _ => Ok(()),
        }
    }

    /// Stores the fence, and returns its sequence.
    async fn fence(&mut self, fence: &Cursor, id: Uuid, expected: u64) -> Result<u64, SinkError> {
        let message = fence.message(&self.wire.config, self.publisher, Some(expected));
        let token = token(id, 1, 1, Op::Commit);
        let is_ours = |answer: &Answer| number(answer, id) == Some(1);
        let mut ack = self.ask(message.clone(), &token, is_ours).await?;
        let code = ack.error.as_ref().map(|error| error.error_code().0);
        let is_gone = code.is_some_and(|code| NO_MORE.contains(&code));
        if is_gone {
            // The stream takes no fast batches, or no more of them, so ours is gone. Then any message will do.
            ack = self
                .ask(message, PLAIN, |answer| answer.token == PLAIN)
                .await?;
        }
        if let Some(error) = &ack.error {
            return Err(failure::of_server(error));
        }
        // A new leader that knew the batch has only ended it: the acknowledgement is that of an older message.
        if !is_gone && (ack.count != 1 || ack.seq <= expected) {
            return Err(SinkError::Unavailable(
                "a batch was ended by a new leader; checking it again".to_owned(),
            ));
        }
        Ok(ack.seq)
    }

    /// Sends a message, and waits for its answer, or, if it is in a batch, for the one that ends the batch.
    async fn ask(
        &mut self,
        message: Message,
        token: &str,
        is_ours: impl Fn(&Answer) -> bool,
    ) -> Result<Ack, SinkError> {
        let until = self.until.min(Instant::now() + END_MAX);
        self.wire.skip_answers();
        let sent = self.wire.send(message, Some(token), until).await;
        sent.map_err(|failure| failure.error)?;
        loop {
            let answer = self.wire.answer(until).await.map_err(unanswered)?;
            if is_ours(&answer) {
                let ack = answer.ack().map_err(|failure| failure.error)?;
                if let Some(ack) = ack.filter(|ack| ack.kind.is_none()) {
                    return Ok(ack);
                }
            }
        }
    }

    /// Reads from `open` to `end`: the account after the newest entry of these runs, and these entries as leaves.
    async fn read(
        &mut self,
        account: Account,
        open: u64,
        end: u64,
        runs: &[RunId],
    ) -> Result<(Account, Vec<Hash>), SinkError> {
        let before = self.progress.take().filter(|it| it.open == open);
        let mut at = before.unwrap_or(Progress {
            open,
            next: open + 1,
            account,
            leaves: Vec::new(),
        });
        while at.next < end {
            let wanted = json!({ "seq": at.next, "batch": PAGE, "max_bytes": PAGE_BYTES });
            let begun = at.next;
            for (headers, payload) in read::page(self.wire, &wanted, self.until).await? {
                let sequence = added(&headers, SEQUENCE).and_then(|it| it.parse::<u64>().ok());
                let Some(sequence) = sequence.filter(|sequence| *sequence < end) else {
                    at.next = end;
                    break;
                };
                at.next = sequence + 1;
                let leaf = leaf(&headers, &payload, &self.wire.config.subject_prefix);
                if let Some(leaf) = leaf
                    && let Some(account) = extended(at.account, &leaf, runs)
                {
                    at.account = account;
                    at.leaves.push(leaf.hash());
                }
            }
            if at.next == begun {
                return Err(SinkError::Unavailable(
                    "the replica that was read lags behind the others".to_owned(),
                ));
            }
            *self.progress = Some(at.clone());
        }
        Ok((at.account, at.leaves))
    }
}

/// The account after an entry, if the entry continues from this account.
fn extended(account: Account, entry: &Leaf<'_>, runs: &[RunId]) -> Option<Account> {
    let place = |run: RunId| runs.iter().position(|of| *of == run);
    let (now, before) = (place(entry.id.run)?, account.position());
    let later = match place(before.run) {
        Some(then) if then == now => entry.id.n > before.n,
        then => then.is_none_or(|then| then < now),
    };
    later.then(|| Account::past(Some(account), entry.id, entry.lost))
}

/// A message of the stream as a leaf, if it is an entry.
fn leaf<'a>(headers: &'a HeaderMap, bytes: &'a [u8], prefix: &str) -> Option<Leaf<'a>> {
    let get = |name: &str| headers.get(name).map(HeaderValue::as_str);
    let subject = added(headers, "Nats-Subject");
    let lost = get("Audit-Lost").and_then(|it| it.parse().ok());
    Some(Leaf {
        id: get("Audit-Id").and_then(Position::parse)?,
        lost: lost.unwrap_or(0),
        requeued: get("Audit-Requeued").and_then(Position::parse),
        opening: get("Audit-Run"),
        subject: subject.and_then(|it| it.strip_prefix(prefix)?.strip_prefix('.')),
        bytes,
    })
}
