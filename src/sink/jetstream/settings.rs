//! What a server reports about a stream.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::SinkError;

/// Since this version fast batches are numbered by the term of their leader.
pub(super) const FAST_SINCE: (u64, u64, u64) = (2, 14, 4);

/// A stream, as `STREAM.INFO` answers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    /// All settings, known here or not: an update must not lose any.
    pub(super) config: Value,
    pub(super) created: String,
    /// The domain of its `JetStream`, if it has one.
    #[serde(default)]
    pub(super) domain: String,
    #[serde(default)]
    pub(super) state: Contents,
}

/// The contents of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Contents {
    pub(super) last_seq: u64,
    pub(super) consumer_count: u64,
    /// How many messages there are on each subject, if requested.
    pub(super) subjects: Option<BTreeMap<String, u64>>,
}

/// The settings that matter here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "as the server has them")]
pub(super) struct Settings {
    pub(super) subjects: Vec<String>,
    pub(super) retention: String,
    pub(super) storage: String,
    pub(super) persist_mode: String,
    pub(super) num_replicas: usize,
    pub(super) max_msgs: i64,
    pub(super) max_bytes: i64,
    pub(super) max_msgs_per_subject: i64,
    pub(super) max_msg_size: i64,
    pub(super) discard: String,
    pub(super) discard_new_per_subject: bool,
    /// In nanoseconds.
    pub(super) max_age: u64,
    pub(super) duplicate_window: u64,
    pub(super) no_ack: bool,
    pub(super) sealed: bool,
    pub(super) allow_rollup_hdrs: bool,
    pub(super) allow_direct: bool,
    pub(super) allow_atomic: bool,
    pub(super) allow_batched: bool,
    pub(super) allow_msg_counter: bool,
    pub(super) mirror: Option<Value>,
    pub(super) subject_transform: Option<Transform>,
}

/// Renames subjects of one pattern to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Transform {
    /// Empty: all.
    pub(super) src: String,
}

impl Info {
    pub(super) fn settings(&self) -> Result<Settings, SinkError> {
        serde_json::from_value(self.config.clone()).map_err(|error| {
            SinkError::Misconfigured(format!(
                "the settings of the stream are not understood: {error}"
            ))
        })
    }
}
