//! Which messages a stream removes by itself, and which are gone for another reason.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, State};

use super::judge::TrailHead;

/// How far a publisher's clock may be ahead of ours.
const CLOCKS_MS: u64 = 600_000;
/// A stream counts as full from this many eighths of its byte limit on.
const FULL_EIGHTHS: u64 = 7;
/// Or with less than this free: the next message may not have fitted.
const FREE_BYTES: u64 = 2 << 20;

/// Whether the stream itself may have removed its beginning.
pub(super) fn head(config: &Config, state: &State, now_ms: u64) -> TrailHead {
    let first = config.first_sequence.unwrap_or(1).max(1);
    // Its source may have removed messages before.
    let is_copy = config.mirror.is_some()
        || config
            .sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty());
    if removes_anywhere(config) || is_copy || state.first_sequence > first && is_full(config, state)
    {
        return TrailHead::MayBeGone { kept_from_ms: None };
    }
    if state.first_sequence <= first || config.max_age.is_zero() {
        return TrailHead::Kept;
    }
    let age = u64::try_from(config.max_age.as_millis()).unwrap_or(u64::MAX);
    TrailHead::MayBeGone {
        kept_from_ms: Some(now_ms.saturating_sub(age) + CLOCKS_MS),
    }
}

/// Ranges of messages that are gone from the middle or the end, although the stream removes only its oldest.
pub(super) fn gone(config: &Config, state: &State) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    if removes_anywhere(config) {
        return ranges;
    }
    let held = state.first_sequence.max(1)..=state.last_sequence;
    let deleted = state.deleted.iter().flatten();
    for &sequence in deleted.filter(|sequence| held.contains(sequence)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => ranges.push((sequence, sequence)),
        }
    }
    ranges
}

/// Whether it removes other messages than its oldest. The first versions of spillring replaced cursors by rollups.
fn removes_anywhere(config: &Config) -> bool {
    config.retention != RetentionPolicy::Limits
        || config.max_messages_per_subject > 0
        || config.allow_rollup
        || config.allow_message_ttl
        || config.mirror.is_some()
}

fn is_full(config: &Config, state: &State) -> bool {
    let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
    let by_count = limit(config.max_messages).is_some_and(|max| state.messages >= max);
    let by_bytes = limit(config.max_bytes).is_some_and(|max| {
        let full = (max / 8 * FULL_EIGHTHS)
            .min(max.saturating_sub(FREE_BYTES))
            .max(max / 2);
        state.bytes >= full
    });
    config.discard == DiscardPolicy::Old && (by_count || by_bytes)
}
