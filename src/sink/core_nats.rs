//! The sink for NATS without `JetStream`.

use std::future::{pending, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::jetstream::connection::Connection;
use super::jetstream::failure::NoAnswer;
use super::jetstream::message::Message;
use super::{BoxFuture, Delivery, Sink};
use crate::config::{NatsConfig, NatsUrl};
use crate::error::{ConfigError, SinkError};
use crate::event::{Batch, Position, PublisherId, Record};
use crate::host::log;

/// Publishes entries to a NATS server **at most once**, as Agent Assembly's own sink does, for servers without
/// `JetStream`. With `JetStream`, use [`JetStreamSink`](crate::JetStreamSink).
///
/// No server acknowledges such a message. An entry is lost if no one subscribes to it at that moment, if the
/// connection breaks before the server has read it, or if the server is killed. It counts as delivered once the client
/// has it. While there is no connection, or the server does not read, entries go to the spill as with any sink.
///
/// No entry is sent twice, unless the process ends (by a kill, or at the limit of a shutdown) before it has noted what
/// it sent. Entries arrive in order, with one exception: a connection is given up if it answers no ping
/// (`ping_interval`), lacks a permission, or is about to close. What the server still reads from it may arrive after
/// newer entries.
///
/// A server reports missing permissions late, and without naming the message. So the first message of a connection is
/// sent alone, and the sink waits for a denial; if one comes, nothing is lost. A denial of a later subject is noticed
/// with the next batch and logged; what was sent on that subject is lost.
///
/// Each entry becomes a message on `<subject_prefix>.<subject of the entry>` with the same headers as from
/// `JetStreamSink`, so a subscriber sees from the numbers what it missed. Only the settings for servers, credentials,
/// TLS and `subject_prefix` apply.
///
/// ```no_run
/// use spillring::nats::AtMostOnceNatsSink;
/// use spillring::{Config, NatsConfig, RawEntry};
///
/// let sink = AtMostOnceNatsSink::new(NatsConfig::from_env()?)?;
/// let drainer = spillring::start::<RawEntry>(Config::new("spill"), sink)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtMostOnceNatsSink {
    config: NatsConfig,
    /// Servers that earlier ones have announced.
    discovered: Vec<NatsUrl>,
    link: Option<Link>,
    warning: Warning,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    /// How long to wait for a denial of the first message; `None` once one was permitted.
    trial: Option<Duration>,
}

/// The shortest wait for a denial of the first message of a connection. A permission is never confirmed. The greeting
/// takes two or three round trips and a denial one, so a wait as long as the greeting is enough.
const DENIAL_MIN: Duration = Duration::from_millis(100);

/// Whether the log warns that delivery is at most once.
#[derive(Debug, PartialEq)]
enum Warning {
    Due,
    Given,
}

impl AtMostOnceNatsSink {
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
            link: None,
            warning: Warning::Due,
        })
    }

    /// Takes the connection out of `self`: a call that is dropped half-way drops it as well.
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
        if self.warning == Warning::Due {
            log::warning!(
                server = connection.server(),
                "NATS takes entries without JetStream: each is sent at most once, no one acknowledges it, and what \
                 nobody subscribes to is lost"
            );
            self.warning = Warning::Given;
        }
        Ok(Link {
            trial: Some(connection.greeted_in().max(DENIAL_MIN)),
            connection,
        })
    }

    /// Whatever the client took counts as stored, even if the connection breaks afterwards: nothing is sent twice.
    async fn send(&mut self, batch: &Batch) -> Delivery {
        let until = Instant::now() + batch.limit();
        let mut link = match self.connected(until).await {
            Ok(link) => link,
            Err(why) => return Delivery::stopped(0, why),
        };
        for (sent, record) in batch.records().iter().enumerate() {
            if let Err(why) = self.publish(&link.connection, record, until).await {
                // If it is still up, its queue goes out when the server reads again: a new connection would overtake
                // it.
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
            .check(connection.payload_max(), 0)
            .map_err(SinkError::Rejected)?;
        let broken = |why: &str| {
            SinkError::Disconnected(format!("the connection to the NATS server broke: {why}"))
        };
        if !connection.is_up() {
            return Err(broken("it was ended"));
        }
        match timeout_at(until, message.publish(connection.client(), None)).await {
            // It may have gone out: sending it again could store it twice.
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(broken(&error.to_string())),
            Err(_elapsed) => Err(SinkError::Unavailable(
                "the NATS server reads nothing".to_owned(),
            )),
        }
    }
}

/// Waits for a denial of the first message.
async fn permitted(connection: &mut Connection, until: Instant) -> Result<(), SinkError> {
    // If writing fails, the connection breaks, and the next message reports that.
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
