//! Reads a NATS stream: first the cursors, then the entries up to the end of the stream at that moment.

mod cursors;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::{HeaderMap, HeaderValue};
use futures_util::StreamExt;
use spillring::NatsConfig;
use spillring::event::{Position, PublisherId, RunId};

use self::cursors::Cursors;
use super::counted;
use super::finding::Kind;
use super::judge::{Judge, Judgement, TrailHead};
use super::progress::VerifyProgress;
use super::retention;
use super::seals::Seals;
use super::trail::{self, Observed, Opening, RunAccount, TrailPlace, Way};
use crate::console::Problem;
use crate::nats::{ANSWER_MAX, connect, runtime};

/// The header on a server's marker for expired messages.
const MARKER: &str = "Nats-Marker-Reason";

/// How often to read a stream that removes messages meanwhile.
const TRIMMED_TRIES: u32 = 5;

pub(super) fn judge(
    nats: &NatsConfig,
    head: TrailHead,
    acknowledged: Option<Position>,
    seals: &dyn Fn() -> Seals,
) -> Result<Judgement, Problem> {
    let read =
        || -> io::Result<Judgement> { runtime()?.block_on(read(nats, head, acknowledged, seals)) };
    read().map_err(|error| {
        Problem::new(format_args!(
            "the stream {} cannot be read: {error}; give the URL of a server with JetStream, such as \
             nats://127.0.0.1:4222, the name of a stream that it has, and credentials that let us read it",
            nats.stream
        ))
    })
}

async fn read(
    nats: &NatsConfig,
    head: TrailHead,
    acknowledged: Option<Position>,
    seals: &dyn Fn() -> Seals,
) -> io::Result<Judgement> {
    let context = connect(nats).await?;
    let stream = context.get_stream(&nats.stream).await;
    let stream = stream.map_err(io::Error::other)?;
    for _ in 0..TRIMMED_TRIES {
        let (judgement, trimmed) = read_once(&stream, nats, head, acknowledged, seals).await?;
        if judgement.complete || trimmed == Trimmed::No {
            return Ok(judgement);
        }
    }
    let why = "it removes its oldest messages faster than they can be read";
    Err(io::Error::other(why))
}

/// Whether the stream removed some of its oldest messages while it was read: missing entries may have been among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trimmed {
    No,
    Yes,
}

async fn read_once(
    stream: &Stream,
    nats: &NatsConfig,
    head: TrailHead,
    acknowledged: Option<Position>,
    seals: &dyn Fn() -> Seals,
) -> io::Result<(Judgement, Trimmed)> {
    let cursors = Cursors::read(stream, &nats.cursor_prefix).await?;
    let looked = stream.info_builder().with_deleted(true).fetch().await;
    let Info { config, state, .. } = looked.map_err(io::Error::other)?.info;
    let head = match head {
        TrailHead::Kept => retention::head(&config, &state, now_ms()),
        removed @ TrailHead::MayBeGone { .. } => removed,
    };
    let mut reading = StreamReader {
        prefix: format!("{}.", nats.subject_prefix),
        cursors: format!("{}.", nats.cursor_prefix),
        judge: Judge::new(head, cursors.writers).expecting(acknowledged),
        seals: seals(),
        unidentified: 0,
    };
    let is_ours = config.subjects.iter().all(|subject| is_ours(subject, nats));
    for (first, last) in retention::gone(&config, &state) {
        let text = format!(
            "{first} to {last}, {} that no limit of the stream removes",
            counted(last - first + 1, "message")
        );
        // The first versions of spillring replaced cursors, one at a time, and never the last message.
        let kind = if is_ours && (first < last || last == state.last_sequence) {
            Kind::MessagesGone
        } else {
            Kind::Hole
        };
        let place = Some(TrailPlace::Sequence { sequence: first });
        reading.judge.find(kind, None, place, text);
    }
    let end = cursors.end;
    // With many subjects, several filters make a server slow.
    let mut subjects = Vec::new();
    if !is_ours {
        subjects.push(format!("{}>", reading.prefix));
        if !cursors.found.is_empty() {
            subjects.push(format!("{}>", reading.cursors));
        }
    }
    reading.take_cursors(cursors);
    reading.messages(stream, subjects, end).await?;
    let now = stream.get_info().await.map_err(io::Error::other)?.state;
    let trimmed = if now.first_sequence > state.first_sequence {
        Trimmed::Yes
    } else {
        Trimmed::No
    };
    if reading.unidentified > 0 {
        let messages = counted(reading.unidentified, "message");
        let text = format!(
            "{messages} under {} have no Audit-Id: they are not ours",
            nats.subject_prefix
        );
        reading.judge.find(Kind::Unidentified, None, None, text);
    }
    Ok((reading.judge.finish(reading.seals), trimmed))
}

