//! Stores a batch message by message, ahead of their acknowledgements, and takes these in order: for streams that know
//! no transactions.

use std::collections::VecDeque;
use std::future::IntoFuture;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{Context, publish::PublishAck};
use tokio::time::{Instant, timeout_at};

use super::Connected;
use super::connection::{Connection, NoAnswer};
use super::failure::{self, Failure, Link};
use super::message::{Limits, Message};
use super::stream::Way;
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Batch, Record};
use crate::sink::Delivery;

/// Stores a prefix of the batch, and says whether the connection is good for the next one.
pub(super) async fn deliver(
    Connected { connection, found }: &mut Connected,
    config: &NatsConfig,
    batch: &Batch,
    until: Instant,
) -> (Delivery, Link) {
    let in_flight_max = match found.way {
        Way::Messages { in_flight_max, .. } => in_flight_max,
        Way::Transactions => 1,
    };
    let context = connection.context(batch.limit());
    let limits = Limits {
        found,
        payload_max: connection.payload_max(),
    };
    let mut window = Window {
        connection,
        config,
        context,
        limits,
        in_flight_max,
        until,
        in_flight: VecDeque::with_capacity(in_flight_max.min(batch.records().len())),
    };
    let mut unsent = batch.records().iter();
    let mut stored = 0;
    let stopped = loop {
        let refused = window.fill(&mut unsent).await.err();
        match window.oldest().await {
            Some(Ok(())) => stored += 1,
            Some(Err(failure)) => break Some(failure),
            None => break refused,
        }
        // What could not be sent ends the batch once all before it is settled: nothing is sent behind it.
        if let Some(refused) = refused {
            break Some(window.drain(&mut stored).await.unwrap_or(refused));
        }
    };
    match stopped {
        None => (Delivery::all(batch), Link::Sound),
        Some(failure) => {
            let settled = window.settle().await;
            let failure = explained(window.connection, failure).await;
            let link = failure.link.and(settled);
            (Delivery::stopped(stored, failure.error), link)
        }
    }
}

struct Window<'a> {
    connection: &'a mut Connection,
    config: &'a NatsConfig,
    context: Context,
    limits: Limits<'a>,
    in_flight_max: usize,
    until: Instant,
    in_flight: VecDeque<PublishAckFuture>,
}

impl Window<'_> {
    /// Sends until the window is full, nothing is left, or one cannot be sent.
    async fn fill<'a>(
        &mut self,
        unsent: &mut impl Iterator<Item = &'a Record>,
    ) -> Result<(), Failure> {
        while self.in_flight.len() < self.in_flight_max {
            let Some(record) = unsent.next() else {
                break;
            };
            let sent = self.send(record).await?;
            self.in_flight.push_back(sent);
        }
        Ok(())
    }

    async fn send(&self, record: &Record) -> Result<PublishAckFuture, Failure> {
        let mut message = Message::new(self.config, record);
        message
            .headers
            .insert("Nats-Msg-Id", record.id().to_string());
        message.check(&self.limits, 0).map_err(failure::rejected)?;
        let publish =
            self.context
                .publish_with_headers(message.subject, message.headers, message.payload);
        match timeout_at(self.until, publish).await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(error)) if error.kind() == PublishErrorKind::Other => {
                Err(failure::broken(&error.to_string()))
            }
            Ok(Err(error)) => Err(failure::of_publish(&error)),
            Err(_) => Err(failure::silent()),
        }
    }

    /// The outcome of the oldest message under way; `None` if there is none.
    async fn oldest(&mut self) -> Option<Result<(), Failure>> {
        let ack = self.in_flight.pop_front()?;
        let answer = self.connection.answer(self.until, ack.into_future()).await;
        Some(match answer {
            Ok(Ok(ack)) => self.check(&ack),
            Ok(Err(error)) => Err(failure::of_publish(&error)),
            Err(NoAnswer::Denied(why)) => Err(failure::misconfigured(why)),
            Err(NoAnswer::Late) => Err(failure::silent()),
        })
    }

    /// The acknowledgement must come from our stream: another one may capture the subject.
    fn check(&self, ack: &PublishAck) -> Result<(), Failure> {
        if ack.stream == self.config.stream {
            return Ok(());
        }
        Err(failure::foreign(&ack.stream, self.config))
    }

    /// Takes all acknowledgements, up to the first that failed.
    async fn drain(&mut self, stored: &mut usize) -> Option<Failure> {
        while let Some(outcome) = self.oldest().await {
            match outcome {
                Ok(()) => *stored += 1,
                Err(failure) => return Some(failure),
            }
        }
        None
    }

    /// Waits until nothing is under way any more, or says that something may be.
    async fn settle(&mut self) -> Link {
        let mut link = Link::Sound;
        while let Some(outcome) = self.oldest().await {
            link = link.and(outcome.map_or_else(|failure| failure.link, |()| Link::Sound));
        }
        link
    }
}

/// Adds what the server has said, if the connection broke.
async fn explained(connection: &mut Connection, mut failure: Failure) -> Failure {
    if let SinkError::Unknown(why) = &mut failure.error
        && !connection.is_usable()
        && let Some(said) = connection.last_words().await
    {
        *why = format!("{why}; the server said: {said}");
    }
    failure
}
