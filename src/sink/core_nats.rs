//! The sink for NATS without its `JetStream`.

use std::future::{pending, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::jetstream::connection::{Connection, NoAnswer};
use super::jetstream::message::Message;
use super::{BoxFuture, Delivery, Sink};
use crate::config::{NatsConfig, NatsUrl};
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId, Record};
use crate::host::log;

/// Publishes entries to a NATS server **at most once**, as Agent Assembly's own sink does, for servers without
/// `JetStream`. Where there is one, use [`JetStreamSink`](crate::JetStreamSink).
///
/// No server acknowledges such a message, so nobody knows what has become of it: an entry is lost if no one subscribes
/// to it at that moment, if the connection breaks before the server has read it, or if the server is killed. It counts as
/// delivered once the client has it. While there is no connection, or the server does not read, entries go into the spill
/// as with any sink. None is sent twice, unless the process ends, by a kill or at the limit of a shutdown, before it has
/// noted what it sent. They arrive in order; only what a server still reads of a connection that had been given up, because
/// it answered no ping (`ping_interval`), permitted something not, or was about to go, may come behind newer ones.
///
/// What a server does not permit it says afterwards, and of no message. So the first message of a connection is sent alone,
/// and it is waited whether it is denied; if so, nothing is lost. A denial of a later subject is found out with the next
/// batch, and told; what was sent there is lost.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the headers that `JetStreamSink` gives
/// it, so that a subscriber sees from their numbers what he has missed. Of the settings those on servers, credentials, TLS
/// and `subject_prefix` count.
#[derive(Debug)]
pub struct AtMostOnceNatsSink {
    config: NatsConfig,
    /// Servers that earlier ones have told of.
    discovered: Vec<NatsUrl>,
    link: Option<Link>,
    told: Told,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    /// How long it is waited whether the first message is permitted; none once one was.
    trial: Option<Duration>,
}

/// How long it is waited at least whether the server permits the first message of a connection, which it never says. The
/// greeting takes two round trips or three, a denial one: as long as the greeting took is long enough.
const DENIAL_MIN: Duration = Duration::from_millis(100);

/// Whether the log says what this sink cannot promise.
#[derive(Debug, PartialEq)]
enum Told {
    NotYet,
    Already,
}

impl AtMostOnceNatsSink {
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
            link: None,
            told: Told::NotYet,
        })
    }

    /// Takes the connection out: a call that is dropped half-way takes it along.
    async fn connected(&mut self, until: Instant) -> Result<Link, SinkError> {
        if let Some(link) = self.link.take() {
            if let Some(why) = link.connection.denied() {
                return Err(SinkError::Misconfigured(why));
            }
            if link.connection.is_usable() {
                return Ok(link);
            }
        }
        let connection = Connection::open(&self.config, &self.discovered, until).await?;
        self.discovered = connection.discovered(self.config.discovered_servers);
        if self.told == Told::NotYet {
            log::warning!(
                server = connection.server(),
                "NATS takes entries without JetStream: each is sent at most once, no one acknowledges it, and what \
                 nobody subscribes to is lost"
            );
            self.told = Told::Already;
        }
        Ok(Link {
            trial: Some(connection.greeted_in().max(DENIAL_MIN)),
            connection,
        })
    }

    /// What was handed over counts as stored, also when the connection breaks behind it: nothing is sent twice.
    async fn send(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        let mut link = match self.connected(until).await {
            Ok(link) => link,
            Err(why) => return Delivery::stopped(0, why),
        };
        for (sent, record) in batch.records().iter().enumerate() {
            if let Err(why) = self.publish(&link.connection, record, until).await {
                // If it is still up, what it holds goes out when the server reads again: another one would overtake it.
                self.link = Some(link);
                return Delivery::stopped(sent, why);
            }
            if let Some(limit) = link.trial {
                let end = Instant::now() + limit;
                if let Err(why) = permitted(&mut link.connection, end.min(until)).await {
                    return Delivery::stopped(sent, why);
                }
                if end <= until {
                    link.trial = None;
                }
            }
        }
        let written = timeout_at(until, link.connection.client().flush()).await;
        if !matches!(written, Ok(Ok(()))) {
            log::warning!(
                "the NATS server reads nothing, or is gone: what it was sent last may be lost"
            );
        }
        self.link = Some(link);
        Delivery::all(batch)
    }

    async fn publish(
        &self,
        connection: &Connection,
        record: &Record,
        until: Instant,
    ) -> Result<(), SinkError> {
        let message = Message::new(&self.config, record);
        message
            .check_alone(connection.payload_max(), 0)
            .map_err(SinkError::Rejected)?;
        let Message {
            subject,
            headers,
            payload,
        } = message;
        let publish = connection
            .client()
            .publish_with_headers(subject, headers, payload);
        let broken = |why: &str| {
            SinkError::Disconnected(format!("the connection to the NATS server broke: {why}"))
        };
        if !connection.is_up() {
            return Err(broken("it was ended"));
        }
        match timeout_at(until, publish).await {
            // Whether or not it has gone out: if it were sent again, it might be there twice.
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(broken(&error.to_string())),
            Err(_elapsed) => Err(SinkError::Unavailable(
                "the NATS server reads nothing".to_owned(),
            )),
        }
    }
}

/// Waits whether the server denies what was sent.
async fn permitted(connection: &mut Connection, until: Instant) -> Result<(), SinkError> {
    // Where it cannot be written, the connection breaks, and that shows with the next message.
    drop(timeout_at(until, connection.client().flush()).await);
    match connection.answer(until, pending::<()>()).await {
        Err(NoAnswer::Denied(why)) => Err(SinkError::Misconfigured(why)),
        Ok(()) | Err(NoAnswer::Late | NoAnswer::Ended) => Ok(()),
    }
}

impl Sink for AtMostOnceNatsSink {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(ready(Ok(None)))
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(self.send(batch))
    }
}
