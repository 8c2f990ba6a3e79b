//! The sink for NATS with its `JetStream`.
//!
//! # Transactions
//!
//! Where the stream allows atomic batches, each batch is a transaction that holds its entries and the publisher's
//! [`cursor`]: together they are stored, or not at all. One is under way at a time, and each names the cursor that it
//! goes on from. So entries stand in the stream **once and in order**, whatever becomes of connections, servers and
//! processes: after any doubt the cursor is read, and a transaction that comes late is refused, because the cursor has
//! moved. No window of time, no clock and no search is involved.
//!
//! # Messages
//!
//! Where it does not (servers before 2.12, or a stream that may not be changed), each entry is a message for itself
//! with a `Nats-Msg-Id`, and what is promised is **at least once**:
//!
//! - **Doubles.** An entry that was stored, but whose acknowledgement got lost, is sent again with the same id. Within
//!   the stream's duplicate window (two minutes by default) the server stores it once; later it may stand in the stream
//!   twice, with the same `Audit-Id`. Each such doubt is counted and logged.
//! - **Order.** Entries are sent in order on one connection, many ahead of their acknowledgements, on a replicated stream
//!   one at a time. As long as none is refused, that is the order of the stream. Where the server refuses one in the
//!   middle (its limits were lowered, or it ran full and was emptied at that moment), those sent behind it may be
//!   stored all the same: one that is sent again then stands behind them, and one that is given up is not announced by
//!   them. A reader restores the order by `Audit-Id`.
//! - **Late messages.** What the system had already taken over of a connection that broke may still arrive, and is then
//!   a double as above.
//!
//! # Either way
//!
//! A connection is never used again after it broke, or after its outcome was in doubt: the next call makes a new one.
//! What the old one had not yet written is dropped with it.
//!
//! An acknowledgement says that the server has the message, not that it has synced it: what a power cut of the servers
//! takes is said by their `sync_interval`.

pub(in crate::sink) mod connection;
mod credentials;
mod cursor;
mod failure;
mod memory;
pub(in crate::sink) mod message;
mod permissions;
mod stream;
mod transaction;
mod window;

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;

use self::connection::Connection;
use self::cursor::Tip;
use self::failure::Link;
use self::memory::Memory;
use self::stream::{Found, Way};
use self::transaction::Transactions;
use super::{BoxFuture, Delivery, Sink};
use crate::config::{NatsConfig, NatsUrl};
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId};
use crate::host::{self, log};

/// How long `position` may take, connecting included.
const POSITION_MAX: Duration = Duration::from_secs(5);

/// Stores entries in a stream of NATS: each once and in order where the stream allows transactions, else at least
/// once.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the headers `Audit-Id` (run and
/// number), `Audit-Lost` where entries before it are missing, and `Audit-Run` on the first of a run, with `Audit-After`,
/// the cursor that the publisher had come to in the stream before, such as `<run id>.1200; first=1; lost=3`. It connects
/// at its first call, and makes, checks or upgrades the stream then, as [`stream_care`](NatsConfig::stream_care) says.
///
/// **Transactions** are used where the stream has `allow_atomic` and `allow_rollup_hdrs` and takes the subjects of
/// cursors (servers from 2.12 on; a stream made by this sink has all three). Each batch is stored as a whole, together
/// with a message on `<cursor_prefix>.<publisher id>` that says how far the publisher has come, such as
/// `{"run":"…","first":1,"last":1200,"lost":3}`: of the numbers `first` to `last` of the run, three are not in the
/// stream.
///
/// **Elsewhere** each message has a `Nats-Msg-Id`. One whose acknowledgement got lost is sent again: inside the stream's
/// duplicate window (two minutes by default) the server stores it once all the same, later it may stand there twice
/// with the same `Audit-Id`. Where the server refuses an entry in the middle, those behind it may be stored before it.
///
/// # Permissions
///
/// These suffice for the user, at the defaults of [`NatsConfig`]:
///
/// - publish on `assembly.audit.>` (`<subject_prefix>.>`), or on what is used of it;
/// - publish on `$JS.API.STREAM.INFO.AUDIT` (`….<stream>`);
/// - subscribe to `_INBOX.>` (`<inbox_prefix>.>`);
/// - for transactions, publish on `assembly.cursor.<publisher id>`, or on `assembly.cursor.>` (`<cursor_prefix>.>`), and on
///   `$JS.API.STREAM.MSG.GET.AUDIT`;
/// - publish on `$JS.API.STREAM.CREATE.AUDIT` if the stream is to be made, and on `$JS.API.STREAM.UPDATE.AUDIT` if it is
///   to be upgraded; neither with [`StreamCare::Verify`](crate::StreamCare::Verify).
///
/// `jetstream_domain` and `jetstream_api_prefix` stand in place of `$JS.API`, as `$JS.<domain>.API` or as they are. What
/// lacks makes the sink [misconfigured](SinkError::Misconfigured), and the error names it. Of a transaction with an entry
/// that is not permitted nothing is stored; once it is permitted, all of it is.
#[derive(Debug)]
pub struct JetStreamSink {
    config: NatsConfig,
    /// Servers that earlier ones have told of.
    discovered: Vec<NatsUrl>,
    /// Taken out for the time of a call: a call that is dropped half-way takes its connection along.
    connected: Option<Connected>,
    /// Where a publisher's cursor stands; none after a doubt.
    tip: Option<(PublisherId, Tip)>,
    memory: Memory,
    /// Since when messages without a transaction have been in doubt.
    doubtful_since: Option<Instant>,
    told: Told,
    /// What the last warning about the stream said: each is told once.
    warned: String,
}

