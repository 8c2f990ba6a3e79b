//! The cursor: a message that says how far a publisher has come in the stream.
//!
//! Each batch writes one to `<cursor_prefix>.<publisher id>`, and all of them stay there: the newest counts. Each
//! names the one before it (`Nats-Expected-Last-Subject-Sequence`). So a batch that arrives late, from wherever, is
//! refused as a whole: its cursor continues from one that is no longer the newest. After any doubt, reading the cursor
//! shows what is stored.

use std::fmt;

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::Message;
use crate::config::NatsConfig;
use crate::event::{Position, PublisherId, Record, RunId};
use crate::host::log;
use crate::seal::{Checkpoint, Hash, Seal, Signer, Statement, Tree};

/// Which numbers of a run are in the stream: all from `first` to `last`, except for `lost` of them. `first` is 1,
/// unless an earlier cursor went missing, or entries before it were stored alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    run: RunId,
    first: u64,
    last: u64,
    lost: u64,
}

/// A cursor, as the JSON of its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    #[serde(flatten)]
    pub(super) account: Account,
    /// The batch that it belongs to. The first versions of spillring left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<Uuid>,
    /// Whether entries of the batch may come after it.
    #[serde(default, skip_serializing_if = "Coverage::is_closed")]
    pub(super) state: Coverage,
    /// The tree of the entries up to here. For an open cursor: the tree before its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seal>,
}

/// Whether a cursor covers all entries of its batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Coverage {
    /// It is exact.
    #[default]
    Closed,
    /// Entries of these runs may come after it, up to the next cursor.
    Open(Vec<RunId>),
    /// Closes the open cursor at this sequence: no more entries come after this one.
    Fence(u64, Vec<RunId>),
}

/// What the stream is known to hold of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tip {
    pub(super) cursor: Option<Cursor>,
    /// The sequence of the cursor's message, 0 if there is none.
    pub(super) sequence: u64,
    /// Entries that are stored, but not yet in the tree of its seal.
    pub(super) leaves: Vec<Hash>,
    /// How many of them this process cannot confirm to have sent.
    pub(super) recovered: u64,
}

impl Coverage {
    /// Before these records.
    pub(super) fn open(records: &[Record]) -> Self {
        let mut runs: Vec<_> = records.iter().map(|record| record.id().run).collect();
        runs.dedup();
        Self::Open(runs)
    }

    fn is_closed(&self) -> bool {
        *self == Self::Closed
    }
}

impl Account {
    pub(super) fn position(&self) -> Position {
        Position::new(self.run, self.last)
    }

    /// The account after an entry that announces this many losses. Entries stored alone are in no account: after them,
    /// the entry begins a new one.
    pub(super) fn past(before: Option<Self>, id: Position, lost: u64) -> Self {
        let is_next = |it: &Self| it.run == id.run && it.last + lost + 1 == id.n;
        match before.filter(is_next) {
            Some(account) => Self {
                last: id.n,
                lost: account.lost + lost,
                ..account
            },
            None => Self {
                run: id.run,
                first: id.n.saturating_sub(lost),
                last: id.n,
                lost,
            },
        }
    }

    /// The account before the first record of a publisher in the stream.
    pub(super) fn before(record: &Record) -> Self {
        let first = record.n.saturating_sub(record.lost_before());
        Self {
            run: record.run.id,
            first,
            last: first.saturating_sub(1),
            lost: 0,
        }
    }

    /// The account after `alone`, if that is an entry of this run that `before` does not cover; else `before`.
    pub(super) fn after_alone(
        before: Option<Self>,
        alone: Option<Position>,
        run: RunId,
    ) -> Option<Self> {
        let counts = |id: Position| before.is_some_and(|it| it.run == run && it.last >= id.n);
        let alone = alone.filter(|id| id.run == run && !counts(*id));
        let begun = alone.map(|id| Self {
            run,
            first: id.n + 1,
            last: id.n,
            lost: 0,
        });
        begun.or(before)
    }

