//! A batch on its way into the stream with its cursor: what both ways of sending have in common.

use tokio::time::Instant;

use super::cursor::{Account, Cursor, Tip};
use super::detour::Detour;
use super::failure::{self, Link, NotStored};
use super::inspect::Found;
use super::last_known::LastKnown;
use super::message::Message;
use super::size::Size;
use super::wire::Wire;
use crate::event::{Batch, Position, Record};
use crate::seal::Tree;

pub(super) struct Sending<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) found: &'a Found,
    pub(super) batch: &'a Batch,
    pub(super) size: &'a mut Size,
    pub(super) last_known: &'a mut LastKnown,
    pub(super) detour: &'a mut Detour,
    pub(super) until: Instant,
    /// What the stream holds of the publisher.
    pub(super) tip: Tip,
    /// The last entry that was stored alone.
    pub(super) alone: Option<Position>,
    /// How many records of the batch are stored.
    pub(super) stored: usize,
    /// Whether the stream may hold more than `tip` says.
    pub(super) doubt: bool,
}

/// Records of one batch, as messages.
pub(super) struct LaidOut {
    pub(super) messages: Vec<Message>,
    /// The account after the last of them; `None` if there are none.
    pub(super) account: Option<Account>,
    /// Why the next one is left out, if one is.
    pub(super) refused: Result<(), NotStored>,
}

impl Sending<'_> {
    /// The messages of the records, up to the first that the stream does not take with `more` bytes of added headers.
    pub(super) fn lay_out(&self, records: &[Record], more: usize) -> LaidOut {
        let mut reached = self.tip.account();
        let mut messages = Vec::with_capacity(records.len());
        let mut refused = Ok(());
        for record in records {
            let mut message = Message::new(&self.wire.config, record);
            if let Some(reached) = reached
                && record.opens_run().is_some()
            {
                message.headers.insert("Audit-After", reached.to_string());
            }
            if let Err(why) = self.check(&message, more) {
                refused = Err(failure::rejected(why));
                break;
            }
            reached = Some(Account::past(reached, record.id(), record.lost_before()));
            messages.push(message);
        }
        LaidOut {
            account: reached.filter(|_| !messages.is_empty()),
            messages,
            refused,
        }
    }

    fn check(&self, message: &Message, more: usize) -> Result<(), String> {
        let payload_max = self.wire.connection.payload_max();
        self.found.takes(message, payload_max, more)
    }

    /// The tree of what the stream holds; empty without a signer.
    pub(super) fn tree(&self) -> Tree {
        let (tip, publisher) = (&self.tip, self.batch.publisher());
        self.batch.signer().map_or_else(Tree::default, |signer| {
            signer.tree(publisher, tip.seal(), &tip.leaves)
        })
    }

    /// Seals the cursor if there is room, and makes its message, which continues from `expected`. With `None`, an
    /// earlier message of the same batch does.
    pub(super) fn seal(
        &self,
        cursor: Cursor,
        tree: &Tree,
        expected: Option<u64>,
        more: usize,
    ) -> Result<(Cursor, Message), NotStored> {
        let publisher = self.batch.publisher();
        let message = |cursor: &Cursor| cursor.message(&self.wire.config, publisher, expected);
        let cursor = cursor.sealed(self.batch.signer(), tree, &self.tip);
        let cursor = cursor.fitting(|cursor| self.check(&message(cursor), more).is_ok());
        let message = message(&cursor);
        let fits = self.check(&message, more);
        fits.map_err(|why| failure::no_cursor(&why))?;
        Ok((cursor, message))
    }

    /// The batch was refused because its cursor is not the next one. It is late, or the stream has changed, which is
    /// then inspected again.
    pub(super) fn stale(&mut self, failure: NotStored) -> NotStored {
        let newest = failure::newest(&failure.error.to_string());
        if !self.last_known.refused(self.tip.sequence, newest) {
            self.detour.refused_without_reason();
        }
        NotStored {
            link: Link::Doubtful,
            ..failure.unknown()
        }
    }

    /// The stream has stored the cursor at `sequence`, and the batch up to `last`.
    pub(super) fn acknowledged(&mut self, cursor: Cursor, sequence: u64, last: u64) {
        if let (Some(signer), Some(seal)) = (self.batch.signer(), &cursor.seal) {
            signer.stored(seal);
        }
        self.tip = Tip {
            cursor: Some(cursor),
            sequence,
            ..Tip::default()
        };
        let publisher = self.batch.publisher();
        self.last_known.acknowledged(publisher, &self.tip, last);
    }
}
