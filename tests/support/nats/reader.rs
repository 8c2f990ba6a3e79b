//! Reads a stream back with plain async-nats, and shares nothing with the sink.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, ConnectOptions, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;

/// The longest wait for the next message of a stream that has more.
const NEXT_MAX: Duration = Duration::from_secs(10);

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub seq: u64,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub payload: Bytes,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Runs a future to its end on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(future)
}

/// Options with the credentials that stand in the URL, which the client itself does not look at.
pub fn options(url: &str) -> ConnectOptions {
    let address: ServerAddr = url.parse().expect("a URL");
    match (address.username(), address.password()) {
        (Some(user), Some(password)) => {
            ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        }
        (Some(token), None) => ConnectOptions::with_token(token.to_owned()),
        (None, _) => ConnectOptions::new(),
    }
}

/// A client of the test's own.
pub async fn client(url: &str) -> Client {
    options(url).connect(url).await.expect("the server answers")
}

/// All messages of a stream, in its order.
pub fn read_stream(url: &str, stream: &str) -> Vec<Message> {
    read_stream_as(options(url), url, stream)
}

/// The same with other options, for servers that ask for certificates.
pub fn read_stream_as(options: ConnectOptions, url: &str, stream: &str) -> Vec<Message> {
    let mut read = Vec::new();
    visit_stream_as(options, url, stream, |message| read.push(message));
    read
}

/// Shows all messages of a stream, in its order, and keeps none.
pub fn visit_stream(url: &str, stream: &str, visit: impl FnMut(Message)) {
    visit_stream_as(options(url), url, stream, visit);
}

fn visit_stream_as(
    options: ConnectOptions,
    url: &str,
    stream: &str,
    mut visit: impl FnMut(Message),
) {
    block_on(async {
        let client = options.connect(url).await.expect("the server answers");
        let context = jetstream::new(client);
        let stream = context
            .get_stream(stream)
            .await
            .expect("the stream is there");
        let state = &stream.cached_info().state;
        if state.messages == 0 {
            return;
        }
        let last = state.last_sequence;
        let consumer = stream
            .create_consumer(consumer::pull::OrderedConfig::default())
            .await
            .expect("a consumer can be made");
        let mut messages = consumer.messages().await.expect("messages come");
        loop {
            let next = tokio::time::timeout(NEXT_MAX, messages.next()).await;
            let message = next
                .expect("the next message comes in time")
                .expect("the stream goes on")
                .expect("a message can be read");
            let message = plain(&message);
            let seq = message.seq;
            visit(message);
            if seq >= last {
                return;
            }
        }
    });
}

fn plain(message: &jetstream::Message) -> Message {
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    Message {
        seq: message.info().expect("a JetStream message").stream_sequence,
        subject: message.subject.to_string(),
        headers: headers
            .map(|(name, values)| {
                let values: Vec<&str> =
                    values.iter().map(async_nats::HeaderValue::as_str).collect();
                (name.to_string(), values.join(","))
            })
            .collect(),
        payload: message.payload.clone(),
    }
}
