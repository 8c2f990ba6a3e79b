//! The sink for NATS with `JetStream`.
//!
//! # Batches with a cursor
//!
//! Where the stream allows it, each batch holds its entries and the publisher's [`cursor`]. One batch is under way at
//! a time, and each names the cursor that it continues from. So entries are in the stream **once and in order**,
//! whatever happens to connections, servers and processes: after any doubt the cursor is read, and a batch that
//! arrives late is refused, because the stream has a newer cursor.
//!
//! An atomic batch is a [`transaction`]: all of it is stored, or nothing. A [`fast`] batch is stored message by
//! message; if it was left half-way, [`recovery`] finds out what is stored. Which one is faster depends on the
//! servers: see [`rates`].
//!
//! # Messages
//!
//! Elsewhere (servers before 2.12, or a stream that may not be changed), each entry is a separate message with a
//! `Nats-Msg-Id`, and delivery is **at least once**:
//!
//! - **Duplicates.** An entry whose acknowledgement was lost is sent again with the same id. Within the stream's
//!   duplicate window (two minutes by default) the server stores it once; later it may be there twice, with the same
//!   `Audit-Id`. Each such doubt of this process is counted and logged. Bytes of a broken connection that the system
//!   still sends may also arrive twice.
//! - **Order.** Entries are sent in order. On a replicated stream one message at a time is under way, with one replica
//!   many are. If the server refuses one of many, later ones may be stored all the same: an entry that is sent again
//!   then comes after them, and an entry that is dropped is not announced by them. A reader restores the order by
//!   `Audit-Id`.
//! - **Kills.** Nothing refuses a message that arrives late. What was under way when the publisher was killed is sent
//!   again first, and keeps its place, if it was in the spill. If it was in memory only, it may arrive after the next
//!   run has begun.
//!
//! # In both cases
//!
//! A connection is never used again after it broke, or while something may still be under way on it. Whatever it had
//! not yet written is dropped with it.
//!
//! An acknowledgement means that the server has the message, not that it has synced it: see its `sync_interval`.

mod access;
mod batches;
pub(in crate::sink) mod connection;
mod credentials;
mod cursor;
mod detour;
pub(in crate::sink) mod failure;
mod fast;
mod inspect;
mod last_known;
pub(in crate::sink) mod message;
mod permissions;
mod port;
mod rates;
mod read;
mod recovery;
mod reports;
mod sending;
mod settings;
mod size;
mod stream;
mod subjects;
mod suspect;
mod transaction;
mod window;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::access::{Access, Connected, Freshness};
use self::batches::Batches;
use self::connection::Connection;
use self::failure::Link;
use self::reports::Reports;
use self::suspect::Suspect;
use super::{BoxFuture, Delivery, Sink};
use crate::config::NatsConfig;
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId};
use crate::seal::Signer;

/// The time limit of `position`, connecting included.
const POSITION_MAX: Duration = Duration::from_secs(5);
/// The time limit for storing a new signature.
const RENEWAL_MAX: Duration = Duration::from_secs(5);

/// Stores entries in a stream of NATS: each once and in order where the stream allows transactions, else at least
/// once.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the headers `Audit-Id` (run and
/// number), `Audit-Lost` if entries before it are missing, and, on the first of a run, `Audit-Run` and `Audit-After`:
/// the cursor that the publisher had reached in the stream before, such as `<run id>.1200; first=1; lost=3`. The sink
/// connects at its first call, and then creates, checks or upgrades the stream, as
/// [`stream_care`](NatsConfig::stream_care) says.
///
/// **Batches with a cursor** need a stream that takes the subjects of cursors and has `allow_atomic` (servers from
/// 2.12.1 on), or `allow_batched` and `allow_direct` (from 2.14.4 on); a stream made by this sink has all these. Each
/// batch includes a message on `<cursor_prefix>.<publisher id>` that says how far the publisher has come, such as
/// `{"run":"…","first":1,"last":1200,"lost":3,"batch":"…"}`: of the numbers `first` to `last` of the run, three are
/// not in the stream. Its `seal` is the [`Seal`](crate::seal::Seal) of the entries up to there. A cursor with a
/// `state` comes before the entries of its batch, or after a batch that was left half-way. Cursors stay in the stream;
/// the newest counts.
///
/// **Elsewhere** each message has a `Nats-Msg-Id`, by which the server recognises repetitions within the stream's
/// duplicate window (two minutes by default).
///
/// The [front page](crate) has an example; that of [`NatsConfig`] shows more settings.
///
/// # Permissions
///
/// The user needs these permissions, at the defaults of [`NatsConfig`]:
///
/// - publish on `assembly.audit.>` (`<subject_prefix>.>`), or on the part of it in use;
/// - publish on `$JS.API.STREAM.INFO.AUDIT` (`….<stream>`);
/// - subscribe to `_INBOX.>` (`<inbox_prefix>.>`);
/// - for batches, publish on `assembly.cursor.<publisher id>`, or on `assembly.cursor.>` (`<cursor_prefix>.>`), and on
///   `$JS.API.DIRECT.GET.AUDIT.assembly.cursor.>`; fast batches also need `$JS.API.DIRECT.GET.AUDIT`; a stream without
///   `allow_direct` needs `$JS.API.STREAM.MSG.GET.AUDIT`. Each of the last two lets its user read all entries;
/// - publish on `$JS.API.STREAM.CREATE.AUDIT` to create the stream, and on `$JS.API.STREAM.UPDATE.AUDIT` to upgrade
///   it; neither with [`StreamCare::Verify`](crate::nats::StreamCare::Verify).
///
/// `$JS.API` becomes `$JS.<domain>.API` with `jetstream_domain`, and the value of `jetstream_api_prefix` with that. A
/// missing permission makes the sink [misconfigured](SinkError::Misconfigured), and the error names it; no entry is
/// dropped because of it.
#[derive(Debug)]
pub struct JetStreamSink {
    access: Access,
    /// Taken out during a call: a call that is dropped half-way drops its connection as well.
    connected: Option<Connected>,
    batches: Batches,
    suspect: Option<Suspect>,
    reports: Reports,
}

