//! Inspects a stream: whether it takes our entries, how, and what could go wrong with it.

use super::failure::{self, NotStored};
use super::message::Message;
use super::settings::{FAST_SINCE, Info, Settings, Transform};
use super::subjects::{covers, cursors, entries, overlap};
use super::wire::Ack;
use crate::config::{NatsConfig, StreamStorage};
use crate::error::SinkError;

/// The findings on the stream.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) mode: Mode,
    pub(super) settings: Settings,
    /// The domain of its `JetStream`; empty without one.
    domain: String,
    /// When it was created.
    pub(super) created: String,
    pub(super) last_sequence: u64,
    /// What weakens the guarantee that each entry is in it once, in order, for good.
    pub(super) weaknesses: Vec<String>,
}

/// How entries are stored in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each batch with its cursor, atomically.
    Atomic,
    /// Each batch with its cursor, fast.
    Fast,
    /// Whichever of the two is faster here.
    Measured,
    /// Each message separately.
    Messages,
}

impl Found {
    pub(super) fn is_fast(&self) -> bool {
        matches!(self.mode, Mode::Fast | Mode::Measured)
    }

    /// A user who may not read entries cannot recover a fast batch.
    pub(super) fn without_fast(&mut self) {
        if self.mode == Mode::Measured {
            self.mode = Mode::Atomic;
            return;
        }
        self.mode = Mode::Messages;
        let why = "fast batches need the permission to publish on `$JS.API.DIRECT.GET.<stream>`, so that entries are \
                   stored at least once";
        self.weaknesses.push(why.to_owned());
    }

    /// How many messages may be under way at a time.
    pub(super) fn in_flight_max(&self) -> usize {
        match self.settings.num_replicas {
            0 | 1 => IN_FLIGHT_MAX,
            _ => 1,
        }
    }

    /// Checks that the stream, on a server with this `max_payload`, takes the message with `more` bytes of added
    /// headers.
    pub(super) fn takes(
        &self,
        message: &Message,
        payload_max: usize,
        more: usize,
    ) -> Result<(), String> {
        message.check(payload_max, more)?;
        let (subject, theirs) = (&message.subject, &self.settings.subjects);
        if !theirs.iter().any(|pattern| covers(pattern, subject)) {
            return Err(format!(
                "the stream takes the subjects [{}], not {subject}: add it to them",
                theirs.join(", ")
            ));
        }
        let size = message.wire_len() + more;
        let max = usize::try_from(self.settings.max_msg_size).unwrap_or(0);
        if max > 0 && size > max {
            return Err(format!(
                "it has {size} bytes with its headers, the stream takes {max}: raise its `max_msg_size`"
            ));
        }
        Ok(())
    }

    /// Checks that an acknowledgement comes from this stream: another one, perhaps in another domain, may capture the
    /// subjects.
    pub(super) fn took(&self, ack: &Ack, config: &NatsConfig) -> Result<(), NotStored> {
        if ack.stream == config.stream && ack.domain == self.domain {
            return Ok(());
        }
        let name = |stream: &str, domain: &str| match domain {
            "" => format!("the stream {stream}"),
            domain => format!("the stream {stream} of the domain {domain}"),
        };
        Err(failure::misconfigured(format!(
            "{} took the entry instead of {}: two streams claim subjects below {} or {}; change their subjects",
            name(&ack.stream, &ack.domain),
            name(&config.stream, &self.domain),
            config.subject_prefix,
            config.cursor_prefix
        )))
    }

    /// Whether it takes the same messages as that one.
    pub(super) fn takes_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.settings, &other.settings);
        ours.max_msg_size == theirs.max_msg_size
            && ours.subjects == theirs.subjects
            && self.mode == other.mode
    }
}

/// How many messages are under way without an acknowledgement. With a single replica only: on a replicated stream a
/// change of leader may refuse one in the middle and take later ones.
const IN_FLIGHT_MAX: usize = 1_024;

/// Checks whether the stream will take our entries.
pub(super) fn inspect(
    info: &Info,
    config: &NatsConfig,
    server: (u64, u64, u64),
) -> Result<Found, SinkError> {
    let settings = info.settings()?;
    let ours = entries(config);
    if let Some(why) = refusal(&settings, &ours, info.state.consumer_count) {
        return Err(SinkError::Misconfigured(format!(
            "the stream {} {why}",
            config.stream
        )));
    }
    Ok(Found {
        mode: mode(&settings, config, server),
        weaknesses: weaknesses(&settings, config, &ours, server),
        settings,
        domain: info.domain.clone(),
        created: info.created.clone(),
        last_sequence: info.state.last_seq,
    })
}

