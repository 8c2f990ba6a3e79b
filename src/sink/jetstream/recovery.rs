//! Finds out what is stored of a fast batch that was left half-way.
//!
//! 1. The batch is ended at the leader, which then takes nothing more of it.
//! 2. A *fence*, a cursor that continues from the open one, is stored under the id of the batch. Replicas that still
//!    know the batch end it too. From now on late messages of the batch are refused, by number or by cursor.
//! 3. The messages between the open cursor and the fence are read. The newest entry of the batch's runs shows how far
//!    it came.
//!
//! If a step fails, the next attempt begins again with the newest cursor.

use async_nats::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use serde_json::json;
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::cursor::{Account, Cursor, State, Tip, position};
use super::failure;
use super::fast::{BEYOND, Op, number, ping, token};
use super::message::Message;
use super::wire::{Ack, Wire, unanswered};
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{PublisherId, RunId};
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
    pub(super) config: &'a NatsConfig,
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
        let (from, runs) = match &cursor.state {
            State::Closed => return Ok(tip),
            State::Open(runs) => (tip.sequence, runs.clone()),
            State::Fence(from, runs) => (*from, runs.clone()),
        };
        let id = cursor.batch.unwrap_or_default();
        let end = if matches!(cursor.state, State::Fence(..)) {
            // Nothing of the batch comes after it.
            tip.sequence
        } else {
            self.end(id).await?;
            let fence = Cursor {
                account: cursor.account,
                batch: cursor.batch,
                state: State::Fence(from, runs.clone()),
                seal: cursor.seal.clone(),
            };
            self.fence(&fence, id, tip.sequence).await?
        };
        let (account, leaves) = self.read(cursor.account, from, end, &runs).await?;
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
        let ping = ping(self.config, self.publisher);
        let ack = self.ask(ping, id, BEYOND, Op::Ping).await?;
        match ack.error {
            Some(error) if !ENDED.contains(&error.error_code().0) => {
                Err(failure::of_server(&error))
            }
            _ => Ok(()),
        }
    }

    /// Stores the fence, and returns its sequence.
    async fn fence(&mut self, fence: &Cursor, id: Uuid, expected: u64) -> Result<u64, SinkError> {
        let message = fence.message(self.config, self.publisher, expected);
        let mut ack = self.ask(message.clone(), id, 1, Op::Commit).await?;
        if let Some(error) = &ack.error {
            if !NO_MORE.contains(&error.error_code().0) {
                return Err(failure::of_server(error));
            }
            // The stream takes no fast batches, or no more of them, so ours is gone. Then any message will do.
            ack = self.ask_plainly(message).await?;
            if let Some(error) = &ack.error {
                return Err(failure::of_server(error));
            }
            return Ok(ack.seq);
        }
        // A new leader that knew the batch has only ended it: the acknowledgement is that of an older message.
        if ack.count != 1 || ack.seq <= expected {
            return Err(SinkError::Unavailable(
                "a batch was ended by a new leader; checking it again".to_owned(),
            ));
        }
        Ok(ack.seq)
    }

    /// Stores a message outside a batch.
    async fn ask_plainly(&mut self, message: Message) -> Result<Ack, SinkError> {
        let until = self.until.min(Instant::now() + END_MAX);
        let sent = self.wire.send(message, Some(PLAIN), until).await;
        sent.map_err(|failure| failure.error)?;
        loop {
            let answer = self.wire.answer(until).await.map_err(unanswered)?;
            if answer.token == PLAIN {
                let ack = answer.ack().map_err(|failure| failure.error)?;
                return Ok(ack.unwrap_or_default());
            }
        }
    }

    /// Sends a message of the batch, and waits for the answer that ends it.
    async fn ask(&mut self, message: Message, id: Uuid, at: u64, op: Op) -> Result<Ack, SinkError> {
        let until = self.until.min(Instant::now() + END_MAX);
        self.wire.skip_answers();
        let sent = self
            .wire
            .send(message, Some(&token(id, 1, at, op)), until)
            .await;
        sent.map_err(|failure| failure.error)?;
        loop {
            let answer = self.wire.answer(until).await.map_err(unanswered)?;
            if number(&answer, id) != Some(at) {
                continue;
            }
            let ack = answer.ack().map_err(|failure| failure.error)?;
            if let Some(ack) = ack.filter(|ack| ack.kind.is_none()) {
                return Ok(ack);
            }
        }
    }

    /// The account after the newest entry of these runs between two messages, and these entries as leaves.
    async fn read(
        &mut self,
        account: Account,
        open: u64,
        end: u64,
        runs: &[RunId],
    ) -> Result<(Account, Vec<Hash>), SinkError> {
        let before = self
            .progress
            .take()
            .filter(|progress| progress.open == open);
        let mut at = before.unwrap_or(Progress {
            open,
            next: open + 1,
            account,
            leaves: Vec::new(),
        });
        while at.next < end {
            let request = format!("{}.DIRECT.GET.{}", self.config.api(), self.config.stream);
            let wanted = json!({ "seq": at.next, "batch": PAGE, "max_bytes": PAGE_BYTES });
            let begun = at.next;
            for (headers, payload) in self.page(&request, wanted.to_string()).await? {
                // A server appends its own headers to those of the message.
                let added = headers.get_all("Nats-Sequence").last();
                let sequence = added.and_then(|it| it.as_str().parse::<u64>().ok());
                let Some(sequence) = sequence.filter(|sequence| *sequence < end) else {
                    at.next = end;
                    break;
                };
                at.next = sequence + 1;
                if let Some(account) = extended(at.account, &headers, runs) {
                    at.account = account;
                    at.leaves.extend(leaf(&headers, &payload, self.config));
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

    /// The headers and payloads of a page of messages.
    async fn page(
        &mut self,
        request: &str,
        wanted: String,
    ) -> Result<Vec<(HeaderMap, Bytes)>, SinkError> {
        let mut found = Vec::new();
        let mut answer = self.wire.ask(request, wanted, self.until).await?;
        let token = answer.token.clone();
        loop {
            match answer.status {
                None => found.extend(answer.headers.map(|headers| (headers, answer.payload))),
                Some(status) if status == 204 || status == StatusCode::NOT_FOUND => {
                    return Ok(found);
                }
                Some(status) => {
                    return Err(SinkError::Unavailable(format!(
                        "the stream cannot be read: the server said {status}"
                    )));
                }
            }
            answer = loop {
                let next = self.wire.answer(self.until).await.map_err(unanswered)?;
                if next.token == token {
                    break next;
                }
            };
        }
    }
}

/// The account after a message, if that is an entry which continues from it.
fn extended(account: Account, headers: &HeaderMap, runs: &[RunId]) -> Option<Account> {
    let get = |name: &str| headers.get(name).map(HeaderValue::as_str);
    let place = |run: RunId| runs.iter().position(|of| *of == run);
    let id = get("Audit-Id").and_then(position)?;
    let (now, before) = (place(id.run)?, account.position());
    let later = match place(before.run) {
        Some(then) if then == now => id.n > before.n,
        then => then.is_none_or(|then| then < now),
    };
    let lost = get("Audit-Lost").and_then(|it| it.parse().ok());
    later.then(|| Account::past(Some(account), id, lost.unwrap_or(0)))
}

/// An entry of the stream as a leaf.
fn leaf(headers: &HeaderMap, payload: &[u8], config: &NatsConfig) -> Option<Hash> {
    let get = |name: &str| headers.get(name).map(HeaderValue::as_str);
    // A server appends its own headers to those of the message.
    let subject = headers.get_all("Nats-Subject").last();
    let subject = subject.and_then(|it| {
        it.as_str()
            .strip_prefix(&config.subject_prefix)?
            .strip_prefix('.')
    });
    let leaf = Leaf {
        id: position(get("Audit-Id")?)?,
        lost: get("Audit-Lost")
            .and_then(|it| it.parse().ok())
            .unwrap_or(0),
        requeued: get("Audit-Requeued").and_then(position),
        opening: get("Audit-Run"),
        subject,
        bytes: payload,
    };
    Some(leaf.hash())
}
