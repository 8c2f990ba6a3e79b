//! The sink for NATS with its `JetStream`.
//!
//! # Batches with a cursor
//!
//! Where the stream allows it, each batch holds its entries and the publisher's [`cursor`]. One is under way at a time, and
//! each names the cursor that it goes on from. So entries are in the stream **once and in order**, whatever becomes of
//! connections, servers and processes: after any doubt the cursor is read, and a batch that comes late is refused, because a
//! newer cursor is there.
//!
//! An atomic batch is a [`transaction`]: all of it is stored, or nothing. A [`fast`] one is stored message by message, and what
//! is stored of one that did not come to its end is found by [`recovery`]. Which is faster depends on the servers: [`rates`].
//!
//! # Messages
//!
//! Elsewhere (servers before 2.12, or a stream that may not be changed), each entry is a message for itself
//! with a `Nats-Msg-Id`, and what is promised is **at least once**:
//!
//! - **Doubles.** An entry whose acknowledgement got lost is sent again with the same id. Within the stream's duplicate window
//!   (two minutes by default) the server stores it once; later it may be there twice, with the same `Audit-Id`. Each such
//!   doubt of this process is counted and logged. Bytes of a broken connection that the system still sends may also arrive twice.
//! - **Order.** Entries are sent in order. On a replicated stream one at a time is under way; on one replica many are, and
//!   where the server refuses one of them, those after it may be stored all the same: one that is sent again then comes
//!   after them, and one that is given up is not announced by them. A reader restores the order by `Audit-Id`.
//! - **Kills.** Nothing refuses a message that arrives late. What was under way when the publisher was killed is sent again
//!   first, and keeps its place, if it was in the spill. If it was in memory only, it may arrive after the next run has begun.
//!
//! # Either way
//!
//! A connection is never used again after it broke, or while something may still be under way on it.
//! What the old one had not yet written is dropped with it.
//!
//! An acknowledgement says that the server has the message, not that it has synced it: see its `sync_interval`.

mod batches;
pub(in crate::sink) mod connection;
mod credentials;
mod cursor;
mod detour;
mod failure;
mod fast;
mod look_again;
mod memory;
pub(in crate::sink) mod message;
mod permissions;
mod port;
mod rates;
mod recovery;
mod reports;
mod size;
mod stream;
mod suspect;
mod transaction;
mod window;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::batches::Batches;
use self::failure::Link;
use self::reports::Reports;
use self::stream::{Found, Reading};
use self::suspect::Suspect;
use self::wire::Wire;
use super::{BoxFuture, Delivery, Sink};
use crate::config::{NatsConfig, NatsUrl};
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId};
use crate::seal::Signer;

/// How long `position` may take, connecting included.
const POSITION_MAX: Duration = Duration::from_secs(5);
/// How long a new signature may take to be stored.
const RENEWAL_MAX: Duration = Duration::from_secs(5);

/// Stores entries in a stream of NATS: each once and in order where the stream allows transactions, else at least
/// once.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the headers `Audit-Id` (run and
/// number), `Audit-Lost` where entries before it are missing, and `Audit-Run` on the first of a run, with `Audit-After`,
/// the cursor that the publisher had come to in the stream before, such as `<run id>.1200; first=1; lost=3`. It connects
/// at its first call, and makes, checks or upgrades the stream then, as [`stream_care`](NatsConfig::stream_care) says.
///
/// **Batches with a cursor** go where the stream has `allow_atomic` (servers from 2.12.1 on) or `allow_batched` and `allow_direct`
/// (from 2.14.4 on)
/// and takes the subjects of cursors; a stream made by this sink does. With each goes a message on
/// `<cursor_prefix>.<publisher id>` that says how far the publisher has come, such as
/// `{"run":"…","first":1,"last":1200,"lost":3,"batch":"…"}`: of the numbers `first` to `last` of the run, three are not in the
/// stream. Its `seal` is the [`Seal`](crate::seal::Seal) of the entries up to there. One with a `state` comes before the entries of its batch, or after a batch that did not come to its end. Cursors stay
/// in the stream; the newest counts.
///
/// **Elsewhere** each message has a `Nats-Msg-Id`, by which the server knows one that is sent again, within the stream's
/// duplicate window (two minutes by default).
///
/// # Permissions
///
/// These suffice for the user, at the defaults of [`NatsConfig`]:
///
/// - publish on `assembly.audit.>` (`<subject_prefix>.>`), or on what is used of it;
/// - publish on `$JS.API.STREAM.INFO.AUDIT` (`….<stream>`);
/// - subscribe to `_INBOX.>` (`<inbox_prefix>.>`);
/// - for batches, publish on `assembly.cursor.<publisher id>`, or on `assembly.cursor.>` (`<cursor_prefix>.>`), and on
///   `$JS.API.DIRECT.GET.AUDIT.assembly.cursor.>`; for fast ones also on `$JS.API.DIRECT.GET.AUDIT`, without which there are none;
///   on `$JS.API.STREAM.MSG.GET.AUDIT` where the stream lacks `allow_direct`: who has one of these can read all entries;
/// - publish on `$JS.API.STREAM.CREATE.AUDIT` if the stream is to be made, and on `$JS.API.STREAM.UPDATE.AUDIT` if it is
///   to be upgraded; neither with [`StreamCare::Verify`](crate::nats::StreamCare::Verify).
///
/// `jetstream_domain` and `jetstream_api_prefix` take the place of `$JS.API`, as `$JS.<domain>.API` or as they are. What
/// lacks makes the sink [misconfigured](SinkError::Misconfigured), and the error names it; no entry is dropped for it.
#[derive(Debug)]
pub struct JetStreamSink {
    config: NatsConfig,
    /// Servers that earlier ones have named.
    discovered: Vec<NatsUrl>,
    /// Taken out for the time of a call: a call that is dropped half-way takes its connection along.
    connected: Option<Connected>,
    batches: Batches,
    suspect: Option<Suspect>,
    /// Whether entries may be read, as recovery of fast batches must.
    reading: Reading,
    reports: Reports,
}

