//! What a stream is like: whether it takes our entries, how, and what could go wrong with it.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType,
};

use super::subjects::{covers, overlap};
use super::{cursors, entries};
use crate::config::{NatsConfig, StreamStorage};
use crate::error::SinkError;

/// What there is to know about the stream.
#[derive(Debug, Clone)]
pub(in crate::sink::jetstream) struct Found {
    pub(in crate::sink::jetstream) way: Way,
    /// The largest message that it takes, headers included.
    pub(in crate::sink::jetstream) message_max: Option<usize>,
    /// The patterns of subjects that it takes.
    pub(in crate::sink::jetstream) subjects: Vec<String>,
    /// When it was made.
    pub(in crate::sink::jetstream) created: String,
    pub(in crate::sink::jetstream) last_sequence: u64,
    /// What weakens the promise that each entry stands in it once, in order, for good.
    pub(in crate::sink::jetstream) weaknesses: Vec<String>,
}

/// How entries are stored in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sink::jetstream) enum Way {
    /// Each batch as one transaction, with its cursor.
    Transactions,
    /// Each message for itself, so many under way at a time; one that is sent again is recognised for so long.
    Messages {
        in_flight_max: usize,
        duplicate_window: Duration,
    },
}

/// How many messages are under way without an acknowledgement, where there is but one replica: on a replicated stream
/// a change of leader may refuse one in the middle and take those behind it.
const IN_FLIGHT_MAX: usize = 1_024;

/// Looks whether the stream will take our entries.
pub(super) fn look(info: &Info, config: &NatsConfig) -> Result<Found, SinkError> {
    let found = &info.config;
    let wrong = |why: &str| SinkError::Misconfigured(format!("the stream {} {why}", config.stream));
    let ours = entries(config);
    if !found.subjects.iter().any(|theirs| overlap(theirs, &ours)) {
        return Err(wrong(&format!(
            "has the subjects [{}], none of which takes {ours}: add that one to it, or change `subject_prefix` or `stream`",
            found.subjects.join(", ")
        )));
    }
    if found.no_ack {
        return Err(wrong(
            "acknowledges nothing (`no_ack`): switch that off, or name another stream",
        ));
    }
    if found.sealed {
        return Err(wrong("is sealed and takes nothing more: name another one"));
    }
    Ok(Found {
        way: way(found, config),
        message_max: usize::try_from(found.max_message_size)
            .ok()
            .filter(|max| *max > 0),
        subjects: found.subjects.clone(),
        created: info.created.to_string(),
        last_sequence: info.state.last_sequence,
        weaknesses: weaknesses(found, config, &ours),
    })
}

/// Goes by what the server says that the stream can do: an old one takes any setting in silence, and then stores the
/// messages of a transaction one by one.
fn way(found: &Config, config: &NatsConfig) -> Way {
    if lacks(found, config).is_empty() {
        return Way::Transactions;
    }
    Way::Messages {
        in_flight_max: match found.num_replicas {
            0 | 1 => IN_FLIGHT_MAX,
            _ => 1,
        },
        duplicate_window: found.duplicate_window,
    }
}

/// What the stream lacks for transactions.
pub(super) fn lacks(found: &Config, config: &NatsConfig) -> Vec<String> {
    let cursors = cursors(config);
    let takes_cursors = found.subjects.iter().any(|theirs| covers(theirs, &cursors));
    [
        (!found.allow_atomic_publish, "`allow_atomic`".to_owned()),
        (!found.allow_rollup, "`allow_rollup_hdrs`".to_owned()),
        (!takes_cursors, format!("the subject {cursors}")),
    ]
    .into_iter()
    .filter_map(|(lacking, what)| lacking.then_some(what))
    .collect()
}

fn weaknesses(found: &Config, config: &NatsConfig, ours: &str) -> Vec<String> {
    let partly = !found.subjects.iter().any(|theirs| covers(theirs, ours));
    let memory = found.storage == StorageType::Memory;
    let limited = found.max_bytes > 0 || found.max_messages > 0;
    let lacks = lacks(found, config).join(", ");
    let no_transactions = format!(
        "it lacks {lacks} for transactions, so that entries are stored at least once (set `stream_care` to \"upgrade\")"
    );
    let told = [
        (
            partly,
            "its subjects take only some of those below the prefix",
        ),
        (
            memory && config.stream_storage == StreamStorage::File,
            "it keeps its messages in memory only",
        ),
        (
            found.retention == RetentionPolicy::Interest,
            "it keeps only what a consumer is waiting for",
        ),
        (
            found.retention == RetentionPolicy::WorkQueue,
            "it deletes what a consumer has taken",
        ),
        (
            found.persist_mode == Some(PersistenceMode::Async),
            "it acknowledges before it has written",
        ),
        (
            limited && found.discard == DiscardPolicy::Old,
            "at its limits it deletes its oldest messages (`discard: old`)",
        ),
        (
            found.max_messages_per_subject > 0,
            "it keeps only so many messages of each agent (`max_msgs_per_subject`)",
        ),
    ];
    told.into_iter()
        .filter(|(weak, _)| *weak)
        .map(|(_, text)| text.to_owned())
        .chain((!lacks.is_empty()).then_some(no_transactions))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::wanted;
    use super::*;

    #[test]
    fn each_weakness_is_told_and_what_was_asked_for_is_none() {
        let config = NatsConfig::default();
        let good = wanted(&config);
        let of = |found: &Config| weaknesses(found, &config, &entries(&config));
        assert!(of(&good).is_empty());
        assert_eq!(way(&good, &config), Way::Transactions);
        let weak = Config {
            storage: StorageType::Memory,
            retention: RetentionPolicy::Interest,
            persist_mode: Some(PersistenceMode::Async),
            subjects: vec!["assembly.audit.*.*".to_owned()],
            max_messages: 7,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            ..good.clone()
        };
        assert_eq!(of(&weak).len(), 7);
        for found in [
            Config {
                allow_atomic_publish: false,
                ..good.clone()
            },
            Config {
                allow_rollup: false,
                ..good.clone()
            },
            Config {
                subjects: vec!["assembly.audit.>".to_owned()],
                ..good.clone()
            },
        ] {
            assert_eq!(of(&found).len(), 1);
            assert_ne!(way(&found, &config), Way::Transactions);
        }
    }
}