/// Why the stream would take or keep nothing, and the remedy.
fn refusal(found: &Settings, ours: &str, consumers: u64) -> Option<String> {
    let why = if found.mirror.is_some() {
        "is a mirror, and takes only what its origin has: name the origin"
    } else if found.no_ack {
        "acknowledges nothing (`no_ack`): switch that off, or name another stream"
    } else if found.sealed {
        "is sealed and takes nothing more: name another one"
    } else if found.allow_msg_counter {
        "takes counters only (`allow_msg_counter`): name another one"
    } else if found.retention == "interest" && consumers == 0 {
        "keeps only what a consumer is waiting for, and has no consumer (`retention: interest`): everything would be \
         gone at once; add a consumer, or name a stream with `retention: limits`"
    } else if !found.subjects.iter().any(|theirs| overlap(theirs, ours)) {
        return Some(format!(
            "has the subjects [{}], none of which takes {ours}: add that one to it, or change `subject_prefix` or `stream`",
            found.subjects.join(", ")
        ));
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Relies on what the server reports about the stream: an old one silently accepts any setting, and then stores the
/// messages of a transaction one by one.
fn mode(found: &Settings, config: &NatsConfig, server: (u64, u64, u64)) -> Mode {
    match (found.allow_atomic, is_fast(found, server)) {
        _ if !lacks(found, config, server).is_empty() => Mode::Messages,
        (true, true) => Mode::Measured,
        (_, false) => Mode::Atomic,
        (false, true) => Mode::Fast,
    }
}

/// Fast batches are read back after a doubt.
fn is_fast(found: &Settings, server: (u64, u64, u64)) -> bool {
    found.allow_batched && found.allow_direct && server >= FAST_SINCE
}

/// What the stream lacks for batches with a cursor.
fn lacks(found: &Settings, config: &NatsConfig, server: (u64, u64, u64)) -> Vec<String> {
    let cursors = cursors(config);
    let takes_cursors = found.subjects.iter().any(|theirs| covers(theirs, &cursors));
    [
        (
            !found.allow_atomic && !is_fast(found, server),
            "`allow_atomic`".to_owned(),
        ),
        (!takes_cursors, format!("the subject {cursors}")),
        (
            renames(found, &cursors),
            format!("a `subject_transform` that leaves {cursors} alone"),
        ),
        (
            found.retention != "limits" && !found.retention.is_empty(),
            "`retention: limits`".to_owned(),
        ),
        (
            found.discard_new_per_subject,
            "room for more than so many messages of a subject (`discard_new_per_subject`)"
                .to_owned(),
        ),
    ]
    .into_iter()
    .filter_map(|(lacking, what)| lacking.then_some(what))
    .collect()
}

/// Whether it stores some of these subjects under others.
fn renames(found: &Settings, subjects: &str) -> bool {
    let touches = |of: &Transform| of.src.is_empty() || overlap(&of.src, subjects);
    found.subject_transform.as_ref().is_some_and(touches)
}

/// A cursor with a signed checkpoint and some certificates fits into this many bytes.
const SEALED: i64 = 4_096;

fn weaknesses(
    found: &Settings,
    config: &NatsConfig,
    ours: &str,
    server: (u64, u64, u64),
) -> Vec<String> {
    let partly = !found.subjects.iter().any(|theirs| covers(theirs, ours));
    let limited = found.max_bytes > 0 || found.max_msgs > 0;
    let lacks = lacks(found, config, server).join(", ");
    let no_batches = format!(
        "it lacks {lacks} for batches with a cursor, so that entries are stored at least once (set `stream_care` to \"upgrade\")"
    );
    let forgets = !lacks.is_empty() && found.duplicate_window == 0;
    let warnings = [
        (
            found.allow_rollup_hdrs,
            "whoever may publish on one of its subjects can erase all of it (`allow_rollup_hdrs`; set `stream_care` to \"upgrade\")",
        ),
        (
            partly,
            "its subjects take only some of those below the prefix",
        ),
        (
            renames(found, ours),
            "it renames the subjects of entries (`subject_transform`), so that readers find them elsewhere",
        ),
        (
            found.storage == "memory" && config.stream_storage == StreamStorage::File,
            "it keeps its messages in memory only",
        ),
        (
            found.retention == "interest",
            "it keeps only what a consumer is waiting for",
        ),
        (
            found.retention == "workqueue",
            "it deletes what a consumer has taken",
        ),
        (
            found.persist_mode == "async",
            "it acknowledges before it has written",
        ),
        (
            limited && found.discard == "old",
            "at its limits it deletes its oldest messages (`discard: old`)",
        ),
        (
            found.max_msgs_per_subject > 0 && !found.discard_new_per_subject,
            "it keeps only so many messages of each agent (`max_msgs_per_subject`)",
        ),
        (
            found.max_msg_size > 0 && found.max_msg_size < SEALED,
            "it takes messages too small for signed checkpoints: raise its `max_msg_size` to 4096 bytes or more",
        ),
        (
            forgets,
            "it recognises no entry that is sent again (`duplicate_window`)",
        ),
    ];
    warnings
        .into_iter()
        .filter(|(weak, _)| *weak)
        .map(|(_, text)| text.to_owned())
        .chain((!lacks.is_empty()).then_some(no_batches))
        .collect()
}

#[cfg(test)]
mod tests;