/// A connection, and what it leads to.
#[derive(Debug)]
struct Connected {
    wire: Wire,
    found: Found,
    /// Whether the stream may have been changed since it was looked at.
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    Fresh,
    Used,
    /// Something failed that may be the settings' doing.
    Doubtful,
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
            batches: Batches::new(),
            suspect: None,
            reading: Reading::default(),
            reports: Reports::default(),
        })
    }

    async fn connected(&mut self, until: Instant) -> Result<Connected, SinkError> {
        let mut wire = match self.connected.take() {
            Some(mut connected) if connected.wire.connection.is_usable() => {
                if connected.settings != Settings::Doubtful {
                    connected.settings = Settings::Used;
                    return Ok(connected);
                }
                connected.wire
            }
            _ => Wire::open(&self.config, &self.discovered, until).await?,
        };
        self.discovered = wire.connection.discovered(self.config.discovered_servers);
        let found = self.find(&mut wire, until).await?;
        self.reports.weaknesses(&self.config.stream, &found);
        self.batches.meet(&found);
        Ok(Connected {
            wire,
            found,
            settings: Settings::Fresh,
        })
    }

    /// What the stream is like, for this user.
    async fn find(&mut self, wire: &mut Wire, until: Instant) -> Result<Found, SinkError> {
        let found = stream::make_sure(wire, &self.config, &mut self.reading, until).await?;
        if !wire.connection.is_usable() {
            // The server has denied something that may lack.
            *wire = Wire::open(&self.config, &self.discovered, until).await?;
        }
        Ok(found)
    }

    async fn look(&mut self, of: PublisherId) -> Result<Option<Position>, SinkError> {
        let until = Instant::now() + POSITION_MAX;
        let mut connected = self.connected(until).await?;
        self.reports
            .reached(&self.config.stream, connected.wire.connection.server());
        if !self.batches.go(&connected.found) && !self.batches.in_doubt() {
            self.connected = Some(connected);
            return Ok(None);
        }
        let Connected { wire, found, .. } = &mut connected;
        let position = self
            .batches
            .look(wire, found, &self.config, of, until)
            .await;
        if position.is_ok() {
            self.connected = Some(connected);
        }
        position
    }

    async fn store(&mut self, batch: &Batch) -> Delivery {
        let Some(suspect) = self.suspect.take() else {
            return self.store_all(batch).await;
        };
        let Some(first) = suspect.first_of(batch) else {
            return self.store_all(batch).await;
        };
        let delivery = self.store_all(&first).await;
        if suspect.is_alone_in(&first) {
            // Only now it is certain what is to blame.
            let again = self.suspect.take_if(|again| again.id == suspect.id);
            if again.is_some() {
                return Delivery::stopped(0, SinkError::Rejected(suspect.why));
            }
        } else {
            self.suspect = self.suspect.take().or(Some(suspect));
        }
        if delivery.stopped.is_none() && delivery.stored < batch.records().len() {
            let why = "an entry that was refused goes by itself".to_owned();
            return Delivery::stopped(delivery.stored, SinkError::Unavailable(why));
        }
        delivery
    }

    async fn store_all(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        let mut connected = self.connected(until).await;
        match &mut connected {
            Err(why) => Delivery::stopped(0, why.clone()),
            Ok(to) => {
                self.reports
                    .reached(&self.config.stream, to.wire.connection.server());
                let (mut delivery, link) = self.store_in(to, batch, until).await;
                if let Some(stopped) = &mut delivery.stopped {
                    explain(stopped, &mut to.wire).await;
                    let suspect = Suspect::of_end(batch, delivery.stored, stopped);
                    self.suspect = suspect.or(self.suspect.take());
                }
                match &delivery.stopped {
                    None => {}
                    Some(SinkError::Rejected(_)) if to.settings == Settings::Fresh => {}
                    Some(SinkError::Rejected(why)) => {
                        let refused = batch.records().get(delivery.stored);
                        let changed = self.look_again(to, refused, why, until).await;
                        delivery.stopped = changed.or(delivery.stopped);
                    }
                    Some(_) => to.settings = Settings::Doubtful,
                }
                if link == Link::Sound {
                    self.connected = connected.ok();
                }
                delivery
            }
        }
    }

    async fn store_in(
        &mut self,
        to: &mut Connected,
        batch: &Batch,
        until: Instant,
    ) -> (Delivery, Link) {
        if self.batches.go(&to.found) {
            let Connected { wire, found, .. } = to;
            let (batches, suspect) = (&mut self.batches, &mut self.suspect);
            let stored = batches.store(wire, found, &self.config, suspect, batch, until);
            return stored.await;
        }
        self.reports.late(to.found.duplicate_window);
        let outcome = window::deliver(to, &self.config, batch, until).await;
        self.reports.doubt(outcome.1);
        outcome
    }
}

/// Adds what the server has said, if the connection broke.
async fn explain(error: &mut SinkError, wire: &mut Wire) {
    if let SinkError::Unknown(why) | SinkError::Unavailable(why) = error
        && !wire.connection.is_usable()
        && let Some(said) = wire.connection.last_words().await
    {
        *why = format!("{why}; the server said: {said}");
    }
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

    /// As a batch of nothing that goes on from the newest cursor.
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
