//! The sink for NATS with its `JetStream`: publishes with acknowledgements.
//!
//! What is promised is **at least once**: an entry counts as stored only after the stream has acknowledged it, and all
//! that were not acknowledged are delivered again.
//!
//! - **Doubles.** An entry that was stored, but whose acknowledgement got lost, is sent again with the same
//!   `Nats-Msg-Id`. Within the stream's duplicate window (two minutes by default) the server stores it once; later it
//!   stands in the stream twice, with the same `Audit-Id`.
//! - **Order.** Entries are sent in order on one connection, up to [`window::IN_FLIGHT_MAX`] ahead of their
//!   acknowledgements. As long as none fails, that is the order of the stream. Where the server refuses one in the
//!   middle (a leader steps down), those sent behind it may be stored all the same, and the one that is sent again
//!   then stands behind them. A reader restores the order by `Audit-Id`.
//! - **Late messages.** A connection is never used again after it broke, or after its outcome was in doubt: the next
//!   call makes a new one. What the old one had not yet written is dropped with it. What the system had already taken
//!   over may still arrive, and is then a double as above.
//!
//! An acknowledgement says that the server has the message, not that it has synced it: what a power cut of the servers
//! takes is said by their `sync_interval`.

mod connection;
mod credentials;
mod failure;
mod message;
mod stream;
mod window;

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;

use self::connection::Connection;
use self::failure::Link;
use super::{BoxFuture, Delivery, Sink};
use crate::config::{NatsConfig, NatsUrl};
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId};

/// How long `position` may take, connecting included.
const POSITION_MAX: Duration = Duration::from_secs(5);

/// Stores entries in a stream of NATS, at least once.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the headers `Audit-Id` and
/// `Nats-Msg-Id` (run and number), `Audit-Lost` where entries before it are missing, and `Audit-Run` on the first of
/// a run. It connects at its first call, and makes or checks the stream then, as
/// [`stream_care`](NatsConfig::stream_care) says.
///
/// An entry whose acknowledgement got lost is sent again: inside the stream's duplicate window (two minutes by default)
/// the server stores it once all the same, later it stands there twice with the same `Audit-Id`. Entries are sent in
/// order, ahead of their acknowledgements; where the server refuses one in the middle, such as at a change of leader,
/// those behind it may be stored before it.
#[derive(Debug)]
pub struct JetStreamSink {
    config: NatsConfig,
    /// Servers that earlier ones have told of.
    discovered: Vec<NatsUrl>,
    /// Taken out for the time of a call: a call that is dropped half-way takes its connection along.
    connection: Option<Connection>,
    told: Told,
    /// What the last warning about the stream said: each is told once.
    warned: String,
}

/// The state that the log has last told.
#[derive(Debug, PartialEq)]
enum Told {
    Nothing,
    Up,
    Down(Discriminant<SinkError>),
}

impl JetStreamSink {
    /// A sink with these settings. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used.
    pub fn new(config: NatsConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            discovered: Vec::new(),
            connection: None,
            told: Told::Nothing,
            warned: String::new(),
        })
    }

    async fn connected(&mut self, until: Instant) -> Result<Connection, SinkError> {
        if let Some(connection) = self.connection.take().filter(Connection::is_usable) {
            return Ok(connection);
        }
        let mut connection = Connection::open(&self.config, &self.discovered, until).await?;
        let found = stream::make_sure(&mut connection, &self.config, until).await?;
        connection.set_message_max(found.message_max);
        self.discovered = connection.discovered(self.config.discovered_servers);
        self.warn_once(&found.weaknesses);
        Ok(connection)
    }

    fn warn_once(&mut self, weaknesses: &[&str]) {
        let warning = weaknesses.join("; ");
        if self.warned != warning && !warning.is_empty() {
            tracing::warn!(target: "spillring", stream = %self.config.stream, "the stream may lose entries: {warning}");
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
                tracing::info!(target: "spillring", server, stream = %self.config.stream, "NATS takes entries");
            }
            Some(why) => tracing::warn!(target: "spillring", "NATS takes no entries: {why}"),
        }
        self.told = now;
    }

    async fn look(&mut self) -> Result<Option<Position>, SinkError> {
        let connected = self.connected(Instant::now() + POSITION_MAX).await;
        self.tell(&server_of(&connected), connected.as_ref().err());
        self.connection = Some(connected?);
        Ok(None)
    }

    async fn store(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        if batch.records().is_empty() {
            return Delivery::all(batch);
        }
        let mut connected = self.connected(until).await;
        let server = server_of(&connected);
        let delivery = match &mut connected {
            Err(why) => Delivery::stopped(0, why.clone()),
            Ok(connection) => {
                let (delivery, link) =
                    window::deliver(connection, &self.config, batch, until).await;
                if link == Link::Sound {
                    self.connection = connected.ok();
                }
                delivery
            }
        };
        self.tell(&server, delivery.stopped.as_ref());
        delivery
    }
}

fn server_of(connected: &Result<Connection, SinkError>) -> String {
    connected
        .as_ref()
        .map_or_else(|_| String::new(), |it| it.server().to_owned())
}

impl Sink for JetStreamSink {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(self.look())
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(self.store(batch))
    }
}

#[cfg(test)]
mod tests;
