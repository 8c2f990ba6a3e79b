//! The cursor: a message that says how far a publisher has come in the stream.
//!
//! It is on `<cursor_prefix>.<publisher id>`, one for each batch, and stays there: the newest counts. Each names the one before it
//! (`Nats-Expected-Last-Subject-Sequence`). So a batch that comes late, from wherever, is refused as a whole: its cursor goes
//! on from one that is no longer the newest. After any doubt, reading the cursor says what is stored.

use std::fmt;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::failure;
use super::message::Message;
use super::stream;
use super::wire::{Wire, unanswered};
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Position, PublisherId, Record, RunId};
use crate::host::log;
use crate::seal::{Hash, Seal, Signer, Statement, Tree};

/// The sequence of a message that was read.
const SEQUENCE: &str = "Nats-Sequence";
/// On what a server leaves in the place of messages that have expired.
const MARKER: &str = "Nats-Marker-Reason";

/// Which numbers of a run are in the stream: of `first` to `last`, `lost` are not, and all others are. `first` is 1, unless
/// an earlier cursor went missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    run: RunId,
    first: u64,
    last: u64,
    lost: u64,
}

/// A cursor, as the message's JSON says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    #[serde(flatten)]
    pub(super) account: Account,
    /// The batch that it belongs to. The first versions of spillring named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<Uuid>,
    /// Whether entries of the batch may come after it.
    #[serde(default, skip_serializing_if = "State::is_closed")]
    pub(super) state: State,
    /// The tree of the entries up to here. Of an open one: before its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seal>,
}

/// Whether a cursor covers all entries of its batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It is exact.
    #[default]
    Closed,
    /// Entries of these runs may come after it, up to the next cursor.
    Open(Vec<RunId>),
    /// The same of an open cursor at this sequence. Nothing more comes after this one.
    Fence(u64, Vec<RunId>),
}

/// What the stream is known to hold of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tip {
    pub(super) cursor: Option<Cursor>,
    /// The sequence of the cursor's message, 0 if there is none.
    pub(super) sequence: u64,
    /// Entries that are stored, and not yet in the tree of its seal.
    pub(super) leaves: Vec<Hash>,
    /// How many of them nobody knows any more to have been sent by us.
    pub(super) recovered: u64,
}

