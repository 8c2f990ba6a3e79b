//! Reads back the delivered entries. It shares no code with the sinks.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use spillring::NatsConfig;
use tokio::runtime::Runtime;

use super::links::Block;
use super::workspace::SUBJECT_PREFIX;
use crate::console::Problem;
use crate::nats::{self, ANSWER_MAX, runtime};

/// The approximate size of a block.
const BLOCK_BYTES: usize = 256 << 10;

/// The blocks of a file.
#[derive(Debug)]
pub(super) struct FileBlocks {
    file: BufReader<File>,
}

impl FileBlocks {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::with_capacity(BLOCK_BYTES, File::open(path)?),
        })
    }

    fn read(&mut self) -> io::Result<Block> {
        let mut block = Vec::with_capacity(BLOCK_BYTES + 1024);
        let limit = BLOCK_BYTES as u64;
        self.file.by_ref().take(limit).read_to_end(&mut block)?;
        self.file.read_until(b'\n', &mut block)?;
        Ok(block)
    }
}

impl Iterator for FileBlocks {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(block) if block.is_empty() => None,
            read => Some(read),
        }
    }
}

/// A stream on a NATS server, and its state before the demo.
#[derive(Debug)]
pub(super) struct DemoStream {
    url: String,
    stream: String,
    /// The last message before the demo's; none if there was no stream.
    last_before: Option<u64>,
}

impl DemoStream {
    /// Reads the state of the stream.
    pub(super) fn find(url: &str, stream: &str) -> Result<Self, Problem> {
        let last_before = request(url, async |context| {
            match context.get_stream(stream).await {
                Ok(found) => Ok(Some(found.cached_info().state.last_sequence)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(io::Error::other(error)),
            }
        })?;
        Ok(Self {
            url: url.to_owned(),
            stream: stream.to_owned(),
            last_before,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// The messages of the demo.
    pub(super) fn blocks(&self) -> Result<StreamBlocks, Problem> {
        StreamBlocks::open(&self.url, &self.stream, self.last_before.unwrap_or(0) + 1)
            .map_err(|error| request_failed(&error))
    }

    /// Deletes the stream, if the demo created it.
    pub(super) fn clean_up(&self) -> Result<(), Problem> {
        if self.last_before.is_some() {
            return Ok(());
        }
        request(&self.url, async |context| {
            match context.delete_stream(&self.stream).await {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::other(format!(
                    "the stream {} cannot be deleted: {error}",
                    self.stream
                ))),
            }
        })
    }
}

impl fmt::Display for DemoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of {}", self.stream, masked(&self.url))
    }
}

fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind;
    match error.kind() {
        GetStreamErrorKind::JetStream(why) => {
            why.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
        }
        _ => false,
    }
}

fn masked(url: &str) -> String {
    spillring::nats::NatsUrl::from(url).to_string()
}

/// The messages of a stream, as lines.
pub(super) struct StreamBlocks {
    runtime: Runtime,
    messages: Ordered,
    last: u64,
    end: ReadbackEnd,
}

#[derive(PartialEq, Eq)]
enum ReadbackEnd {
    NotYet,
    Reached,
}

impl StreamBlocks {
    fn open(url: &str, stream: &str, first: u64) -> io::Result<Self> {
        let runtime = runtime()?;
        let (messages, last) = runtime.block_on(async {
            let context = connect(url).await?;
            let stream = context.get_stream(stream).await.map_err(io::Error::other)?;
            let config = OrderedConfig {
                deliver_policy: DeliverPolicy::ByStartSequence {
                    start_sequence: first,
                },
                ..OrderedConfig::default()
            };
            let last = stream.cached_info().state.last_sequence;
            let consumer = stream
                .create_consumer(config)
                .await
                .map_err(io::Error::other)?;
            let messages = consumer.messages().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((messages, last))
        })?;
        let end = if last < first {
            ReadbackEnd::Reached
        } else {
            ReadbackEnd::NotYet
        };
        Ok(Self {
            runtime,
            messages,
            last,
            end,
        })
    }

    fn read(&mut self) -> io::Result<Block> {
        let mut block = Vec::with_capacity(BLOCK_BYTES + 1024);
        while self.end == ReadbackEnd::NotYet && block.len() < BLOCK_BYTES {
            let next = async { tokio::time::timeout(ANSWER_MAX, self.messages.next()).await };
            let message = self
                .runtime
                .block_on(next)
                .map_err(|_| io::Error::other("no message came for ten seconds"))?
                .ok_or_else(|| io::Error::other("the stream ended early"))?
                .map_err(io::Error::other)?;
            // Skips the cursors between the entries.
            if message
                .subject
                .strip_prefix(SUBJECT_PREFIX)
                .is_some_and(|rest| rest.starts_with('.'))
            {
                block.extend_from_slice(&message.payload);
                block.push(b'\n');
            }
            if message.info().map_err(io::Error::other)?.stream_sequence >= self.last {
                self.end = ReadbackEnd::Reached;
            }
        }
        Ok(block)
    }
}

impl Iterator for StreamBlocks {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(block) if block.is_empty() && self.end == ReadbackEnd::Reached => None,
            Ok(block) => Some(Ok(block)),
            Err(error) => {
                self.end = ReadbackEnd::Reached;
                Some(Err(error))
            }
        }
    }
}

async fn connect(url: &str) -> io::Result<Context> {
    let mut settings = NatsConfig::from_env().map_err(io::Error::other)?;
    settings.urls = vec![url.into()];
    let settings = settings.with_context().map_err(io::Error::other)?;
    nats::connect(&settings).await
}

/// Sends a request on a connection of its own.
fn request<T>(url: &str, send: impl AsyncFnOnce(Context) -> io::Result<T>) -> Result<T, Problem> {
    let run =
        || -> io::Result<T> { runtime()?.block_on(async { send(connect(url).await?).await }) };
    run().map_err(|error| request_failed(&error))
}

fn request_failed(error: &io::Error) -> Problem {
    Problem::new(format_args!(
        "the request to the NATS server failed: {error}; give `--nats` the URL of a server with JetStream, such \
         as nats://127.0.0.1:4222"
    ))
}