impl JetStreamSink {
    /// A sink with these settings, and those of their context. It does not connect yet.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used, or a context that cannot be read.
    pub fn new(config: NatsConfig) -> Result<Self, ConfigError> {
        let config = config.with_context()?;
        config.validate()?;
        Ok(Self {
            access: Access::new(config),
            connected: None,
            batches: Batches::new(),
            suspect: None,
            reports: Reports::default(),
        })
    }

    async fn connected(&mut self, until: Instant) -> Result<Connected, SinkError> {
        let before = self.connected.take();
        let before = before.filter(|to| to.wire.connection.is_usable());
        let connected = match before {
            Some(mut connected) if connected.freshness != Freshness::Doubtful => {
                connected.freshness = Freshness::Used;
                connected
            }
            before => {
                let wire = before.map(|connected| connected.wire);
                let connected = self.access.open(wire, until).await?;
                let stream = &self.access.config.stream;
                self.reports.weaknesses(stream, &connected.found);
                self.batches.meet(&connected.found);
                connected
            }
        };
        let server = connected.wire.connection.server();
        self.reports.reached(&self.access.config.stream, server);
        Ok(connected)
    }

    async fn read_cursor(&mut self, of: PublisherId) -> Result<Option<Position>, SinkError> {
        let until = Instant::now() + POSITION_MAX;
        let mut connected = self.connected(until).await?;
        let Connected { wire, found, .. } = &mut connected;
        let position = if self.batches.go(found) || self.batches.in_doubt() {
            self.batches.read_cursor(wire, found, of, until).await?
        } else {
            None
        };
        self.connected = Some(connected);
        Ok(position)
    }

    async fn store(&mut self, batch: &Batch) -> Delivery {
        let suspect = self.suspect.take();
        let first = suspect.as_ref().and_then(|it| it.first_of(batch));
        let (Some(suspect), Some(first)) = (suspect, first) else {
            return self.store_all(batch).await;
        };
        let delivery = self.store_all(&first).await;
        if suspect.is_alone_in(&first) {
            // Only now is the culprit certain.
            let again = self.suspect.take_if(|again| again.id == suspect.id);
            if again.is_some() {
                return Delivery::stopped(0, SinkError::Rejected(suspect.why));
            }
        } else {
            self.suspect = self.suspect.take().or(Some(suspect));
        }
        if delivery.stopped.is_none() && delivery.stored < batch.records().len() {
            let why = "a refused entry is sent alone".to_owned();
            return Delivery::stopped(delivery.stored, SinkError::Unavailable(why));
        }
        delivery
    }

    async fn store_all(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        let mut to = match self.connected(until).await {
            Ok(connected) => connected,
            Err(why) => return Delivery::stopped(0, why),
        };
        let (mut delivery, link) = self.store_in(&mut to, batch, until).await;
        if let Some(stopped) = &mut delivery.stopped {
            explain(stopped, &mut to.wire.connection).await;
            let suspect = Suspect::of_end(batch, delivery.stored, stopped);
            self.suspect = suspect.or(self.suspect.take());
        }
        match &delivery.stopped {
            None => {}
            Some(SinkError::Rejected(_)) if to.freshness == Freshness::Fresh => {}
            Some(SinkError::Rejected(why)) => {
                let refused = batch.records().get(delivery.stored);
                let changed = self.access.recheck(&mut to, refused, why, until).await;
                delivery.stopped = changed.err().or(delivery.stopped);
            }
            Some(_) => to.freshness = Freshness::Doubtful,
        }
        if link == Link::Sound {
            self.connected = Some(to);
        }
        delivery
    }

    async fn store_in(
        &mut self,
        to: &mut Connected,
        batch: &Batch,
        until: Instant,
    ) -> (Delivery, Link) {
        let Connected { wire, found, .. } = to;
        if self.batches.go(found) {
            let suspect = &mut self.suspect;
            let stored = self.batches.store(wire, found, suspect, batch, until);
            return stored.await;
        }
        let window = Duration::from_nanos(found.settings.duplicate_window);
        self.reports.late(window);
        let outcome = window::deliver(wire, found, batch, until).await;
        self.reports.doubt(outcome.1);
        if let Some(last) = batch.records()[..outcome.0.stored].last() {
            self.batches.stored_alone(last.id());
        }
        outcome
    }
}

/// Adds the server's last error, if the connection broke.
async fn explain(error: &mut SinkError, connection: &mut Connection) {
    if let SinkError::Unknown(why) | SinkError::Unavailable(why) = error
        && !connection.is_usable()
        && let Some(said) = connection.last_words().await
    {
        *why = format!("{why}; the server said: {said}");
    }
}

impl Sink for JetStreamSink {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(self.read_cursor(*of))
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(self.store(batch))
    }

    /// Sends an empty batch that continues from the newest cursor.
    fn renew<'a>(
        &'a mut self,
        of: &'a PublisherId,
        signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let Some(through) = self.batches.known(*of) else {
                return Ok(());
            };
            let nothing = Batch {
                publisher: *of,
                records: Vec::new(),
                through,
                limit: RENEWAL_MAX,
                signer: Some(Arc::clone(signer)),
            };
            let delivery = self.store(&nothing).await;
            delivery.stopped.map_or(Ok(()), Err)
        })
    }
}

#[cfg(test)]
mod tests;
