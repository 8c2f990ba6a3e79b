//! The cursors of a stream: the newest of each publisher, and the seals in all of them.

use std::io;

use async_nats::jetstream::Message;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures_util::{StreamExt, TryStreamExt, future};
use serde::Deserialize;
use spillring::event::{Position, PublisherId, RunId};
use spillring::seal::Seal;

use super::{MARKER, StreamReader};
use crate::verify::judge::Writers;
use crate::verify::seals::{Covers, Met};
use crate::verify::trail::TrailPlace;

/// Attempts to read the cursors while nobody writes.
const STILL_TRIES: u32 = 5;

/// Concurrent requests for cursors.
const READS_MAX: usize = 64;

/// Publisher, sequence and payload of a cursor.
type CursorMessage = (String, u64, bytes::Bytes);

/// The newest cursors of a stream, and its end when they were read.
pub(super) struct Cursors {
    pub(super) found: Vec<CursorMessage>,
    /// The last message of the stream.
    pub(super) end: u64,
    pub(super) writers: Writers,
}

impl Cursors {
    /// Reads them at a moment when nobody writes, if there is one.
    pub(super) async fn read(stream: &Stream, prefix: &str) -> io::Result<Self> {
        let mut before = last_sequence(stream).await?;
        let mut tries = 0;
        loop {
            let found = Self::read_once(stream, prefix).await?;
            let end = last_sequence(stream).await?;
            tries += 1;
            let writers = if before == end {
                Writers::Idle
            } else {
                Writers::Active
            };
            if writers == Writers::Idle || tries == STILL_TRIES {
                return Ok(Self {
                    found,
                    end,
                    writers,
                });
            }
            before = end;
        }
    }

    async fn read_once(stream: &Stream, prefix: &str) -> io::Result<Vec<CursorMessage>> {
        let subjects = stream.info_with_subjects(format!("{prefix}.>")).await;
        let subjects = subjects.map_err(io::Error::other)?;
        let read = subjects.map(|subject| async {
            let (subject, _) = subject.map_err(io::Error::other)?;
            newest(stream, prefix, &subject).await
        });
        let found = read.buffered(READS_MAX).try_filter_map(future::ok);
        found.try_collect().await
    }
}

/// The newest cursor on a subject. `None` if the stream has removed it.
async fn newest(stream: &Stream, prefix: &str, subject: &str) -> io::Result<Option<CursorMessage>> {
    let message = match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    };
    if message.headers.get(MARKER).is_some() {
        return Ok(None);
    }
    let publisher = subject[prefix.len() + 1..].to_owned();
    Ok(Some((publisher, message.sequence, message.payload)))
}

async fn last_sequence(stream: &Stream) -> io::Result<u64> {
    let info = stream.get_info().await.map_err(io::Error::other)?;
    Ok(info.state.last_sequence)
}

impl StreamReader {
    /// Takes the seal of a cursor.
    pub(super) fn cursor(&mut self, message: &Message, publisher: &str, sequence: u64) {
        let spelled = publisher;
        let Ok(publisher) = uuid::Uuid::try_parse(publisher).map(PublisherId) else {
            return;
        };
        if publisher.to_string() != spelled {
            return;
        }
        let Ok(cursor) = serde_json::from_slice::<CursorPayload>(&message.payload) else {
            return;
        };
        for run in cursor.runs() {
            self.seals.run(run, publisher);
        }
        let covers = match cursor.state {
            CursorState::Closed(()) => Covers::Batch,
            CursorState::Open(_) => Covers::Before,
            // The next cursor signs what its batch stored before it.
            CursorState::Fence(..) => return,
        };
        let met = Met {
            publisher,
            seal: cursor.seal.as_ref(),
            through: Position {
                run: cursor.run,
                n: cursor.last,
            },
            covers,
            is_open: covers == Covers::Before,
            place: TrailPlace::Sequence { sequence },
        };
        self.seals.cursor(&mut self.judge, &met);
    }
}

/// The payload of a cursor.
#[derive(Deserialize)]
struct CursorPayload {
    run: RunId,
    last: u64,
    #[serde(default)]
    state: CursorState,
    #[serde(default)]
    seal: Option<Seal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CursorState {
    /// All entries of its batch are there.
    #[serde(skip)]
    Closed(()),
    /// Its batch, with entries of these runs, comes after it.
    Open(Vec<RunId>),
    /// It repeats an earlier open cursor, whose batch was cut off.
    Fence(serde::de::IgnoredAny, Vec<RunId>),
}

impl Default for CursorState {
    fn default() -> Self {
        Self::Closed(())
    }
}

impl CursorPayload {
    /// The runs whose entries come before or after it.
    fn runs(&self) -> Vec<RunId> {
        match &self.state {
            CursorState::Closed(()) => vec![self.run],
            CursorState::Open(runs) | CursorState::Fence(_, runs) => runs.clone(),
        }
    }
}