/// Whether only publishers write on this subject.
fn is_ours(subject: &str, nats: &NatsConfig) -> bool {
    [&nats.subject_prefix, &nats.cursor_prefix]
        .iter()
        .any(|prefix| {
            subject
                .strip_prefix(*prefix)
                .is_some_and(|rest| rest.starts_with('.'))
        })
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

struct StreamReader {
    /// The prefix of entries' subjects, with its dot.
    prefix: String,
    /// The prefix of cursors' subjects, with its dot.
    cursors: String,
    judge: Judge,
    seals: Seals,
    /// Messages without an id.
    unidentified: u64,
}

impl StreamReader {
    fn take_cursors(&mut self, cursors: Cursors) {
        for (publisher, sequence, payload) in cursors.found {
            let place = Some(TrailPlace::Sequence { sequence });
            let id = uuid::Uuid::try_parse(&publisher).ok().map(PublisherId);
            let account: Option<RunAccount> = serde_json::from_slice(&payload).ok();
            if let (Some(id), Some(account)) = (id, account.filter(RunAccount::is_sound)) {
                self.judge.cursor(id, account, place);
            } else {
                let text = format!("the message for {publisher} is not a cursor");
                self.judge.find(Kind::BadCursor, None, place, text);
            }
        }
    }

    /// Reads entries and cursors up to the message with sequence `end`.
    async fn messages(
        &mut self,
        stream: &Stream,
        subjects: Vec<String>,
        end: u64,
    ) -> io::Result<()> {
        let config = OrderedConfig {
            filter_subjects: subjects,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(io::Error::other)?;
        let pending = consumer.cached_info().num_pending;
        let mut progress = VerifyProgress::new(pending);
        let mut messages: Ordered = consumer.messages().await.map_err(io::Error::other)?;
        let mut left = pending;
        while left > 0 {
            let next = tokio::time::timeout(ANSWER_MAX, messages.next()).await;
            let message = next
                .map_err(|_| io::Error::other(format!("no message came for {ANSWER_MAX:?}")))?
                .ok_or_else(|| io::Error::other("it ended early"))?
                .map_err(io::Error::other)?;
            let info = message.info().map_err(io::Error::other)?;
            let sequence = info.stream_sequence;
            if sequence > end {
                break;
            }
            left = if sequence == end { 0 } else { info.pending };
            if let Some(publisher) = message.subject.strip_prefix(&self.cursors) {
                self.cursor(&message, publisher, sequence);
            } else if message.subject.starts_with(&self.prefix) {
                self.message(&message, sequence);
            }
            progress.step(1);
        }
        Ok(())
    }

    fn message(&mut self, message: &Message, sequence: u64) {
        let place = TrailPlace::Sequence { sequence };
        let headers = message.headers.as_ref();
        let header = |name| headers.and_then(|headers: &HeaderMap| headers.get(name));
        let Some(id) = header("Audit-Id") else {
            self.unidentified += 1;
            return;
        };
        let mut bad = |run: Option<RunId>, name: &str, value: &str| {
            let text = format!("`{name}: {value}` cannot be parsed");
            self.judge.find(Kind::BadHeader, run, Some(place), text);
        };
        let Some(id) = trail::position_of(id.as_str()) else {
            return bad(None, "Audit-Id", id.as_str());
        };
        let mut parsed = Headers::default();
        if let Some(value) = header("Audit-Lost") {
            match value.as_str().parse() {
                Ok(lost) if (1..id.n).contains(&lost) => parsed.lost = lost,
                _ => bad(Some(id.run), "Audit-Lost", value.as_str()),
            }
        }
        if let Some(value) = header("Audit-Run") {
            parsed.opening = Opening::parse(value.as_str());
            if parsed.opening.is_none() {
                bad(Some(id.run), "Audit-Run", value.as_str());
            }
        }
        if let Some(value) = header("Audit-Requeued") {
            parsed.requeued = trail::position_of(value.as_str());
            if parsed.requeued.is_none() {
                bad(Some(id.run), "Audit-Requeued", value.as_str());
            }
        }
        if let Some(value) = header("Audit-After") {
            parsed.after = RunAccount::parse(value.as_str()).filter(RunAccount::is_sound);
            if parsed.after.is_none() {
                bad(Some(id.run), "Audit-After", value.as_str());
            }
        }
        // Only an entry that is stored alone has an id for deduplication.
        let way = if header("Nats-Msg-Id").is_some() {
            Way::Alone
        } else {
            Way::WithAccount
        };
        let opening = header("Audit-Run").map(HeaderValue::as_str);
        let seen = self.observed(message, place, id, way, parsed);
        self.judge.take(&seen);
        self.seals.entry(&mut self.judge, &seen, opening);
    }

    fn observed<'a>(
        &self,
        message: &'a Message,
        place: TrailPlace,
        id: Position,
        way: Way,
        headers: Headers,
    ) -> Observed<'a> {
        Observed {
            place,
            id,
            lost: headers.lost,
            opening: headers.opening,
            requeued: headers.requeued,
            after: headers.after,
            publisher: None,
            subject: message.subject.strip_prefix(&self.prefix),
            way,
            bytes: &message.payload,
        }
    }
}

/// The parsed headers of an entry.
#[derive(Default, Clone, Copy)]
struct Headers {
    lost: u64,
    opening: Option<Opening>,
    requeued: Option<Position>,
    after: Option<RunAccount>,
}
