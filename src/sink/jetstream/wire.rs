//! A connection as `JetStream` uses it: messages go out, and all that is answered comes in on one inbox of our own.
//!
//! Each message that wants an answer has a token, which comes after the inbox in the reply subject: the subject of an answer
//! names what it answers. Nobody else waits for anything here, so answers are taken in the order in which they come.

use async_nats::jetstream;
use async_nats::{HeaderMap, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout_at};

use super::connection::{Connection, NoAnswer};
use super::failure::{self, Failure};
use super::message::Message;
use crate::config::NatsConfig;
use crate::config::NatsUrl;
use crate::error::SinkError;

/// At least so old is a connection that is renewed.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(1);
/// What begins the tokens of requests.
const REQUEST: &str = "request.";

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) connection: Connection,
    /// Goes before each token.
    inbox: String,
    answers: Subscriber,
    /// How many requests there were.
    requests: u64,
}

/// Something that came in.
#[derive(Debug)]
pub(super) struct Answer {
    /// What it answers.
    pub(super) token: String,
    pub(super) payload: Bytes,
    pub(super) headers: Option<HeaderMap>,
    pub(super) status: Option<StatusCode>,
}

/// What a stream answers to a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ack {
    /// Of fast batches only: `ack`, `gap` or `err`; an acknowledgement that something is stored has none.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) stream: String,
    pub(super) domain: String,
    /// Of the stored message, or, while a fast batch goes on, within that.
    pub(super) seq: u64,
    /// The batch that ends with the message, and how many of its messages are stored.
    pub(super) batch: Option<String>,
    pub(super) count: u64,
    /// How many messages a fast batch may have until it is acknowledged again.
    pub(super) msgs: u64,
    pub(super) error: Option<jetstream::Error>,
}

impl Wire {
    pub(super) async fn open(
        config: &NatsConfig,
        discovered: &[NatsUrl],
        until: Instant,
    ) -> Result<Self, SinkError> {
        let connection = Connection::open(config, discovered, until).await?;
        let inbox = connection.client().new_inbox();
        let answers = subscribe(&connection, &inbox).await?;
        Ok(Self {
            connection,
            inbox,
            answers,
            requests: 0,
        })
    }

    /// Connects again, unless it just did, if the server takes no message of this size: of a larger `max_payload` it tells new
    /// connections only. Nothing is under way.
    pub(super) async fn renew_for(
        &mut self,
        message: Option<&Message>,
        config: &NatsConfig,
        discovered: &[NatsUrl],
        until: Instant,
    ) -> Result<(), SinkError> {
        let payload_max = self.connection.payload_max();
        let too_large = |it: &Message| it.check_alone(payload_max, 0).is_err();
        if message.is_some_and(too_large) && self.connection.age() >= RENEW_EVERY {
            *self = Self::open(config, discovered, until).await?;
        }
        Ok(())
    }

    /// Publishes a message. Its answer, if it has a token, comes in later.
    pub(super) async fn send(
        &self,
        message: Message,
        token: Option<&str>,
        until: Instant,
    ) -> Result<(), Failure> {
        let Message {
            subject,
            headers,
            payload,
        } = message;
        let client = self.connection.client();
        let sent = async {
            match token {
                Some(token) => {
                    let reply = format!("{}.{token}", self.inbox);
                    let publish =
                        client.publish_with_reply_and_headers(subject, reply, headers, payload);
                    publish.await
                }
                None => client.publish_with_headers(subject, headers, payload).await,
            }
        };
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

    /// Asks the API of `JetStream`, such as `STREAM.INFO.AUDIT`. Nothing else is under way.
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
                SinkError::Unavailable(format!("JetStream said what is not understood: {error}"))
            })
    }

    /// The same, for an answer that is no JSON.
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
        loop {
            let answer = self.answer(until).await.map_err(unanswered)?;
            if answer.token != token {
                continue;
            }
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(SinkError::Unavailable(
                    "nobody answers for JetStream: switch it on at the servers, or wait for their leader".to_owned(),
                ));
            }
            return Ok(answer);
        }
    }

    /// Takes what came in and nobody waits for any more.
    pub(super) fn skip_answers(&mut self) {
        while self.answers.next().now_or_never().flatten().is_some() {}
    }
}

impl Answer {
    /// As a stream answers a message: `None` if it has only noted it, as one of a batch.
    pub(super) fn ack(&self) -> Result<Option<Ack>, Failure> {
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

/// No answer came to a request, which has changed nothing that counts.
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

async fn subscribe(connection: &Connection, inbox: &str) -> Result<Subscriber, SinkError> {
    let subscribed = connection.client().subscribe(format!("{inbox}.>")).await;
    subscribed.map_err(|error| SinkError::Disconnected(error.to_string()))
}
