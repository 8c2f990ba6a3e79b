//! Sends a batch ahead of its acknowledgements, and takes these in order.

use std::collections::VecDeque;
use std::future::IntoFuture;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{Context, publish::PublishAck};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, NoAnswer};
use super::failure::{self, Failure, Link};
use super::message;
use crate::config::NatsConfig;
use crate::error::SinkError;
use crate::event::{Batch, Record};
use crate::sink::Delivery;

/// How many messages are under way without an acknowledgement.
pub(super) const IN_FLIGHT_MAX: usize = 1_024;

/// Stores a prefix of the batch, and says whether the connection is good for the next one.
pub(super) async fn deliver(
    connection: &mut Connection,
    config: &NatsConfig,
    batch: &Batch,
    until: Instant,
) -> (Delivery, Link) {
    let context = connection.context(batch.limit());
    let mut window = Window {
        connection,
        config,
        context,
        until,
        in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX.min(batch.records().len())),
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
    until: Instant,
    in_flight: VecDeque<PublishAckFuture>,
}

impl Window<'_> {
    /// Sends until the window is full, nothing is left, or one cannot be sent.
    async fn fill<'a>(
        &mut self,
        unsent: &mut impl Iterator<Item = &'a Record>,
    ) -> Result<(), Failure> {
        while self.in_flight.len() < IN_FLIGHT_MAX {
            let Some(record) = unsent.next() else {
                break;
            };
            let sent = self.send(record).await?;
            self.in_flight.push_back(sent);
        }
        Ok(())
    }

    async fn send(&self, record: &Record) -> Result<PublishAckFuture, Failure> {
        let subject = format!("{}.{}", self.config.subject_prefix, record.subject());
        if !message::can_be_published(&subject) {
            return Err(failure::rejected(format!(
                "{subject:?} is no subject that can be published on"
            )));
        }
        let headers = message::headers(record);
        let size = message::wire_len(&headers) + record.bytes().len();
        if let Some(max) = self.connection.message_max().filter(|max| size > *max) {
            return Err(failure::rejected(format!(
                "it has {size} bytes with its headers, the stream takes {max}: raise its `max_msg_size`"
            )));
        }
        let publish = self
            .context
            .publish_with_headers(subject, headers, record.bytes().clone());
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
            Err(NoAnswer::Denied(said)) => Err(failure::denied(&said)),
            Err(NoAnswer::Late) => Err(failure::silent()),
        })
    }

    /// The acknowledgement must come from our stream: another one may capture the subject.
    fn check(&self, ack: &PublishAck) -> Result<(), Failure> {
        if ack.stream == self.config.stream {
            return Ok(());
        }
        Err(failure::misconfigured(format!(
            "the stream {} took the entry instead of {}: two streams claim subjects below {}; mend their subjects",
            ack.stream, self.config.stream, self.config.subject_prefix
        )))
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
