//! A connection as `JetStream` uses it: messages go out, and all answers come in on one inbox.
//!
//! Each message that wants an answer has a token, which follows the inbox in the reply subject: the subject of an
//! answer names what it answers. Nothing else waits for answers, so they are taken in the order of arrival.

use std::sync::Arc;

use async_nats::jetstream;
use async_nats::{HeaderMap, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::connection::Connection;
use super::failure::{self, NoAnswer, NotStored};
use super::message::Message;
use crate::config::{NatsConfig, NatsUrl};
use crate::error::SinkError;

/// The prefix of the tokens of requests.
const REQUEST: &str = "request.";

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) config: Arc<NatsConfig>,
    pub(super) connection: Connection,
    /// The prefix of each token.
    inbox: String,
    answers: Subscriber,
    /// How many requests were sent.
    requests: u64,
}

/// A message on the inbox.
#[derive(Debug)]
pub(super) struct Answer {
    /// The token of what it answers.
    pub(super) token: String,
    pub(super) payload: Bytes,
    pub(super) headers: Option<HeaderMap>,
    pub(super) status: Option<StatusCode>,
}

/// A stream's answer to a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ack {
    /// In fast batches only: `ack`, `gap` or `err`; an acknowledgement of something stored has none.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) stream: String,
    pub(super) domain: String,
    /// The sequence of the stored message, or, while a fast batch goes on, its number in the batch.
    pub(super) seq: u64,
    /// The batch that ends with the message, and how many of its messages are stored.
    pub(super) batch: Option<String>,
    pub(super) count: u64,
    /// How many messages a fast batch may send until it is acknowledged again.
    pub(super) msgs: u64,
    pub(super) error: Option<jetstream::Error>,
}

impl Wire {
    pub(super) async fn open(
        config: &Arc<NatsConfig>,
        discovered: &[NatsUrl],
        until: Instant,
    ) -> Result<Self, SinkError> {
        let connection = Connection::open(config, discovered, until).await?;
        let inbox = connection.client().new_inbox();
        let answers = connection.client().subscribe(format!("{inbox}.>")).await;
        let answers = answers.map_err(|error| SinkError::Disconnected(error.to_string()))?;
        Ok(Self {
            config: Arc::clone(config),
            connection,
            inbox,
            answers,
            requests: 0,
        })
    }

    /// Publishes a message. Its answer, if it has a token, arrives later.
    pub(super) async fn send(
        &self,
        message: Message,
        token: Option<&str>,
        until: Instant,
    ) -> Result<(), NotStored> {
        let reply = token.map(|token| format!("{}.{token}", self.inbox));
        let sent = message.publish(self.connection.client(), reply);
        match timeout_at(until, sent).await {
            Ok(sent) => sent.map_err(|error| failure::unsent(&error)),
            Err(_elapsed) => Err(failure::silent()),
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self, until: Instant) -> Result<Answer, NoAnswer> {
        let next = match self.answers.next().now_or_never() {
            Some(next) => next,
            None => self.connection.answer(until, self.answers.next()).await?,
        };
        let message = next.ok_or(NoAnswer::Ended)?;
        let token = message.subject.get(self.inbox.len() + 1..);
        Ok(Answer {
            token: token.unwrap_or_default().to_owned(),
            payload: message.payload,
            headers: message.headers,
            status: message.status,
        })
    }

    /// The next answer with this token.
    pub(super) async fn answer_to(
        &mut self,
        token: &str,
        until: Instant,
    ) -> Result<Answer, SinkError> {
        loop {
            let answer = self.answer(until).await.map_err(unanswered)?;
            if answer.token == token {
                return Ok(answer);
            }
        }
    }

    /// The subject of a request about the stream, such as `STREAM.INFO`, to the API of `JetStream`.
    pub(super) fn api(&self, what: &str) -> String {
        format!("{}.{what}.{}", self.config.api(), self.config.stream)
    }

    /// Sends a request to the [API](Self::api). Nothing else is under way.
    pub(super) async fn request<T: DeserializeOwned>(
        &mut self,
        subject: &str,
        payload: impl Into<Bytes>,
        until: Instant,
    ) -> Result<Result<T, jetstream::Error>, SinkError> {
        #[derive(Deserialize)]
        struct Failed {
            error: jetstream::Error,
        }
        let answer = self.ask(subject, payload, until).await?;
        if let Ok(Failed { error }) = serde_json::from_slice(&answer.payload) {
            return Ok(Err(error));
        }
        serde_json::from_slice(&answer.payload)
            .map(Ok)
            .map_err(|error| {
                SinkError::Unavailable(format!(
                    "JetStream sent an answer that cannot be parsed: {error}"
                ))
            })
    }

    /// The same, for an answer that is not JSON.
    pub(super) async fn ask(
        &mut self,
        subject: &str,
        payload: impl Into<Bytes>,
        until: Instant,
    ) -> Result<Answer, SinkError> {
        self.requests += 1;
        let token = format!("{REQUEST}{}", self.requests);
        let message = Message {
            subject: subject.to_owned(),
            headers: HeaderMap::new(),
            payload: payload.into(),
        };
        let sent = self.send(message, Some(&token), until).await;
        sent.map_err(|failure| failure.error)?;
        let answer = self.answer_to(&token, until).await?;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(SinkError::Unavailable(
                "no JetStream server responds: enable JetStream on the servers, or wait for their leader".to_owned(),
            ));
        }
        Ok(answer)
    }

    /// Skips answers that nobody waits for any more.
    pub(super) fn skip_answers(&mut self) {
        while self.answers.next().now_or_never().flatten().is_some() {}
    }
}

impl Answer {
    /// The stream's answer to a message: `None` if it has only noted the message as one of a batch.
    pub(super) fn ack(&self) -> Result<Option<Ack>, NotStored> {
        if self.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(failure::no_stream());
        }
        if self.payload.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.payload)
            .map(Some)
            .map_err(|error| {
                failure::broken(&format!("an acknowledgement is not understood: {error}"))
            })
    }
}

impl Ack {
    /// Whether it says that this batch is stored with this many messages.
    pub(super) fn covers(&self, batch: Uuid, messages: u64) -> bool {
        self.batch.as_deref() == Some(&batch.simple().to_string()) && self.count == messages
    }
}

/// No answer came to a request, which has changed nothing that matters.
pub(super) fn unanswered(why: NoAnswer) -> SinkError {
    match why {
        NoAnswer::Denied(why) => SinkError::Misconfigured(why),
        NoAnswer::Late => {
            SinkError::Unavailable("JetStream did not answer within the time limit".to_owned())
        }
        NoAnswer::Ended => {
            SinkError::Disconnected("the connection to the NATS server broke".to_owned())
        }
    }
}