    /// The account after the losses that follow the last entry.
    pub(super) fn through(before: Option<Self>, through: Position) -> Self {
        let account = before.filter(|account| account.run == through.run);
        let account = account.unwrap_or(Self {
            run: through.run,
            first: 1,
            last: 0,
            lost: 0,
        });
        Self {
            last: through.n.max(account.last),
            lost: account.lost + through.n.saturating_sub(account.last),
            ..account
        }
    }
}

/// As in `Audit-After`: `<run id>.<last>; first=<n>; lost=<k>`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, lost, .. } = self;
        write!(f, "{}; first={first}; lost={lost}", self.position())
    }
}

impl Cursor {
    pub(super) fn closed(account: Account, batch: Uuid) -> Self {
        Self {
            account,
            batch: Some(batch),
            state: Coverage::Closed,
            seal: None,
        }
    }

    /// With a seal of this tree, which continues from `tip`, if there is a signer.
    pub(super) fn sealed(mut self, signer: Option<&Signer>, tree: &Tree, tip: &Tip) -> Self {
        let statement = Statement {
            through: Some(self.account.position()),
            is_open: self.is_open(),
            recovered: tip.recovered_in_all(),
        };
        self.seal = match signer.map(|signer| signer.sign(tree, statement)) {
            None => None,
            Some(Ok(seal)) => Some(seal),
            Some(Err(error)) => {
                log::error!(%error, "a checkpoint cannot be signed");
                None
            }
        };
        self
    }

    /// Drops what the stream has no room for: first the certificates, which come again, then the seal. Entries matter
    /// more.
    pub(super) fn fitting(mut self, fits: impl Fn(&Self) -> bool) -> Self {
        if !fits(&self)
            && let Some(seal) = &mut self.seal
        {
            seal.certificates.clear();
            if !fits(&self) {
                log::debug!("the stream has no room for a signed checkpoint in a cursor");
                self.seal = None;
            }
        }
        self
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != Coverage::Closed
    }

    /// The message of the cursor, which continues from the cursor at sequence `expected`. With `None`, an earlier
    /// message of the same batch does.
    pub(super) fn message(
        &self,
        config: &NatsConfig,
        publisher: PublisherId,
        expected: Option<u64>,
    ) -> Message {
        let mut headers = HeaderMap::new();
        if let Some(expected) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        }
        Message {
            subject: subject(config, publisher),
            headers,
            payload: serde_json::json!(self).to_string().into(),
        }
    }
}

impl Tip {
    pub(super) fn account(&self) -> Option<Account> {
        self.cursor.as_ref().map(|cursor| cursor.account)
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.account().map(|account| account.position())
    }

    /// The seal of the cursor.
    pub(super) fn seal(&self) -> Option<&Seal> {
        self.cursor.as_ref()?.seal.as_ref()
    }

    /// How many entries of the tree could not be confirmed to be ours.
    fn recovered_in_all(&self) -> u64 {
        let seal = self.seal();
        let said = seal.and_then(|seal| Checkpoint::parse(&seal.checkpoint).ok());
        self.recovered + said.map_or(0, |said| said.recovered)
    }
}

/// The subject of a publisher's cursors.
pub(super) fn subject(config: &NatsConfig, publisher: PublisherId) -> String {
    format!("{}.{publisher}", config.cursor_prefix)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Entries matter more than signatures, and signatures more than repeated certificates.
    #[test]
    fn a_cursor_that_is_too_large_goes_without_certificates_and_then_without_its_seal() {
        let position = Position {
            run: RunId(Uuid::nil()),
            n: 5,
        };
        let seal = serde_json::json!({
            "checkpoint": "x".repeat(400), "key": "k", "peaks": [], "certificates": ["y".repeat(300)],
        });
        let cursor = Cursor {
            seal: serde_json::from_value(seal).ok(),
            ..Cursor::closed(Account::through(None, position), Uuid::nil())
        };
        let in_bytes = |max: usize| {
            let fits = |cursor: &Cursor| serde_json::json!(cursor).to_string().len() <= max;
            let fitting = cursor.clone().fitting(fits);
            fitting.seal.map(|seal| seal.certificates.len())
        };
        assert_eq!([2_000, 700, 300].map(in_bytes), [Some(1), Some(0), None]);
    }
}
