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

mod batches;
pub(in crate::sink) mod connection;
mod credentials;
mod cursor;
mod detour;
mod failure;
mod fast;
mod last_known;
pub(in crate::sink) mod message;
mod permissions;
mod port;
mod rates;
mod recheck;
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
/// 2.12.1 on), or `allow_batched` and `allow_direct` (from 2.14.4 on); a stream made by this sink has all of it. Each
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
/// `jetstream_domain` and `jetstream_api_prefix` replace `$JS.API`, by `$JS.<domain>.API` or as they are. A missing
/// permission makes the sink [misconfigured](SinkError::Misconfigured), and the error names it; no entry is dropped
/// for it.
#[derive(Debug)]
pub struct JetStreamSink {
    config: NatsConfig,
    /// Servers that earlier ones have announced.
    discovered: Vec<NatsUrl>,
    /// Taken out during a call: a call that is dropped half-way drops its connection as well.
    connected: Option<Connected>,
    batches: Batches,
    suspect: Option<Suspect>,
    /// Whether the user may read entries, which recovery of fast batches needs.
    reading: Reading,
    reports: Reports,
}

/// A connection, and what is known of its stream.
#[derive(Debug)]
struct Connected {
    wire: Wire,
    found: Found,
    /// Whether the stream may have changed since it was inspected.
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    Fresh,
    Used,
    /// Something failed, perhaps because of settings.
    Doubtful,
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

    /// Inspects the stream, with this user's permissions.
    async fn find(&mut self, wire: &mut Wire, until: Instant) -> Result<Found, SinkError> {
        let found = stream::make_sure(wire, &self.config, &mut self.reading, until).await?;
        if !wire.connection.is_usable() {
            // The server has denied something that may not be needed.
            *wire = Wire::open(&self.config, &self.discovered, until).await?;
        }
        Ok(found)
    }

    async fn read_cursor(&mut self, of: PublisherId) -> Result<Option<Position>, SinkError> {
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
            .read_cursor(wire, found, &self.config, of, until)
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
            // Only now the culprit is certain.
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
                        let changed = self.recheck(to, refused, why, until).await;
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

/// Adds the server's last error, if the connection broke.
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