impl State {
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
        Position {
            run: self.run,
            n: self.last,
        }
    }

    /// After an entry, before which so many are lost.
    pub(super) fn past(before: Option<Self>, id: Position, lost: u64) -> Self {
        match before.filter(|account| account.run == id.run) {
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

    /// Before the first record of a publisher in the stream.
    pub(super) fn before(record: &Record) -> Self {
        let first = record.n.saturating_sub(record.lost_before());
        Self {
            run: record.run.id,
            first,
            last: first.saturating_sub(1),
            lost: 0,
        }
    }

    /// After the record.
    pub(super) fn past_record(before: Option<Self>, record: &Record) -> Self {
        Self::past(before, record.id(), record.lost_before())
    }

    /// After losses that no entry announces any more.
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

/// As `Audit-After` writes it: `<run id>.<last>; first=<n>; lost=<k>`.
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
            state: State::Closed,
            seal: None,
        }
    }

    /// With a seal of this tree, if there is a signer.
    pub(super) fn sealed(mut self, signer: Option<&Signer>, tree: &Tree, recovered: u64) -> Self {
        let statement = Statement {
            through: Some(self.account.position()),
            is_open: self.is_open(),
            recovered,
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

    /// Drops what the stream has no room for: certificates, which come again, then the seal. Entries matter more.
    pub(super) fn fitting(mut self, fits: impl Fn(&Self) -> bool) -> Self {
        if !fits(&self)
            && let Some(seal) = &mut self.seal
        {
            seal.certificates.clear();
            if !fits(&self) {
                log::warning!(
                    "the stream's messages are too small for signed checkpoints: raise its `max_msg_size`"
                );
                self.seal = None;
            }
        }
        self
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// The message of a cursor that goes on from the one at `expected`.
    pub(super) fn message(
        &self,
        config: &NatsConfig,
        publisher: PublisherId,
        expected: u64,
    ) -> Message {
        let mut message = self.plain_message(config, publisher);
        message
            .headers
            .insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        message
    }

    /// The same within a batch that goes on from the right one.
    pub(super) fn plain_message(&self, config: &NatsConfig, publisher: PublisherId) -> Message {
        Message {
            subject: subject(config, publisher),
            headers: HeaderMap::new(),
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

    /// The tree of what is stored; empty without a signer.
    pub(super) fn tree(&self, signer: Option<&Signer>, publisher: PublisherId) -> Tree {
        let newest = self.cursor.as_ref().and_then(|cursor| cursor.seal.as_ref());
        signer.map_or_else(Tree::default, |signer| {
            signer.tree(publisher, newest, &self.leaves)
        })
    }
}

/// The newest cursor is stored: so is its seal.
pub(super) fn note_stored(signer: Option<&Signer>, tip: &Tip) {
    let seal = tip.cursor.as_ref().and_then(|cursor| cursor.seal.as_ref());
    if let (Some(signer), Some(seal)) = (signer, seal) {
        signer.stored(seal);
    }
}

/// The position that an `Audit-Id` names.
pub(super) fn position(id: &str) -> Option<Position> {
    let (run, n) = id.rsplit_once('.')?;
    Some(Position {
        run: RunId(Uuid::try_parse(run).ok()?),
        n: n.parse().ok()?,
    })
}

/// The subject of a publisher's cursors.
pub(super) fn subject(config: &NatsConfig, publisher: PublisherId) -> String {
    format!("{}.{publisher}", config.cursor_prefix)
}

/// Who answers a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Any replica: what it says may be old. Needs the least permission.
    AnyReplica,
    Leader,
}

/// What was read: its sequence, headers and payload.
type Read = (u64, HeaderMap, Bytes);

/// Reads the newest cursor. What a replica says may be old: then the next batch is refused.
///
/// Of a message that it cannot read, a server says that there is none, and so it takes a batch that expects none. What it lists
/// comes from its index.
pub(super) async fn read(
    wire: &mut Wire,
    config: &NatsConfig,
    publisher: PublisherId,
    from: From,
    until: Instant,
) -> Result<Tip, SinkError> {
    let subject = subject(config, publisher);
    let read = match from {
        From::AnyReplica => from_any(wire, config, &subject, until).await?,
        From::Leader => from_leader(wire, config, &subject, until).await?,
    };
    let Some((sequence, headers, payload)) = read else {
        if stream::lists(wire, config, &subject, until).await? {
            return Err(SinkError::Unavailable(format!(
                "the stream lists a message on {subject}, but its server cannot read it: see the log of the server, or let \
                 another one lead the stream"
            )));
        }
        return Ok(Tip::default());
    };
    if headers.get(MARKER).is_some() {
        // The cursor has expired; what is left of it is its place.
        return Ok(Tip {
            cursor: None,
            sequence,
            ..Tip::default()
        });
    }
    match serde_json::from_slice(&payload) {
        Ok(cursor) => Ok(Tip {
            cursor: Some(cursor),
            sequence,
            ..Tip::default()
        }),
        Err(error) => Err(SinkError::Misconfigured(format!(
            "message {sequence} on {subject} is no cursor ({error}): nobody else may write there; delete it, and what was in \
             doubt may be stored twice"
        ))),
    }
}

/// Whether a cursor is in the stream at its place, though it was not found by its subject: then the server's index is wrong.
pub(super) async fn is_there(
    wire: &mut Wire,
    config: &NatsConfig,
    tip: &Tip,
    until: Instant,
) -> Result<bool, SinkError> {
    let request = format!("{}.DIRECT.GET.{}", config.api(), config.stream);
    let wanted = serde_json::json!({ "seq": tip.sequence }).to_string();
    let read = direct(wire, &request, wanted, until).await?;
    let found = read.and_then(|(_, _, payload)| serde_json::from_slice::<Cursor>(&payload).ok());
    Ok(found.map(|found| found.batch) == tip.cursor.as_ref().map(|known| known.batch))
}

async fn from_any(
    wire: &mut Wire,
    config: &NatsConfig,
    subject: &str,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let request = format!("{}.DIRECT.GET.{}.{subject}", config.api(), config.stream);
    direct(wire, &request, String::new(), until).await
}

async fn direct(
    wire: &mut Wire,
    request: &str,
    wanted: String,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let answer = wire.ask(request, wanted, until).await?;
    match answer.status {
        None => {}
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) => {
            return Err(SinkError::Unavailable(format!(
                "the cursor cannot be read: the server said {status}"
            )));
        }
    }
    let headers = answer.headers.unwrap_or_default();
    // A server adds its own after those that the message may have had.
    let sequence = headers
        .get_all(SEQUENCE)
        .last()
        .and_then(|it| it.as_str().parse().ok());
    let sequence = sequence.ok_or_else(|| {
        SinkError::Unavailable("the cursor cannot be read: it has no sequence".to_owned())
    })?;
    Ok(Some((sequence, headers, answer.payload)))
}

async fn from_leader(
    wire: &mut Wire,
    config: &NatsConfig,
    subject: &str,
    until: Instant,
) -> Result<Option<Read>, SinkError> {
    let connection = &mut wire.connection;
    let context = connection.context(until.saturating_duration_since(Instant::now()));
    let read = async {
        let stream = context.get_stream_no_info(&config.stream).await;
        let stream = stream.map_err(|error| SinkError::Unavailable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some((message.sequence, message.headers, message.payload))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(said) => Err(failure::of_server(&said)),
                _ => Err(SinkError::Unavailable(format!(
                    "the cursor cannot be read: {error}"
                ))),
            },
        }
    };
    connection.answer(until, read).await.map_err(unanswered)?
}