/// A connection, and what it leads to.
#[derive(Debug)]
struct Connected {
    connection: Connection,
    found: Found,
}

/// The state that the log has last told.
#[derive(Debug, PartialEq)]
enum Told {
    Nothing,
    Up,
    Down(Discriminant<SinkError>),
}

impl JetStreamSink {
    /// A sink with these settings, and their context's. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used, or a context that cannot be read.
    pub fn new(config: NatsConfig) -> Result<Self, ConfigError> {
        let config = config.with_context()?;
        config.validate()?;
        Ok(Self {
            config,
            discovered: Vec::new(),
            connected: None,
            tip: None,
            memory: Memory::default(),
            doubtful_since: None,
            told: Told::Nothing,
            warned: String::new(),
        })
    }

    async fn connected(&mut self, until: Instant) -> Result<Connected, SinkError> {
        if let Some(connected) = self.connected.take()
            && connected.connection.is_usable()
        {
            return Ok(connected);
        }
        let mut connection = Connection::open(&self.config, &self.discovered, until).await?;
        let found = stream::make_sure(&mut connection, &self.config, until).await?;
        self.discovered = connection.discovered(self.config.discovered_servers);
        self.warn_once(&found);
        if !self.memory.meet(&found) {
            self.tip = None;
        }
        Ok(Connected { connection, found })
    }

    fn warn_once(&mut self, found: &Found) {
        let warning = found.weaknesses.join("; ");
        if self.warned != warning && !warning.is_empty() {
            host::call(|| counter!("aa_audit_stream_changes_total", "kind" => "weak").increment(1));
            log::warning!(stream = %self.config.stream, "the stream weakens what is promised: {warning}");
        }
        self.warned = warning;
    }

    /// Logs that the connection is there, or why not, when that has changed.
    fn tell(&mut self, server: &str, stopped: Option<&SinkError>) {
        let now = match stopped {
            None | Some(SinkError::Rejected(_)) => Told::Up,
            Some(why) => Told::Down(discriminant(why)),
        };
        if self.told == now {
            return;
        }
        match stopped.filter(|_| now != Told::Up) {
            None => {
                log::info!(server, stream = %self.config.stream, "NATS takes entries");
            }
            Some(why) => log::warning!("NATS takes no entries: {why}"),
        }
        self.told = now;
    }

    async fn look(&mut self, of: PublisherId) -> Result<Option<Position>, SinkError> {
        let until = Instant::now() + POSITION_MAX;
        let connected = self.connected(until).await;
        self.tell(&server_of(&connected), connected.as_ref().err());
        let mut connected = connected?;
        if connected.found.way != Way::Transactions {
            self.connected = Some(connected);
            return Ok(None);
        }
        self.tip = None;
        let tip = cursor::read(&mut connected.connection, &self.config, of, until).await?;
        self.memory.read(of, &tip);
        self.tip = Some((of, tip));
        self.connected = Some(connected);
        Ok(tip.cursor.map(|cursor| cursor.position()))
    }

    async fn store(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        let mut connected = self.connected(until).await;
        let server = server_of(&connected);
        let delivery = match &mut connected {
            Err(why) => Delivery::stopped(0, why.clone()),
            Ok(to) => {
                let (delivery, link) = match to.found.way {
                    Way::Transactions => self.transact(to, batch, until).await,
                    Way::Messages {
                        duplicate_window, ..
                    } => {
                        self.tell_doubles(duplicate_window);
                        let outcome = window::deliver(to, &self.config, batch, until).await;
                        self.note_doubt(outcome.1);
                        outcome
                    }
                };
                if link == Link::Sound {
                    self.connected = connected.ok();
                }
                delivery
            }
        };
        self.tell(&server, delivery.stopped.as_ref());
        delivery
    }

    async fn transact(
        &mut self,
        to: &mut Connected,
        batch: &Batch,
        until: Instant,
    ) -> (Delivery, Link) {
        let publisher = batch.publisher();
        // Taken out: a call that is dropped half-way leaves a doubt.
        let tip = self.tip.take().filter(|(of, _)| *of == publisher);
        let mut tip = tip.map(|(_, tip)| tip);
        let transactions = Transactions {
            connection: &mut to.connection,
            found: &to.found,
            config: &self.config,
            batch,
            until,
        };
        let outcome = transactions.store(&mut tip).await;
        if let Some(tip) = tip {
            self.memory.acknowledged(publisher, &tip);
            self.tip = Some((publisher, tip));
        }
        outcome
    }

    fn note_doubt(&mut self, link: Link) {
        self.doubtful_since = match link {
            Link::Sound => None,
            Link::Doubtful => self.doubtful_since.or_else(|| Some(Instant::now())),
        };
    }

    /// What was in doubt for longer than the stream recognises ids may be stored again.
    fn tell_doubles(&mut self, duplicate_window: Duration) {
        let late = |since: &Instant| since.elapsed() > duplicate_window;
        if self.doubtful_since.take_if(|since| late(since)).is_some() {
            host::call(|| counter!("aa_audit_late_resends_total").increment(1));
            log::warning!(
                "entries in doubt are sent again behind the stream's duplicate window: some may be stored twice, under the same ids"
            );
        }
    }
}

fn server_of(connected: &Result<Connected, SinkError>) -> String {
    connected
        .as_ref()
        .map_or_else(|_| String::new(), |it| it.connection.server().to_owned())
}

impl Sink for JetStreamSink {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(self.look(*of))
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(self.store(batch))
    }
}

#[cfg(test)]
mod tests;
